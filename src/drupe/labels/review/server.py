"""The page of a review, served to this machine alone.

Whoever wants anything needs the token in the address, which is new at each start. Requests for
another host (DNS rebinding), from another site's page, or for what isn't shown are refused.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from drupe.data.decode import UnreadableImageError
from drupe.errors import InputError
from drupe.labels.review.page import ASSETS, asset, served_page
from drupe.labels.review.session import RefusedAnswerError, ReviewSession
from drupe.web import (
    HEADERS,
    LOOPBACK,
    OWN_SITES,
    BodyTooLongError,
    is_secret,
    own_hosts,
    read_body,
)

LARGEST_BODY = 4096
"""Bytes of an answer, at most."""

TYPES = {"css": "text/css", "js": "text/javascript"}

Next = Callable[[Request], Awaitable[Response]]


class _Posted(BaseModel):
    """An answer as the page sends it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    showing: str
    judgement: str
    type: str = ""
    seconds: float = Field(allow_inf_nan=False)


def new_token() -> str:
    """Return a secret of 192 bits for an address."""
    return secrets.token_urlsafe(24)


def review_server(session: ReviewSession, listener: socket.socket, token: str) -> uvicorn.Server:
    """Return the server of the page; its ``run(sockets=[listener])`` ends by Ctrl-C."""
    application = review_application(session, token, listener.getsockname()[1])
    settings = uvicorn.Config(
        application, log_level="warning", access_log=False, server_header=False, ws="none"
    )
    return uvicorn.Server(settings)


def review_application(session: ReviewSession, token: str, port: int) -> Starlette:
    """Return the application: the page, its state, the picture that is shown, answers, undo."""
    served, start = _Served(session), f"/{token}"
    routes = [
        Route(f"{start}/", served.page),
        Route(f"{start}/state", served.state),
        Route(f"{start}/picture/{{name}}", served.picture),
        Route(f"{start}/answer", served.answer, methods=["POST"]),
        Route(f"{start}/undo", served.undo, methods=["POST"]),
        Route(f"{start}/end", served.end),
        Route(f"{start}/{{name}}", served.file),
    ]
    guard = Middleware(BaseHTTPMiddleware, dispatch=_guard(token, port))
    return Starlette(routes=routes, middleware=[guard])


class _Served:
    """What the page can ask for.

    The session is only ever used on the server's own thread: two answers can't overtake each other
    on their way to the disk.
    """

    def __init__(self, session: ReviewSession) -> None:
        self._session = session

    async def page(self, _: Request) -> Response:
        return Response(served_page(), media_type="text/html")

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in ASSETS:
            return _nothing()
        return Response(asset(name), media_type=TYPES[name.rpartition(".")[2]])

    async def state(self, _: Request) -> Response:
        return JSONResponse(self._session.state())

    async def picture(self, request: Request) -> Response:
        try:
            content = self._session.picture(request.path_params["name"])
        except UnreadableImageError as error:
            return PlainTextResponse(error.reason, status_code=410)
        return _nothing() if content is None else Response(content, media_type="image/png")

    async def answer(self, request: Request) -> Response:
        try:
            posted = _Posted.model_validate_json(await read_body(request, LARGEST_BODY))
            after = self._session.answer(
                posted.showing, posted.judgement, posted.type, posted.seconds
            )
        except (ValidationError, BodyTooLongError):
            return PlainTextResponse("must be an answer", status_code=400)
        except RefusedAnswerError as error:
            return PlainTextResponse(str(error), status_code=409)
        except InputError as error:
            return PlainTextResponse(str(error), status_code=400)
        return JSONResponse(after)

    async def undo(self, _: Request) -> Response:
        return JSONResponse(self._session.undo())

    async def end(self, _: Request) -> Response:
        found = self._session.revealed()
        return _nothing() if found is None else JSONResponse(found)


def _guard(token: str, port: int) -> Callable[[Request, Next], Awaitable[Response]]:
    """Return what looks at every request first, and puts the page's policy on every answer."""
    hosts = own_hosts(port)
    origins = {f"http://{host}" for host in hosts}

    async def guard(request: Request, go_on: Next) -> Response:
        headers = request.headers
        given = request.scope["path"][1:].partition("/")[0]
        origin = headers.get("origin")
        if headers.get("host") not in hosts:
            response: Response = PlainTextResponse("another host", status_code=421)
        elif not is_secret(given, token):
            response = _nothing()
        elif headers.get("sec-fetch-site", "none") not in OWN_SITES or (
            origin not in origins if request.method == "POST" else origin not in {*origins, None}
        ):
            response = PlainTextResponse("another origin", status_code=403)
        else:
            response = await go_on(request)
        response.headers.update(HEADERS)
        return response

    return guard


def _nothing() -> Response:
    return PlainTextResponse("nothing here", status_code=404)


def address(listener: socket.socket, token: str) -> str:
    """Return the page's address."""
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}/{token}/"
