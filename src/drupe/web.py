"""What everything that Drupe serves over HTTP shares: the socket, the headers, bodies, secrets."""

from __future__ import annotations

import os
import secrets
import socket

from starlette.requests import Request

from drupe.errors import InputError

LOOPBACK = "127.0.0.1"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
OWN_SITES = {"same-origin", "none"}
"""What a browser says of requests by the page itself, or by an address that was typed."""


class BodyTooLongError(Exception):
    """A request's body has more bytes than are taken."""


def listening_socket(port: int, host: str = LOOPBACK, named: str = "--port") -> socket.socket:
    """Return a socket that listens on ``host``, by default this machine alone; port 0: any free.

    ``named``: what a message calls the port.

    Raises:
        InputError: the port is taken, or not to be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) where the protocol is named; else answers wait for 40 ms.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would let another process take the port over
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen()
    except OSError as error:
        found.close()
        where = str(port) if host == LOOPBACK else f"{host}:{port}"
        raise InputError(
            f"{named}: must be free, got {where}: {(error.strerror or str(error)).lower()}"
        ) from None
    return found


def own_hosts(port: int) -> set[str]:
    """Return what a browser on this machine calls it: another name is another site's doing."""
    return {f"{LOOPBACK}:{port}", f"localhost:{port}", f"[::1]:{port}"}


def is_secret(given: str, secret: str) -> bool:
    """Return whether ``given`` is the secret, in a time that tells nothing of where they differ."""
    return secrets.compare_digest(given.encode(errors="replace"), secret.encode())


async def read_body(request: Request, most: int) -> bytes:
    """Return a request's body of at most ``most`` bytes; of a longer one no more is kept.

    Raises:
        BodyTooLongError: it is longer, or says so.
    """
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise BodyTooLongError
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise BodyTooLongError
        parts.append(part)
    return b"".join(parts)
