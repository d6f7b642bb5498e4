"""What a request brings before its deadline: the time that it gives, and its body."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.requests import ClientDisconnect, Request

from drupe.line.service.bodies import RefusedBodyError
from drupe.web import BodyTooLongError, read_body

DEADLINE = "drupe-deadline-ms"
"""Header, as HTTP compares it: in lower case."""

BODY_LATE, BODY_TOO_LONG = 408, 413
"""HTTP codes."""


def seconds_of(headers: Mapping[str, str], most: float) -> float:
    """Return how long a request may take: what it says, but no longer than ``most``.

    Raises:
        RefusedBodyError: it says something else than a number of milliseconds.
    """
    text = headers.get(DEADLINE)
    if text is None:
        return most
    if not (text.isdecimal() and text.isascii() and 1 <= len(text) <= 9 and int(text) > 0):
        raise RefusedBodyError("Drupe-Deadline-Ms: must be a whole number of milliseconds")
    return min(most, int(text) / 1000)


async def body_by(request: Request, most_bytes: int, until: float) -> bytes:
    """Return a request's body of at most ``most_bytes``, read ``until`` then by the loop's clock.

    Raises:
        RefusedBodyError: it is longer, comes later, or the client goes away.
    """
    try:
        async with asyncio.timeout_at(until):
            return await read_body(request, most_bytes)
    except TimeoutError:
        raise RefusedBodyError("the body didn't arrive in time", BODY_LATE) from None
    except BodyTooLongError:
        reason = f"the body may have {most_bytes:,} bytes at most"
        raise RefusedBodyError(reason, BODY_TOO_LONG) from None
    except ClientDisconnect:
        raise RefusedBodyError("the client went away", BODY_LATE) from None
