"""One process at a time: a lock that the operating system lets go when its holder dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from drupe.errors import InputError


def hold(path: Path, otherwise: str) -> int:
    """Lock the file ``path``, made where there is none, and return its handle; closing lets go.

    Raises:
        InputError: another holds it; the message says ``otherwise``.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise InputError(f"{path.parent}: {otherwise}") from None
    return handle
