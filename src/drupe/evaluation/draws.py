"""Whose luck a difference of certified clean yields is: that of test items, or of calibration too.

The interval of :func:`drupe.evaluation.comparison.compare` is about further test items, with the
thresholds as they are. But a threshold hangs on a few calibration defects, and another draw of them
would have set another: here both are drawn anew, and on request the seeds too.

Letters: B draws, S seeds, n clean test items, m calibration defects, k misses allowed of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.certificate import misses_allowed
from drupe.evaluation.predictions import Predictions

DRAWS = 2_000


@dataclass(frozen=True)
class CertifiedScores:
    """One model: of each seed the distinct ``calibration`` and ``test`` items.

    All ``test`` tables of a comparison hold the same items in the same order.
    """

    calibration: tuple[Predictions, ...]
    test: tuple[Predictions, ...]


@dataclass(frozen=True)
class DrawnDifference:
    """The difference of clean yields, A − B, over draws of ``over``.

    ``low`` and ``high`` are two-sided percentile bounds, ``p_value`` twice the smaller tail about
    zero.
    """

    over: tuple[str, ...]
    draws: int
    low: float
    high: float
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {**vars(self), "over": list(self.over)}


def drawn_yield_difference(
    a: CertifiedScores,
    b: CertifiedScores,
    *,
    min_recall: float,
    confidence: float,
    seeds: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> DrawnDifference:
    """Draw test items and calibration defects with replacement, certify, and compare.

    Nested resampling (Efron & Tibshirani 1993, chapter 6): every draw certifies each seed at the
    (k + 1)-th lowest of m drawn defects and takes the clean yield on drawn test items. Models whose
    calibrations hold the same items share their draw, as they share their luck; others are drawn
    independently. ``seeds``: each draw also takes as many seeds as there are, with replacement.

    The bootstrap of an extreme order statistic is rough where no miss is allowed (it repeats the
    lowest score in 63 % of draws); ``tests/evaluation/test_draws.py`` measures how often it calls
    equal models different.
    """
    random = np.random.default_rng(seed)
    clean = np.flatnonzero(~a.test[0].is_defect)
    weights = random.multinomial(clean.size, np.full(clean.size, 1 / clean.size), size=draws)
    shared = len({table.paths for model in (a, b) for table in model.calibration}) == 1
    first = _thresholds(a, min_recall, confidence, draws, random)
    if shared:
        random_b = np.random.default_rng(seed)
        random_b.multinomial(clean.size, np.full(clean.size, 1 / clean.size), size=draws)
    else:
        random_b = random
    second = _thresholds(b, min_recall, confidence, draws, random_b)
    yields_a = _yields(a, first, clean, weights)
    yields_b = _yields(b, second, clean, weights)
    difference = _over_seeds(yields_a, seeds, random) - _over_seeds(yields_b, seeds, random)
    tail = (1 - confidence) / 2
    low, high = np.quantile(difference, [tail, 1 - tail]).tolist()
    beyond = min(np.count_nonzero(difference <= 0), np.count_nonzero(difference >= 0))
    over = ("test items", "calibration items", *(("seeds",) if seeds else ()))
    return DrawnDifference(over, draws, low, high, min(1.0, 2 * (1 + beyond) / (1 + draws)))


def _thresholds(
    model: CertifiedScores,
    min_recall: float,
    confidence: float,
    draws: int,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Return each draw's certified threshold of each seed, float32 [B, S]."""
    found = np.empty((draws, len(model.calibration)), np.float32)
    chosen: NDArray[np.intp] | None = None
    paths: tuple[str, ...] | None = None
    for place, table in enumerate(model.calibration):
        scores = table.scores[table.is_defect]
        allowed = misses_allowed(len(scores), min_recall, confidence)
        assert allowed is not None  # the model is certified on them
        if chosen is None or paths != table.paths:  # seeds share the draw of shared items
            chosen = random.integers(0, len(scores), size=(draws, len(scores)))
            paths = table.paths
        found[:, place] = np.partition(scores[chosen], allowed, axis=1)[:, allowed]
    return found


def _yields(
    model: CertifiedScores,
    thresholds: NDArray[np.float32],
    clean: NDArray[np.intp],
    weights: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return each draw's clean yield of each seed, float64 [B, S]."""
    columns = []
    for place, table in enumerate(model.test):
        order = np.argsort(table.scores[clean], kind="stable")
        scores = table.scores[clean][order]
        below = np.searchsorted(scores, thresholds[:, place], side="left")
        counted = np.cumsum(weights[:, order], axis=1)
        counted = np.concatenate([np.zeros((len(counted), 1), counted.dtype), counted], axis=1)
        columns.append(np.take_along_axis(counted, below[:, None], axis=1)[:, 0] / clean.size)
    return np.stack(columns, axis=1)


def _over_seeds(
    yields: NDArray[np.float64], seeds: bool, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return each draw's mean over seeds, float64 [B]; of ``seeds`` drawn with replacement."""
    if not seeds:
        return np.asarray(yields.mean(axis=1))
    chosen = random.integers(0, yields.shape[1], size=yields.shape)
    return np.asarray(np.take_along_axis(yields, chosen, axis=1).mean(axis=1))
