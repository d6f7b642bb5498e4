"""Progress of long work, reported without knowing whether a terminal is watching.

Lower layers take a ``progress: Progress`` argument and call it, and
:mod:`drupe.workbench.progress_display` draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Tracker(Protocol):
    """One bar: work that is counted in units and has an end."""

    def advance(self, units: int = 1, note: str = "") -> None:
        """Report ``units`` more done; a non-empty ``note`` (loss, file name) replaces the last."""


Progress = Callable[[str, int, str], AbstractContextManager[Tracker]]
"""``progress("decode", 3676, "images")`` opens a bar, as a context manager, of 3,676 images."""


class _Silent:
    def advance(self, units: int = 1, note: str = "") -> None:
        pass


@contextmanager
def silent(what: str, total: int, unit: str) -> Iterator[Tracker]:
    """Report nothing: the default everywhere below the command line."""
    del what, total, unit
    yield _Silent()


def duration(seconds: float) -> str:
    """Return a time span in words: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
