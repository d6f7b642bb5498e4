"""Clean yield at the recalls that a line runs at: one figure that a search can maximise.

Letters: d defects, c clean items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drupe.errors import InputError
from drupe.evaluation.intervals import format_target

Measure = Literal["mean-yield", "yield"]
ROUNDING = 1e-9
"""What a product of a share and a count may be off a whole number."""


@dataclass(frozen=True)
class Objective:
    """The figure to be maximised, in [0, 1].

    ``yield``: clean yield at the highest threshold that reaches ``min_recall``: what is wanted,
    but with a few hundred defects a handful of them decide it alone, and so mostly chance.
    ``mean-yield``: the mean of that clean yield over all recalls from ``min_recall`` to 1: an area
    beside the corner of the ROC curve that matters, moved by many more items. It ranks networks
    more steadily and is therefore the better guide; both are equal for a perfect network.
    """

    measure: Measure = "mean-yield"
    min_recall: float = 0.95

    def __post_init__(self) -> None:
        if self.measure == "yield" and not 0 < self.min_recall <= 1:
            raise InputError(f"min-recall: must be in (0, 1], got {self.min_recall:g}")
        if self.measure == "mean-yield" and not 0 <= self.min_recall < 1:
            raise InputError(f"min-recall: must be in [0, 1), got {self.min_recall:g}")

    def of(self, ranking: ArrayLike, is_defect: ArrayLike) -> float:
        """Return the figure for ``ranking`` (float [n]: scores or logits), labels bool [n]."""
        yields = yields_by_misses(ranking, is_defect)
        missed = 1 - self.min_recall
        if self.measure == "yield":
            return float(yields[allowed_misses(missed, len(yields))])
        widths = np.clip(missed - np.arange(len(yields)) / len(yields), 0, 1 / len(yields))
        return float((yields * widths).sum() / missed)

    def describe(self) -> str:
        """Return it in words: ``mean clean yield at recalls from 95 % to 100 %``."""
        recall = format_target(self.min_recall)
        if self.measure == "yield":
            return f"clean yield at a recall of {recall}"
        return f"mean clean yield at recalls from {recall} to 100 %"

    def to_json(self) -> dict[str, Any]:
        """Return both keys."""
        return {"measure": self.measure, "min_recall": self.min_recall}


def yields_by_misses(ranking: ArrayLike, is_defect: ArrayLike) -> NDArray[np.float64]:
    """Return the clean yield of the highest threshold with at most k misses, k = 0 … d − 1.

    Parameters
    ----------
    ranking
        float [n], c + d items; any increasing function of the score gives the same.
    is_defect
        bool [n], of both kinds.

    Returns
    -------
    float64 [d]: the share of clean items below the (k + 1)-th lowest defect. Whatever ties with it
    is not accepted.
    """
    values, defect = np.asarray(ranking), np.asarray(is_defect, np.bool_)
    defects, clean = np.sort(values[defect]), np.sort(values[~defect])
    return np.asarray(np.searchsorted(clean, defects, side="left") / clean.size, np.float64)


def allowed_misses(share: float, defects: int) -> int:
    """Return how many of ``defects`` are at most that share, one always being caught."""
    return min(int(np.floor(share * defects + ROUNDING)), defects - 1)
