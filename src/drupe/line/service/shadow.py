"""A candidate bundle that decides what the one in force has decided, and is only counted."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.image_contract import RawPixel
from drupe.deployment.runtime import Classifier
from drupe.errors import InputError

AHEAD = 8
"""Batches that may wait; what comes on top is passed over: the line is never kept waiting."""


class Shadow:
    """Compares ``candidate`` with live decisions, in a thread of its own, until :meth:`stop`.

    ``compared``, ``skipped`` (too many at once) and ``failed`` (no score) count images; ``turned``
    those that get another lane, by both lanes: ``accept>reject``.
    """

    def __init__(self, candidate: Classifier) -> None:
        self.candidate = candidate
        self.compared, self.skipped, self.failed = 0, 0, 0
        self.turned: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(1, "drupe-shadow")
        self._waiting, self._is_stopped = 0, False
        self._mutex = threading.Lock()

    def offer(self, batch: NDArray[RawPixel], lanes: NDArray[np.str_]) -> None:
        """Compare N images, of which the one in force has decided ``lanes``, when there is time."""
        with self._mutex:
            if self._waiting >= AHEAD or self._is_stopped:
                self.skipped += len(batch)
                return
            self._waiting += 1
            self._pool.submit(self._compare, batch, lanes)

    def stop(self) -> None:
        """Compare no more, and wait until the last comparison has ended."""
        with self._mutex:
            self._is_stopped = True
        self._pool.shutdown(cancel_futures=True)

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        with self._mutex:
            return {
                "bundle": self.candidate.digest,
                "function": self.candidate.function.name,
                "compared": self.compared,
                "turned": self.turned.total(),
                "turns": dict(self.turned),
                "skipped": self.skipped,
                "failed": self.failed,
            }

    def _compare(self, batch: NDArray[RawPixel], lanes: NDArray[np.str_]) -> None:
        try:
            found = self.candidate.examine_ready(batch).decisions
        except Exception:  # whatever a backend raises: a bundle that fails is never switched to
            found = None
        with self._mutex:
            self._waiting -= 1
            if found is None:
                self.failed += len(batch)
                return
            self.compared += len(batch)
            pairs = zip(lanes.tolist(), found.tolist(), strict=True)
            self.turned.update(f"{old}>{new}" for old, new in pairs if old != new)


def require_kin(candidate: Classifier, current: Classifier, name: str) -> None:
    """Refuse a candidate that doesn't take and tell what the bundle in force does.

    Raises:
        InputError: another input or other classes, every difference is named; or the same bundle.
    """
    if candidate.digest == current.digest:
        raise InputError(f"{name}: must be another bundle, got the one in force")
    pairs = {
        "input.size": (candidate.manifest.input.size, current.manifest.input.size),
        "input.sizes": (candidate.manifest.input.sizes, current.manifest.input.sizes),
        "input.dtype": (candidate.manifest.input.dtype, current.manifest.input.dtype),
        "input.channels": (candidate.manifest.input.channels, current.manifest.input.channels),
        "input.white_level": (
            candidate.manifest.input.white_level,
            current.manifest.input.white_level,
        ),
        "classes": (candidate.classes, current.classes),
    }
    problems = [
        f"{name}: {key}: must be {there!r} as in the bundle in force, got {here!r}"
        for key, (here, there) in pairs.items()
        if here != there
    ]
    if problems:
        raise InputError(problems)
