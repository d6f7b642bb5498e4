"""The numbers behind the report's curves: rates along the threshold, and calibration by bin.

Letters: S seeds, c clean items, d defects. Bands are pointwise Wilson intervals of a seed-mean rate
over images, for drawing only; the spread between seeds is drawn beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.intervals import wilson
from drupe.evaluation.metrics import ECE_BINS
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.recall_yield import yields_by_misses

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
POINTS = 201
"""Points of a curve: its file size doesn't grow with the test set."""

LOWEST_RECALL = 0.9
"""Where the recall-yield curve begins: no line runs at less."""


@dataclass(frozen=True)
class Curve:
    """A rate at each ``x`` (float [points]): its seeds [S, points], their mean, and its band."""

    x: Floats
    seeds: Floats
    mean: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, x: Floats, seeds: Floats, trials: int) -> Curve:
        """Average over seeds and add the band; ``trials`` items lie behind each rate."""
        mean = seeds.mean(axis=0)
        bounds = np.array([wilson(rate * trials, trials, CONFIDENCE, 2) for rate in mean])
        return cls(x, seeds, mean, bounds[:, 0], bounds[:, 1])


def roc(tables: Sequence[Predictions]) -> Curve:
    """Return recall at each share of clean items that is rejected."""
    x = np.linspace(0, 1, POINTS)
    seeds = np.stack([_recall_at(table, x) for table in tables])
    return Curve.of(x, seeds, int(tables[0].is_defect.sum()))


def _recall_at(table: Predictions, rejected: Floats) -> Floats:
    clean = np.sort(table.scores[~table.is_defect])[::-1]
    defects = np.sort(table.scores[table.is_defect])
    allowed = _whole(rejected, clean.size)
    # k rejected clean items: the threshold lies just above the (k + 1)-th largest clean score.
    limits = np.append(clean, np.float32(-1))[allowed]
    return np.asarray(1 - np.searchsorted(defects, limits, side="right") / defects.size)


def recall_yield(tables: Sequence[Predictions]) -> Curve:
    """Return the clean yield of the highest threshold that reaches each recall from 0.9 on."""
    x = np.linspace(LOWEST_RECALL, 1, POINTS)
    seeds = np.stack([_yield_at(table, x) for table in tables])
    return Curve.of(x, seeds, int((~tables[0].is_defect).sum()))


def _yield_at(table: Predictions, recall: Floats) -> Floats:
    yields = yields_by_misses(table.scores, table.is_defect)
    return yields[np.minimum(_whole(1 - recall, yields.size), yields.size - 1)]


def _whole(share: Floats, size: int) -> NDArray[np.intp]:
    """Return how many of ``size`` items are at most that share, rounding errors forgiven."""
    return np.floor(share * size + 1e-9).astype(np.intp)


@dataclass(frozen=True)
class Bin:
    """Items of one bin of scores: their mean score, and how many of them are defects."""

    items: int
    defects: int
    mean_score: float

    @property
    def share(self) -> float:
        """The share of defects."""
        return self.defects / self.items

    @property
    def bounds(self) -> tuple[float, float]:
        """The Wilson interval of the share."""
        return wilson(self.defects, self.items, CONFIDENCE, 2)


def reliability(table: Predictions) -> tuple[Bin, ...]:
    """Return the bins, those of the expected calibration error, that hold any item."""
    scores, defects = table.scores.astype(np.float64), table.is_defect
    place = np.minimum((scores * ECE_BINS).astype(np.intp), ECE_BINS - 1)
    items = np.bincount(place, minlength=ECE_BINS)
    positive = np.bincount(place[defects], minlength=ECE_BINS)
    total = np.bincount(place, weights=scores, minlength=ECE_BINS)
    return tuple(
        Bin(int(items[bin_]), int(positive[bin_]), float(total[bin_] / items[bin_]))
        for bin_ in np.flatnonzero(items)
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Return which (latency, yield) no other beats: none at most as slow yields more, or equally.

    Equal points are all on the front.
    """
    return [
        not any(
            other != point and other[0] <= point[0] and other[1] >= point[1] for other in points
        )
        for point in points
    ]
