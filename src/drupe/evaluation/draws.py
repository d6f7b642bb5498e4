"""Whose luck a difference of certified clean yields is: that of test items, or of calibration too.

The interval of :func:`drupe.evaluation.comparison.compare` is about further test items, with the
thresholds as they are. But a threshold hangs on a few calibration defects, and another draw of them
would have set another: here both are drawn anew, and on request the seeds too.

Letters: B draws, S seeds, m calibration defects, k misses allowed of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
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
    """The difference of clean yields (or recalls), A − B, over draws of ``over``.

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


def drawn_difference(
    a: CertifiedScores,
    b: CertifiedScores,
    *,
    min_recall: float,
    confidence: float,
    of_defects: bool = False,
    seeds: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> DrawnDifference:
    """Draw test items and calibration defects with replacement, certify, and compare.

    Nested resampling (Efron & Tibshirani 1993, chapter 6): every draw certifies each seed at the
    (k + 1)-th lowest of m drawn defects and takes the clean yield on drawn test items. Defects that
    all calibrations hold are drawn together, as they are everybody's luck; those of fewer, of other
    items or other labels, by themselves. ``of_defects``: the recall on drawn test defects instead.
    ``seeds``: each draw also takes as many seeds as there are, with replacement.

    The bootstrap of an extreme order statistic is rough where no miss is allowed (it repeats the
    lowest score in 63 % of draws); ``tests/evaluation/test_draws.py`` measures how often it calls
    equal models different.
    """
    random = np.random.default_rng(seed)
    items = np.flatnonzero(a.test[0].is_defect == of_defects)
    weights = random.multinomial(items.size, np.full(items.size, 1 / items.size), size=draws)
    drawn = _DrawnDefects.of((a, b), draws, random)
    accepted = [
        _accepted(one, _thresholds(one, min_recall, confidence, drawn), items, weights)
        for one in (a, b)
    ]
    of_a, of_b = (_over_seeds(shares, seeds, random) for shares in accepted)
    difference = of_b - of_a if of_defects else of_a - of_b
    tail = (1 - confidence) / 2
    low, high = np.quantile(difference, [tail, 1 - tail]).tolist()
    beyond = min(np.count_nonzero(difference <= 0), np.count_nonzero(difference >= 0))
    over = ("test items", "calibration items", *(("seeds",) if seeds else ()))
    return DrawnDifference(over, draws, low, high, min(1.0, 2 * (1 + beyond) / (1 + draws)))


@dataclass
class _DrawnDefects:
    """The draws of calibration defects, each set of paths drawn once: B times as many as it has."""

    common: tuple[str, ...]
    draws: int
    random: np.random.Generator
    _places: dict[tuple[str, ...], NDArray[np.intp]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, models: Sequence[CertifiedScores], draws: int, random: np.random.Generator
    ) -> _DrawnDefects:
        held = [_defects(table) for model in models for table in model.calibration]
        everywhere = set(held[0]).intersection(*held[1:])
        return cls(tuple(path for path in held[0] if path in everywhere), draws, random)

    def scores(self, table: Predictions) -> NDArray[np.float32]:
        """Return the scores of the defects of ``table`` in each draw, float32 [B, m]."""
        score_of = dict(zip(table.paths, table.scores.tolist(), strict=True))
        common = frozenset(self.common)
        others = tuple(path for path in _defects(table) if path not in common)
        return np.concatenate(
            [
                np.array([score_of[path] for path in part], np.float32)[self._drawn(part)]
                for part in (self.common, others)
                if part
            ],
            axis=1,
        )

    def _drawn(self, paths: tuple[str, ...]) -> NDArray[np.intp]:
        if paths not in self._places:
            size = (self.draws, len(paths))
            self._places[paths] = self.random.integers(0, len(paths), size=size)
        return self._places[paths]


def _defects(table: Predictions) -> tuple[str, ...]:
    return tuple(table.paths[index] for index in np.flatnonzero(table.is_defect))


def _thresholds(
    model: CertifiedScores, min_recall: float, confidence: float, drawn: _DrawnDefects
) -> NDArray[np.float32]:
    """Return each draw's certified threshold of each seed, float32 [B, S]."""
    found = []
    for table in model.calibration:
        scores = drawn.scores(table)
        allowed = misses_allowed(scores.shape[1], min_recall, confidence)
        assert allowed is not None  # the model is certified on them
        found.append(np.partition(scores, allowed, axis=1)[:, allowed])
    return np.stack(found, axis=1)


def _accepted(
    model: CertifiedScores,
    thresholds: NDArray[np.float32],
    items: NDArray[np.intp],
    weights: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the share of ``items`` that each seed accepts in each draw, float64 [B, S]."""
    columns = []
    for place, table in enumerate(model.test):
        order = np.argsort(table.scores[items], kind="stable")
        scores = table.scores[items][order]
        below = np.searchsorted(scores, thresholds[:, place], side="left")
        counted = np.cumsum(weights[:, order], axis=1)
        counted = np.concatenate([np.zeros((len(counted), 1), counted.dtype), counted], axis=1)
        columns.append(np.take_along_axis(counted, below[:, None], axis=1)[:, 0] / items.size)
    return np.stack(columns, axis=1)


def _over_seeds(
    shares: NDArray[np.float64], seeds: bool, random: np.random.Generator
) -> NDArray[np.float64]:
    """Return each draw's mean over seeds, float64 [B]; of ``seeds`` drawn with replacement."""
    if not seeds:
        return np.asarray(shares.mean(axis=1))
    chosen = random.integers(0, shares.shape[1], size=shares.shape)
    return np.asarray(np.take_along_axis(shares, chosen, axis=1).mean(axis=1))
