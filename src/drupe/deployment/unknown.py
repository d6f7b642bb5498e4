"""Is an item like anything that was learnt from? A distance, and a p-value made of calibration's.

The graph's last output says how far an image lies from the items of ``fit``
(:mod:`drupe.models.early_features`). Calibration's items, which ``fit`` has never seen, say how far
items of each class lie. With n of a class, m of them at least as far off as a new item,

    p = (m + 1) / (n + 1)

is a conformal p-value (Vovk, Gammerman & Shafer 2005, *Algorithmic Learning in a Random World*;
Bates et al. 2023, *Testing for outliers with conformal p-values*, Annals of Statistics 51). If the
new item is exchangeable with those of its class, then P(p ≤ α) ≤ α, whatever the network and the
distribution; it holds on the average over calibration sets, not for each of them. An item is
*unknown* where even the larger of the two classes' p-values is at most α: an item of either class
is called unknown at most with probability α, at any share of defects.

So an item is unknown from one distance on, the larger of the classes' k-th largest with
k = ⌊α (n + 1)⌋. The limit lies half-way from there to the next larger distance of calibration, so
that no runtime's rounding turns a decision; that only makes fewer unknown.

Letters: N images, n calibration items of a class, α the rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drupe.arrays import read_arrays
from drupe.errors import InputError

SURPRISE = 0.001
"""Probability under which unknown items are no longer put down to chance."""

DEFAULT_RATE = 0.005
"""α without another: share of good items that may be called unknown."""

BEYOND = 1e-3
"""The limit lies this share beyond the largest distance, where there is no larger one."""

UNKNOWN = "unlike anything that was learnt from"
"""The reason of each unknown item."""

UnknownLane = Literal["review", "reject"]
Distances = NDArray[np.float32]

CLASSES = ("clean", "defect")


@dataclass(frozen=True)
class CalibrationDistances:
    """One function's distances of calibration's distinct items: float32 [n of the class], sorted.

    They must be items that the network didn't learn from.
    """

    clean: Distances
    defect: Distances

    @classmethod
    def of(cls, distances: Distances, is_defect: NDArray[np.bool_]) -> CalibrationDistances:
        """Take the distances float32 [n] of labelled items apart."""
        return cls(np.sort(distances[~is_defect]), np.sort(distances[is_defect]))

    def limit(self, rate: float) -> float:
        """Return the largest distance, as a float32, at which an item isn't yet unknown.

        Raises:
            ValueError: a class has fewer items than :func:`fewest` of ``rate``.
        """
        edge = max(float(one[-_rank(len(one), rate)]) for one in (self.clean, self.defect))
        both = np.concatenate((self.clean, self.defect))
        larger = both[both > edge]
        beyond = (edge + float(larger.min())) / 2 if larger.size else edge * (1 + BEYOND)
        return float(np.float32(beyond))

    def false_alarm_rates(self, rate: float) -> tuple[float, float]:
        """Return the most that a clean item, and a defect, can be unknown with: at most α."""
        clean, defect = (
            _rank(len(one), rate) / (len(one) + 1) for one in (self.clean, self.defect)
        )
        return clean, defect

    def chance_of(self, unknown: int, images: int, rate: float) -> float:
        """Return at most how often ``images`` like calibration's hold so many unknown ones or more.

        At any share of defects, the draw of calibration included: a class's own share of unknown
        items is a Beta(k, n + 1 − k), so their number is beta-binomial at most, and a mixture's is
        at most the larger of both. Were that share taken for α itself, good lines would seem too
        strange far too often, once enough images are counted.
        """
        tails = (
            _beta_binomial_tail(unknown, images, len(one), _rank(len(one), rate))
            for one in (self.clean, self.defect)
        )
        return min(1.0, math.fsum(tails))

    def p_values(self, distances: Distances) -> NDArray[np.float64]:
        """Return the larger of the two classes' p-values, float64 [N]; NaN lies furthest off."""
        far = np.where(np.isnan(distances), np.inf, distances)
        found = []
        for one in (self.clean, self.defect):
            beyond = len(one) - np.searchsorted(one, far, side="left")
            found.append((beyond + 1) / (len(one) + 1))
        larger: NDArray[np.float64] = np.maximum(*found)
        return larger


def fewest(rate: float) -> int:
    """Return how many calibration items of each class it takes to call anything unknown."""
    return math.ceil(1 / rate - 1e-9) - 1


def least_rate(items: int) -> float:
    """Return the smallest rate that so many items of a class allow."""
    return 1 / (items + 1)


def _rank(items: int, rate: float) -> int:
    """Return k: so many of ``items`` may lie as far off as an unknown one, itself counted."""
    rank = int(rate * (items + 1) + 1e-9)
    if rank < 1:
        raise ValueError(f"rate: takes {fewest(rate)} items of each class, got {items}")
    return rank


def _beta_binomial_tail(unknown: int, images: int, items: int, rank: int) -> float:
    """Return P(at least ``unknown`` of ``images`` lie beyond the ``rank``-th largest of ``items``).

    All orders of the items and images together are alike, so among the largest
    ``unknown + rank − 1`` the number of items is hypergeometric; fewer than ``rank`` are asked for.
    """
    if unknown == 0:
        return 1.0
    largest = unknown + rank - 1
    terms = (
        _log_choices(items, one)
        + _log_choices(images, largest - one)
        - _log_choices(items + images, largest)
        for one in range(min(rank, items + 1))
        if largest - one <= images
    )
    return math.fsum(map(math.exp, terms))


def _log_choices(of: int, taken: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(taken + 1) - math.lgamma(of - taken + 1)


def check_rate(rate: float) -> None:
    """Raise an :class:`InputError` unless ``rate`` is in (0, 0.5]."""
    if not 0 < rate <= 0.5:
        raise InputError(f"unknown_rate: must be in (0, 0.5], got {rate:g}")


@dataclass(frozen=True)
class UnknownCheck:
    """One function's check of what it doesn't know.

    limit: a distance beyond it is unknown; lane: where that goes; calibration: what p-values rest
    on, None where the bundle doesn't hold it.
    """

    limit: float
    lane: UnknownLane
    calibration: CalibrationDistances

    def is_unknown(self, distance: float) -> bool:
        """Return whether one item is; NaN is."""
        return not distance <= self.limit

    def are_unknown(self, distances: Distances) -> NDArray[np.bool_]:
        """Return which of float32 [N] are; NaN is."""
        known: NDArray[np.bool_] = distances <= np.float32(self.limit)
        return ~known


def distance_name(function: str, kind: str = "") -> str:
    """Return the name under which a function's distances stand in ``.npz`` files.

    kind: clean or defect items of calibration; left out, golden samples.
    """
    return "_".join(filter(None, (function.replace(" ", "_"), kind, "distance")))


def distance_arrays(found: Mapping[str, CalibrationDistances]) -> dict[str, Distances]:
    """Return the arrays that keep each function's distances, by its name."""
    return {
        distance_name(name, kind): getattr(one, kind)
        for name, one in found.items()
        for kind in CLASSES
    }


def read_distances(content: bytes, function: str) -> CalibrationDistances:
    """Return the distances of ``function`` that :func:`distance_arrays` wrote.

    Raises:
        ValueError: the file holds none, or something else.
    """
    arrays: dict[str, NDArray[Any]] = read_arrays(content)
    return CalibrationDistances(
        *(_distances(arrays, distance_name(function, kind)) for kind in CLASSES)
    )


def _distances(arrays: Mapping[str, NDArray[Any]], name: str) -> Distances:
    found = arrays.get(name)
    if found is None:
        raise ValueError(f"no calibration distances (lacks {name})")
    if found.dtype != np.float32 or found.ndim != 1 or not len(found):
        raise ValueError(f"{name}: must be float32 [n ≥ 1], got {found.dtype} {list(found.shape)}")
    if not np.isfinite(found).all() or (np.diff(found) < 0).any():
        raise ValueError(f"{name}: must be finite and ascending")
    return found
