"""Clean yield that other calibration sets would give the same network, from the scores at hand.

Letters: n distinct defects at hand, m of them in the set that is priced, k misses allowed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from drupe.evaluation.certificate import joint_confidence, misses_allowed, needed_defects
from drupe.evaluation.predictions import Predictions

SPREAD = 0.9
"""Share of draws whose clean yield lies between ``low`` and ``high``."""

GOALS = (3, 7, 15)
"""Misses that a larger calibration set is priced for, beside one more than now."""

HALF, FOLDS = 0.5, 5


@dataclass(frozen=True)
class Offer:
    """A calibration set of ``defects`` distinct defects, and what it would bring.

    ``clean_yield`` is expected, 90 % of draws lie in [``low``, ``high``]; None where so few defects
    certify nothing. ``more``: defects to be collected and labelled for it.
    """

    way: str
    defects: int
    more: int
    misses_allowed: int | None
    clean_yield: float | None
    low: float | None
    high: float | None

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


def price(
    table: Predictions,
    *,
    min_recall: float,
    confidence: float,
    candidates: int = 1,
    fit_items: int = 0,
) -> tuple[Offer, ...]:
    """Return what the calibration set at hand brings on average, and what others would.

    ``table`` holds distinct items; ``fit_items`` (0: unknown) those that the network has learnt
    from, some of which could have been set aside. That it would then have learnt from fewer is not
    priced.
    """
    defects = np.sort(table.scores[table.is_defect])
    clean = np.sort(table.scores[~table.is_defect])
    if not len(defects) or not len(clean):
        return ()
    yields = np.searchsorted(clean, defects, side="left") / len(clean)
    joint = joint_confidence(confidence, candidates)
    return tuple(
        _offer(way, count, more, yields, misses_allowed(count, min_recall, joint))
        for way, count, more in _ways(len(defects), len(table), fit_items, min_recall, joint)
    )


def _ways(
    n: int, items: int, fit_items: int, min_recall: float, joint: float
) -> Iterator[tuple[str, int, int]]:
    """Yield each way to a calibration set, its defects, and how many of them are to be collected.

    Defects among the items learnt from are as frequent as among those set aside.
    """
    yield "as it is", n, 0
    whole = round(n * (items + fit_items) / items)
    if fit_items and items < HALF * (items + fit_items) * 0.9:
        yield f"holdout {HALF}, trained anew", round(whole * HALF), 0
    if fit_items:
        yield f"--cross-fit {FOLDS}, approximate", whole, 0
    now = misses_allowed(n, min_recall, joint)
    following = 0 if now is None else now + 1
    further = next((goal for goal in GOALS if goal > following), None)
    for misses in (following, further):
        if misses is not None:
            more = needed_defects(min_recall, joint, misses) - n
            yield f"{more:,} more defects", n + more, more


def _offer(
    way: str, count: int, more: int, yields: NDArray[np.float64], misses: int | None
) -> Offer:
    """Price a set of m = ``count`` defects; ``yields`` (float64 [n]): below each sorted score.

    The threshold lies at the (k + 1)-th lowest of m draws from the n scores, which is at most the
    j-th of them with probability P(Bin(m, j / n) > k): the bootstrap's distribution of an order
    statistic, without drawing (Efron 1979, section 3; Maritz & Jarrett 1978).
    """
    if misses is None:
        return Offer(way, count, more, None, None, None, None)
    n = len(yields)
    reached = binom.sf(misses, count, np.arange(1, n + 1) / n)
    chances = np.diff(reached, prepend=0.0)
    tail = (1 - SPREAD) / 2
    low, high = (
        float(yields[min(int(np.searchsorted(reached, q)), n - 1)]) for q in (tail, 1 - tail)
    )
    return Offer(way, count, more, misses, float(chances @ yields), low, high)
