"""How well reviewers agree beyond chance: Cohen's and Fleiss' kappa, with intervals.

Letters: n items, K categories, m reviewers. Kappa is (p_o − p_e) / (1 − p_e), p_o the agreement
observed and p_e that expected by chance.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from drupe.evaluation.intervals import check_confidence, clopper_pearson
from drupe.evaluation.paired import z_quantile


@dataclass(frozen=True)
class ReviewerAgreement:
    """Kappa of ``items`` that all ``reviewers`` judged, with its interval.

    ``observed`` is p_o, the share of pairs of judgements that agree. ``kappa``, ``low`` and
    ``high`` are None where it isn't defined: no items, or one category alone was ever used.
    """

    reviewers: tuple[str, ...]
    items: int
    observed: float | None
    kappa: float | None
    low: float | None
    high: float | None
    confidence: float
    method: str

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {**asdict(self), "reviewers": list(self.reviewers)}


def cohen_kappa(
    table: NDArray[np.integer], reviewers: tuple[str, str], confidence: float = 0.95
) -> ReviewerAgreement:
    """Return Cohen's kappa of two reviewers.

    The interval is κ ± z·SE with the large-sample variance of Fleiss, Cohen & Everitt (1969), as in
    Fleiss, Levin & Paik (2003), 18.13. Where all judgements agree that variance is 0; the lower
    bound is then that of Clopper & Pearson for p_o, with p_e as it is.

    Args:
        table: counts [K, K], the first reviewer's categories in rows.
        reviewers: their names.
        confidence: of the interval.
    """
    check_confidence(confidence, 2)
    n = int(table.sum())
    if not n:
        return ReviewerAgreement(reviewers, 0, None, None, None, None, confidence, "cohen")
    p = table / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float(np.trace(p)), float(rows @ columns)
    if expected >= 1:
        return ReviewerAgreement(reviewers, n, observed, None, None, None, confidence, "cohen")
    kappa = (observed - expected) / (1 - expected)
    own = np.diag(p) @ (1 - (rows + columns) * (1 - kappa)) ** 2
    off = p - np.diag(np.diag(p))
    others = (1 - kappa) ** 2 * np.sum(off * (columns[:, None] + rows[None, :]) ** 2)
    centre = (kappa - expected * (1 - kappa)) ** 2
    variance = max(0.0, float(own + others - centre)) / (n * (1 - expected) ** 2)
    reach = z_quantile(confidence, 2) * math.sqrt(variance)
    low, high = _bounds(kappa, reach, observed, expected, n, confidence)
    return ReviewerAgreement(reviewers, n, observed, kappa, low, high, confidence, "cohen")


def fleiss_kappa(
    counts: NDArray[np.integer], reviewers: tuple[str, ...], confidence: float = 0.95
) -> ReviewerAgreement:
    """Return Fleiss' kappa (1971) of m reviewers, each of whom judged every item once.

    The interval is κ ± t·SE with the jackknife over items (Fleiss & Davies 1982) and n − 1 degrees
    of freedom; where all judgements agree, as for :func:`cohen_kappa`.

    Args:
        counts: int [n, K], how many of the m chose each category; rows add up to m ≥ 2.
        reviewers: their names.
        confidence: of the interval.
    """
    check_confidence(confidence, 2)
    m, n = len(reviewers), len(counts)
    if n and (m < 2 or not np.all(counts.sum(axis=1) == m)):
        raise ValueError(f"counts: rows must add up to {m} reviewers, at least 2")
    if not n:
        return ReviewerAgreement(reviewers, 0, None, None, None, None, confidence, "fleiss")
    of_item = (np.sum(counts.astype(np.float64) ** 2, axis=1) - m) / (m * (m - 1))
    shares = counts.sum(axis=0) / (n * m)
    observed, expected = float(of_item.mean()), float(shares @ shares)
    if expected >= 1:
        return ReviewerAgreement(reviewers, n, observed, None, None, None, confidence, "fleiss")
    kappa = (observed - expected) / (1 - expected)
    reach = math.inf
    if n > 1:
        left = (counts.sum(axis=0) - counts) / ((n - 1) * m)
        by_chance = np.minimum(np.sum(left**2, axis=1), 1 - 1e-12)
        without = ((n * observed - of_item) / (n - 1) - by_chance) / (1 - by_chance)
        error = math.sqrt((n - 1) / n * float(np.sum((without - without.mean()) ** 2)))
        reach = float(stdtrit(n - 1, 1 - (1 - confidence) / 2)) * error
    low, high = _bounds(kappa, reach, observed, expected, n, confidence)
    return ReviewerAgreement(reviewers, n, observed, kappa, low, high, confidence, "fleiss")


def _bounds(
    kappa: float, reach: float, observed: float, expected: float, n: int, confidence: float
) -> tuple[float, float]:
    if observed >= 1:
        lowest = clopper_pearson(n, n, confidence, 2)[0]
        return max(-1.0, (lowest - expected) / (1 - expected)), 1.0
    return max(-1.0, kappa - reach), min(1.0, kappa + reach)
