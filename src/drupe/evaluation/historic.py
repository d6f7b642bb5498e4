"""A model's accuracy against a bare number, such as one from a paper."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from drupe.errors import InputError
from drupe.evaluation.comparison import (
    Candidate,
    check_comparison,
    distinct_items,
    right_decisions,
)
from drupe.evaluation.paired import ClusteredMean, align, clustered_mean_interval


@dataclass(frozen=True)
class HistoricComparison:
    """A seed-mean accuracy against a bare number: no pairing, so far less can be shown.

    ``rate`` has one-sided bounds. ``p_value`` is two-sided: twice the smaller exact tail, at the
    effective number of images where there are several seeds. It belongs to no family.
    """

    name: str
    number: float
    rate: ClusteredMean
    p_value: float

    @property
    def difference(self) -> float:
        """The rate minus the number."""
        return self.rate.mean - self.number

    def to_json(self) -> dict[str, Any]:
        """Return every field, the difference and the warning."""
        return {
            "a": self.name,
            "number": self.number,
            "metric": "accuracy",
            "difference": self.difference,
            "rate": self.rate.to_json(),
            "p_value": self.p_value,
            "method": "exact binomial" if self.rate.seeds == 1 else "binomial at effective images",
            "warning": UNPAIRED,
        }


UNPAIRED = (
    "A bare number can't be paired image by image, and its own sampling error is unknown: only its "
    "predictions on the same images would show small differences."
)


def compare_with_number(
    candidate: Candidate,
    number: float,
    *,
    groups: NDArray[np.integer] | None = None,
    confidence: float = 0.95,
) -> HistoricComparison:
    """Test ``candidate``'s accuracy against ``number``, in (0, 1), taken as exactly known."""
    if not 0 < number < 1:
        raise InputError(f"number: must be a rate in (0, 1), got {number:g}")
    check_comparison(confidence)
    aligned = replace(candidate, tables=align(candidate.tables))
    if groups is not None:
        aligned = distinct_items(aligned, np.asarray(groups))
    right = right_decisions(aligned, "accuracy")
    rate = clustered_mean_interval(right, np.arange(right.shape[1]), confidence, sides=1)
    images = rate.effective_images
    hits = images if right.all() else rate.mean * images
    at_least = float(betainc(hits, images - hits + 1, number)) if hits > 0 else 1.0
    at_most = 1 - float(betainc(hits + 1, images - hits, number)) if hits < images else 1.0
    return HistoricComparison(
        candidate.name, number, rate, p_value=min(1.0, 2 * min(at_least, at_most))
    )
