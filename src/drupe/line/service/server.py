"""The web server under everything that decides over HTTP."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from drupe.line.service.answers import MISTAKE
from drupe.line.service.guard import Guard, Tokens, answer

KEEP_ALIVE_SECONDS = 60
MOST_CONNECTIONS = 1000
GRACE_SECONDS = 5
"""At the end, beside what a request may take: then what is left isn't waited for."""


def guarded_application(
    routes: Sequence[BaseRoute], tokens: Tokens, hosts: Collection[str], hint: str
) -> Starlette:
    """Return an application that answers at ``routes`` whoever may ask, and no error by an accept.

    ``hosts``: what it may be called by; empty: anything. ``hint``: what else is told where there is
    no such address or method.
    """

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answer(error.status_code, f"{error.detail}: {hint}")

    async def mistaken(_: Request, error: Exception) -> Response:
        return answer(MISTAKE, "a mistake in the service")

    guard = Middleware(Guard, tokens=tokens, hosts=hosts)
    application = Starlette(
        routes=routes,
        middleware=[guard],
        exception_handlers={HTTPException: refused, Exception: mistaken},
    )
    application.router.redirect_slashes = False  # a redirect is no answer
    return application


def web_server(application: ASGIApp, seconds: float) -> uvicorn.Server:
    """Return a server of an application whose requests take ``seconds`` at most.

    When it is told to end, it answers what has begun first.
    """
    config = uvicorn.Config(
        application,
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="off",
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=round(seconds) + GRACE_SECONDS,
    )
    return uvicorn.Server(config)
