"""Counts at a threshold, ranking and calibration of binary scores; the defect is positive.

Letters: n items; ``scores`` float [n] in [0, 1]; ``is_defect`` bool [n], the labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from drupe.evaluation.intervals import Proportion

ARGMAX_THRESHOLD = 0.5
ECE_BINS = 15
LIKE_CHANCE = 0.5
"""An AUROC below it ranks defects below clean items: most likely the classes are swapped."""


@dataclass(frozen=True)
class Counts:
    """The confusion matrix: ``fn`` are the misses, ``fp`` the clean items not accepted."""

    tp: int
    fp: int
    tn: int
    fn: int

    @classmethod
    def at_threshold(
        cls, scores: ArrayLike, is_defect: ArrayLike, threshold: float = ARGMAX_THRESHOLD
    ) -> Counts:
        """Count the items that are accepted (score < threshold) and not, by label."""
        accepted = np.asarray(scores) < threshold
        defect = np.asarray(is_defect, np.bool_)
        if accepted.shape != defect.shape:
            raise ValueError(f"scores: must have shape {defect.shape}, got {accepted.shape}")
        return cls(
            tp=int(np.count_nonzero(defect & ~accepted)),
            fp=int(np.count_nonzero(~defect & ~accepted)),
            tn=int(np.count_nonzero(~defect & accepted)),
            fn=int(np.count_nonzero(defect & accepted)),
        )

    @property
    def images(self) -> int:
        """The number of items counted."""
        return self.tp + self.fp + self.tn + self.fn

    @property
    def defects(self) -> int:
        """The number of items labelled defect."""
        return self.tp + self.fn

    @property
    def misses(self) -> int:
        """The number of defects that were accepted."""
        return self.fn

    def accuracy(self, confidence: float = 0.95, sides: int = 2) -> Proportion:
        """Return the share of items decided as labelled."""
        return Proportion(self.tp + self.tn, self.images, confidence, sides)

    def recall(self, confidence: float = 0.95, sides: int = 2) -> Proportion:
        """Return the share of defects that were not accepted: 1 − misses / defects."""
        return Proportion(self.tp, self.defects, confidence, sides)

    def clean_yield(self, confidence: float = 0.95, sides: int = 2) -> Proportion:
        """Return the share of clean items that were accepted."""
        return Proportion(self.tn, self.tn + self.fp, confidence, sides)

    def precision(self, confidence: float = 0.95, sides: int = 2) -> Proportion:
        """Return the share of defects among the items that were not accepted."""
        return Proportion(self.tp, self.tp + self.fp, confidence, sides)

    @property
    def f1(self) -> float | None:
        """2 tp / (2 tp + fp + fn), or ``None`` with neither a defect nor a rejected item."""
        denominator = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / denominator if denominator else None

    def to_json(self, confidence: float = 0.95, sides: int = 2) -> dict[str, Any]:
        """Return the proportions, F1 and the confusion matrix."""
        return {
            "accuracy": self.accuracy(confidence, sides).to_json(),
            "recall": self.recall(confidence, sides).to_json(),
            "clean_yield": self.clean_yield(confidence, sides).to_json(),
            "precision": self.precision(confidence, sides).to_json(),
            "f1": self.f1,
            "confusion": {"tp": self.tp, "fp": self.fp, "tn": self.tn, "fn": self.fn},
            "misses": self.misses,
        }


def auroc(scores: ArrayLike, is_defect: ArrayLike) -> float | None:
    """Return the probability that a defect outscores a clean item, ties counting one half.

    This is the area under the ROC curve, from the Mann–Whitney U of mid-ranks (Hanley & McNeil
    1982). Any increasing function of the score, such as the logit, gives the same. A single
    class gives ``None``.
    """
    defect = np.asarray(is_defect, np.bool_)
    defects = int(defect.sum())
    clean = defect.size - defects
    if not defects or not clean:
        return None
    rank_sum = float(rankdata(np.asarray(scores))[defect].sum())
    return (rank_sum - defects * (defects + 1) / 2) / (defects * clean)


def expected_calibration_error(
    scores: ArrayLike, is_defect: ArrayLike, bins: int = ECE_BINS
) -> float | None:
    """Return the mean over items of |mean score − share of defects| in the item's bin.

    The bins are ``bins`` equal widths of the *defect probability*, closed below, the last one
    also above: the binary reliability of Naeini, Cooper & Hauskrecht (2015). It is not the
    top-class confidence of Guo et al. (2017), which folds false alarms and misses into one bin.
    No items give ``None``.
    """
    score, defect = _as_float64(scores), _as_float64(is_defect)
    if not score.size:
        return None
    chosen = np.minimum((score * bins).astype(np.intp), bins - 1)
    gaps = np.bincount(chosen, weights=score - defect, minlength=bins)
    return float(np.abs(gaps).sum() / score.size)


def brier_score(scores: ArrayLike, is_defect: ArrayLike) -> float | None:
    """Return the mean squared difference of score and label (Brier 1950); no items: ``None``."""
    score, defect = _as_float64(scores), _as_float64(is_defect)
    return float(np.mean((score - defect) ** 2)) if score.size else None


def _as_float64(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)
