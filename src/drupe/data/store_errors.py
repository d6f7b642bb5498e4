"""A store that can't be written to, in words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drupe.errors import InputError


@contextmanager
def writing_to(store: Path) -> Iterator[None]:
    """Turn a failure to write below ``store`` into an :class:`InputError` that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{store}: the disk is full; free some space or choose another --store"
            ) from None
        reason = (error.strerror or str(error)).lower()
        where = f" ({error.filename})" if error.filename else ""
        raise InputError(
            f"{store}: the store must be a folder that can be written to, got {reason}{where}"
        ) from None
