"""What a classifier finds of images, and whoever is told of it before it goes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from drupe.data.image_contract import RawPixel
from drupe.errors import InputError


class Examined(NamedTuple):
    """What is found of N images.

    scores: float32 [N], NaN where there is none; decisions: str [N]; faults: why an image isn't
    decided by its score (it has none, or is unknown), None where it is; types: the type of defect
    that each looks most like, '' where it is accepted or a fault, None from a bundle that tells
    none; p_values: float64 [N], of an item of either class lying as far off as this one, None from
    a bundle that knows no distances.
    """

    scores: NDArray[np.float32]
    decisions: NDArray[np.str_]
    faults: list[str | None]
    types: NDArray[np.str_] | None = None
    p_values: NDArray[np.float64] | None = None

    def told_p_values(self) -> list[float | None]:
        """Return each image's p-value, None where it has no score or the bundle tells none."""
        if self.p_values is None:
            return [None] * len(self.scores)
        has_none = np.isnan(self.scores).tolist()
        pairs = zip(self.p_values.tolist(), has_none, strict=True)
        return [None if without else p_value for p_value, without in pairs]


class Watcher(Protocol):
    """Whatever is told of each decision before it is returned: a log, a monitor.

    An exception of a watcher leaves ``decide``: no decision goes out that it wasn't told of.
    ``items``: the caller's names of the images, None where they were given none.
    """

    def saw(
        self,
        batch: NDArray[RawPixel],
        found: Examined,
        items: Sequence[str] | None,
        seconds: float,
    ) -> None:
        """Take note of N decisions, of images as the graph takes them: they took ``seconds``."""

    def refused(self, items: Sequence[str] | None, reason: str, lane: str | None) -> None:
        """Take note that images have no score, and why: they go to ``lane``.

        None: an error is raised, and whoever catches it must choose; never ``accept``.
        """


class Watchers:
    """All that are told, in the order in which they were added."""

    def __init__(self) -> None:
        self._all: tuple[Watcher, ...] = ()

    @property
    def any(self) -> bool:
        """True where somebody watches."""
        return bool(self._all)

    def add(self, watcher: Watcher) -> None:
        """Have ``watcher`` told from now on."""
        self._all = (*self._all, watcher)

    def remove(self, watcher: Watcher) -> None:
        """Tell ``watcher`` no more."""
        self._all = tuple(one for one in self._all if one is not watcher)

    def refused(self, items: Sequence[str] | None, reason: str, lane: str | None) -> None:
        """Tell all that images have no score."""
        for watcher in self._all:
            watcher.refused(items, reason, lane)

    def told(
        self,
        examine: Callable[[NDArray[RawPixel]], Examined],
        batch: NDArray[RawPixel],
        items: Sequence[str] | None,
    ) -> Examined:
        """Return what ``examine`` finds of ``batch``, once all were told, also of its error."""
        if not self._all:
            return examine(batch)
        started = perf_counter()
        try:
            found = examine(batch)
        except InputError as error:
            self.refused(items, str(error), None)
            raise
        seconds = perf_counter() - started
        for watcher in self._all:
            watcher.saw(batch, found, items, seconds)
        return found


def require_names(names: Sequence[str] | None, images: int) -> None:
    """Refuse ``names`` that aren't one for each of the ``images``."""
    if names is not None and len(names) != images:
        raise InputError(f"items: must name each of the {images} images, got {len(names)} names")
