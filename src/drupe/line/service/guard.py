"""Who may ask: the right host, no other site's page, and the token where there is one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drupe.errors import InputError
from drupe.line.service.answers import FAULT_LANE, refusal
from drupe.web import HEADERS, OWN_SITES, is_secret

OPEN = ("/", "/api.css", "/openapi.json", "/healthz", "/readyz")
"""Paths that tell nothing of what is decided: they need no token."""

ADMIN = "/admin/"
LANE_HEADER = "Drupe-Lane"
FEWEST_TOKEN_CHARACTERS = 16


@dataclass(frozen=True)
class Tokens:
    """What a client, and whoever changes bundles, must know; None: no token is asked for.

    Without an ``admin`` token nobody may change anything.
    """

    decide: str | None = None
    admin: str | None = None


def read_token(option: str, file: Path | None, otherwise: str | None = None) -> str | None:
    """Return the token in ``file``, else the one of the environment, else None.

    Raises:
        InputError: a file that can't be read, or a token that could be guessed.
    """
    source, token = option, otherwise
    if file is not None:
        source = f"{option} {file}"
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "must be ASCII"
            raise InputError(f"{source}: can't be read ({reason})") from None
    if token is None:
        return None
    if len(token) < FEWEST_TOKEN_CHARACTERS or not token.isascii() or " " in token:
        raise InputError(
            f"{source}: a token must have at least {FEWEST_TOKEN_CHARACTERS} characters of ASCII "
            f"without blanks, got {len(token)}: openssl rand -hex 32 makes one"
        )
    return token


class Guard:
    """Looks at every request before the application does, and puts its headers on every answer.

    ``hosts``: what the service may be called by; empty: anything.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, hosts: Collection[str]) -> None:
        self._app, self._tokens, self._hosts = app, tokens, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or hand it on."""
        if scope["type"] != "http":
            return
        refused = self._refused(scope["path"], Headers(scope=scope))
        app = self._app
        if refused is not None:
            app = answer(*refused)
        await app(scope, receive, _with_headers(send))

    def _refused(self, path: str, headers: Headers) -> tuple[int, str] | None:
        """Return code and reason of a refusal, None where there is none."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts and host not in self._hosts:
            return 421, "the service isn't called by this host's name"
        is_foreign = origin not in (None, f"http://{host}", f"https://{host}")
        if is_foreign or headers.get("sec-fetch-site", "none") not in OWN_SITES:
            return 403, "requests of another site's page aren't answered"
        if path in OPEN:
            return None
        is_admin = path.startswith(ADMIN)
        if is_admin and self._tokens.admin is None:
            return 403, "nothing can be changed here: the service was started without --admin-token"
        token = self._tokens.admin if is_admin else self._tokens.decide
        kind, _, given = headers.get("authorization", "").partition(" ")
        if token is None or (kind.lower() == "bearer" and is_secret(given.strip(), token)):
            return None
        return 401, "a token is needed: Authorization: Bearer TOKEN"


def answer(code: int, reason: str, item: str | None = None, lane: str = FAULT_LANE) -> JSONResponse:
    """Return the answer to what nothing decided."""
    return answered(code, refusal(reason, item, lane), lane)


def answered(code: int, document: dict[str, Any], lane: str) -> JSONResponse:
    """Return an answer with the headers that its code and ``lane`` ask for."""
    headers = {LANE_HEADER: lane}
    if code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if code == 503:
        headers["Retry-After"] = "1"
    return JSONResponse(document, code, headers)


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent
