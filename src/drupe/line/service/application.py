"""The service's addresses, and how each is answered; no error is ever an *accept*."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from drupe.errors import DrupeError
from drupe.line.service.answers import FAULT_LANE, LATE, Verdict
from drupe.line.service.bodies import RefusedBodyError, named_item, read_frames_of
from drupe.line.service.description import api_document, api_page
from drupe.line.service.desk import Desk, UndecidedError
from drupe.line.service.guard import Tokens, answer, answered
from drupe.line.service.metrics import Metrics
from drupe.line.service.requests import body_by, seconds_of
from drupe.line.service.server import guarded_application
from drupe.line.service.succession import FEWEST_FRAMES, Succession
from drupe.notices import notice
from drupe.web import BodyTooLongError, read_body

LARGEST_ORDER = 4096
"""Bytes of what whoever changes bundles sends, at most."""


@dataclass(frozen=True)
class Limits:
    """What a request may take: seconds to its answer, bytes, and images."""

    seconds: float = 1.0
    most_bytes: int = 16 << 20
    most_images: int = 64


class _Proposal(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    bundle: str


class _Switch(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    frames: int = Field(FEWEST_FRAMES, ge=0)
    turned: int = Field(0, ge=0)


def service_application(
    desks: Mapping[str, Desk],
    successions: Mapping[str, Succession],
    limits: Limits,
    tokens: Tokens,
    hosts: Collection[str] = (),
) -> Starlette:
    """Return the application of all ``desks``, by name; of one alone ``/decide`` is short for it.

    ``hosts``: what it may be called by; empty: anything.
    """
    deciding = _Deciding(desks, limits)
    changing = _Changing(successions)
    document = api_document(
        {name: desk.classifier.manifest for name, desk in desks.items()}, limits.seconds
    )
    page, style = api_page(document), _asset("api.css")

    async def healthz(_: Request) -> Response:
        return _said(not any(desk.is_stuck for desk in desks.values()), "a decision doesn't end")

    async def readyz(_: Request) -> Response:
        unready = [name for name, desk in desks.items() if not desk.is_ready]
        return _said(not unready, f"can't decide or log: {', '.join(unready)}")

    routes = [
        Route("/", lambda _: Response(page, media_type="text/html")),
        Route("/api.css", lambda _: Response(style, media_type="text/css")),
        Route("/openapi.json", lambda _: JSONResponse(document)),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", deciding.figures),
        Route("/admin/{name}", changing.status),
        Route("/admin/{name}/propose", changing.propose, methods=["POST"]),
        Route("/admin/{name}/withdraw", changing.withdraw, methods=["POST"]),
        Route("/admin/{name}/switch", changing.switch, methods=["POST"]),
        Route("/admin/{name}/bring-back", changing.bring_back, methods=["POST"]),
        Route("/decide", deciding.decide, methods=["POST"]),
        Route("/{name}/decide", deciding.decide, methods=["POST"]),
    ]
    return guarded_application(routes, tokens, hosts, "see /openapi.json")


class _Deciding:
    def __init__(self, desks: Mapping[str, Desk], limits: Limits) -> None:
        self._desks, self._limits = desks, limits
        self._metrics = Metrics(desks)

    async def figures(self, _: Request) -> Response:
        return Response(self._metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def decide(self, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        name = request.path_params.get("name") or (
            next(iter(self._desks)) if len(self._desks) == 1 else ""
        )
        desk = self._desks.get(name)
        if desk is None:
            return answer(404, f"must be /NAME/decide with one of: {', '.join(self._desks)}")
        item = uuid.uuid4().hex
        try:
            item = named_item(request.headers, item)
            until = begun + seconds_of(request.headers, self._limits.seconds)
            with desk.place():
                found = await self._decided(request, desk, item, until)
            lane, code = found.lane, found.code
            response = answered(code, found.to_json(), lane)
        except (RefusedBodyError, UndecidedError) as error:
            code = error.status if isinstance(error, RefusedBodyError) else error.code
            lane, response = FAULT_LANE, answer(code, error.reason, item)
            if not isinstance(error, UndecidedError) or error.is_new:
                desk.refuse([item], error.reason)
            if isinstance(error.__cause__, Exception):
                notice(f"{name}: {type(error.__cause__).__name__}: {error.__cause__}")
        self._metrics.count(name, code, lane, loop.time() - begun)
        return response

    async def _decided(self, request: Request, desk: Desk, item: str, until: float) -> Verdict:
        """Return what the bundle says of a request's images.

        Raises:
            RefusedBodyError, UndecidedError: nothing is decided, and why.
        """
        limits = self._limits
        content = await body_by(request, limits.most_bytes, until)
        contract = desk.classifier.manifest.input.contract
        body = read_frames_of(request.headers, content, contract, item, limits.most_images)
        try:
            return await desk.decide(body, until)
        except TimeoutError:
            raise UndecidedError(LATE, "the decision didn't come in time", is_new=False) from None


class _Changing:
    """What whoever may change bundles asks for; each change is made beside the server's thread."""

    def __init__(self, successions: Mapping[str, Succession]) -> None:
        self._successions = successions

    async def status(self, request: Request) -> Response:
        return await self._done(request, lambda one, _: one.status)

    async def propose(self, request: Request) -> Response:
        def change(one: Succession, content: bytes) -> Callable[[], dict[str, Any]]:
            return partial(one.propose, _Proposal.model_validate_json(content).bundle)

        return await self._done(request, change)

    async def withdraw(self, request: Request) -> Response:
        return await self._done(request, lambda one, _: one.withdraw)

    async def switch(self, request: Request) -> Response:
        def change(one: Succession, content: bytes) -> Callable[[], dict[str, Any]]:
            asked = _Switch.model_validate_json(content or b"{}")
            return partial(one.switch, asked.frames, asked.turned)

        return await self._done(request, change)

    async def bring_back(self, request: Request) -> Response:
        return await self._done(request, lambda one, _: one.bring_back)

    async def _done(
        self,
        request: Request,
        change: Callable[[Succession, bytes], Callable[[], dict[str, Any]]],
    ) -> Response:
        one = self._successions.get(request.path_params["name"])
        if one is None:
            names = ", ".join(self._successions)
            return answer(404, f"must be one of: {names}")
        try:
            work = change(one, await read_body(request, LARGEST_ORDER))
            return JSONResponse(await run_in_threadpool(work))
        except (BodyTooLongError, ValidationError):
            return answer(400, "the body must be JSON as /openapi.json says")
        except (DrupeError, OSError) as error:
            return answer(409, str(error))


def _said(is_well: bool, otherwise: str) -> Response:
    return JSONResponse({"status": "ok"}) if is_well else answer(503, otherwise)


def _asset(name: str) -> str:
    return (files("drupe.line.service") / "assets" / name).read_text(encoding="utf-8")
