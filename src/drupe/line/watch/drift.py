"""Drift, watched for a year: scores without labels against calibration's two distributions.

A line that didn't change gives scores of a mixture (1 − π) F₀ + π F₁ of calibration's clean and
defect items. The share of defects π is unknown and may change from item to item. So of an interval
I of scores all that is known of its share on the line is

    P(score in I) ≤ max(F₀(I), F₁(I)),        whatever π is.

Against that bound bets are made (:mod:`drupe.line.watch.bets`), for J intervals: between quantiles
of the clean scores and quantiles of the defects', where a line that shifts puts what neither class
had there, and outside both. F₀ and F₁ are known from n calibration items each. Each bound is
therefore an upper confidence bound u, with P(Beta(k + 1, n − k) ≤ u) = 1 − δ for k items of the
class in I (Clopper & Pearson 1934), δ = ``CALIBRATION_RISK`` / 2J, so that all 2J of them hold with
a probability of at least 1 − ``CALIBRATION_RISK``.

That I's ends are calibration scores themselves costs nothing. For the class that an end comes
from, let V be the share of it on the inner side of the other end (fixed, given the other class's
items, which are independent), N the number of its n items there and r the end's rank among them.
The share of I is the distance from V to the (N − r + 1)-th of the N nearest items: given N it is
V · Beta(N − r + 1, r). The probability that this exceeds u, summed over N, is largest at V = 1,
where it is δ: there the share is a spacing of n order statistics, Beta(k + 1, n − k) itself. (For
V < 1 it was computed, not proven: over V, n and r it was never larger.) Where scores tie, ranks are
counted, not values, and intervals are open: both make I smaller.

So a line that didn't change alarms in its first year with a probability of at most
``CALIBRATION_RISK`` + ``YEARLY_RISK``, and in each further year of ``YEARLY_RISK``: looked at as
often as one likes. The bets assume of the items only that none tells more of the next than π: where
one fruit gives many crops in a row, let one of them count.

What it can't see is what :mod:`drupe.deployment.drift` can't see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.drift import FEWEST, CalibrationScores
from drupe.evaluation.bisection import crossing
from drupe.line.watch.bets import Bets

CALIBRATION_RISK = 0.009
"""Probability that calibration's items show bounds that don't hold."""

YEARLY_RISK = 0.001
"""Probability of a false alarm in a year, while they hold."""

HOURS_A_YEAR = 8766
"""Bets are begun at most once an hour, each time with one of so many parts of the stake."""

FROM_CLEAN = (0.3, 0.5, 0.7, 0.9)
FROM_DEFECT = (0.1, 0.3, 0.5, 0.7)
OUTSIDE = (0.2, 0.5)
"""Quantiles at which intervals end; outside: below the clean ones', above the defects' mirrored."""

HIGHEST_BOUND = 1 - 1e-9
"""A set with a bound of 1 can't be bet against; a bet on this one can't win either."""


def upper_bound(inside: int, items: int, risk: float) -> float:
    """Return the upper Clopper-Pearson bound of a share, ``inside`` of ``items``, one-sided.

    The u at which P(Bin(items, u) ≤ inside) = ``risk``; by summing, as a line PC has no SciPy.
    """
    if inside >= items:
        return 1.0
    k = np.arange(inside + 1)
    ways = np.array(
        [
            math.lgamma(items + 1) - math.lgamma(j + 1) - math.lgamma(items - j + 1)
            for j in k.tolist()
        ]
    )

    def is_beyond(share: float) -> bool:
        logs = ways + k * math.log(share) + (items - k) * math.log1p(-share)
        return float(np.exp(logs).sum()) <= risk

    return crossing(is_beyond, max(inside / items, 1e-12), 1 - 1e-12)


@dataclass(frozen=True)
class Intervals:
    """J open intervals of scores, and what calibration allows in each: ``low`` < score < ``high``.

    ``bounds``: float64 [J].
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    bounds: NDArray[np.float64]

    @classmethod
    def of(cls, calibration: CalibrationScores) -> Intervals | None:
        """Choose them; None where a class has too few items."""
        clean, defect = (np.asarray(one, float) for one in (calibration.clean, calibration.defect))
        if min(len(clean), len(defect)) < FEWEST:
            return None
        planned = _planned(clean, defect)
        risk = CALIBRATION_RISK / (2 * len(planned))
        bounds = [
            max(upper_bound(of_clean, len(clean), risk), upper_bound(of_defect, len(defect), risk))
            for _, _, of_clean, of_defect in planned
        ]
        low, high = np.array([one[:2] for one in planned]).T
        return cls(low, high, np.minimum(bounds, HIGHEST_BOUND))

    def count(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return how many of ``scores`` [N] lie in each interval, int64 [J]."""
        ordered = np.sort(scores.astype(float))
        below = np.searchsorted(ordered, self.high, side="left")
        upto = np.searchsorted(ordered, self.low, side="right")
        inside: NDArray[np.int64] = np.maximum(below - upto, 0)
        return inside


def _planned(
    clean: NDArray[np.float64], defect: NDArray[np.float64]
) -> list[tuple[float, float, int, int]]:
    """Return the J intervals: low, high, and how many items of each class lie inside, by rank.

    Where classes overlap so far that ``low`` lies above ``high``, an interval holds nothing.
    """
    found = []
    for rank in _ranks(len(clean), FROM_CLEAN):
        low = float(clean[rank - 1])
        for other in _ranks(len(defect), FROM_DEFECT):
            high = float(defect[other - 1])
            of_clean = int(np.searchsorted(clean, high, side="left")) - rank
            of_defect = other - 1 - int(np.searchsorted(defect, low, side="right"))
            found.append((low, high, max(0, of_clean), max(0, of_defect)))
    for rank in _ranks(len(clean), OUTSIDE):
        high = float(clean[rank - 1])
        found.append((-math.inf, high, rank - 1, int(np.searchsorted(defect, high, side="left"))))
    for rank in _ranks(len(defect), tuple(1 - share for share in OUTSIDE)):
        low = float(defect[rank - 1])
        of_clean = len(clean) - int(np.searchsorted(clean, low, side="right"))
        found.append((low, math.inf, of_clean, len(defect) - rank))
    return found


def _ranks(items: int, shares: tuple[float, ...]) -> list[int]:
    return [min(max(round(share * (items + 1)), 1), items) for share in shares]


@dataclass(frozen=True)
class DriftAlarm:
    """Scores between ``low`` and ``high`` are more than any share of defects explains.

    ``allowed``: the largest share of them without drift; ``share``: about what it is now.
    """

    low: float
    high: float
    allowed: float
    share: float

    def __str__(self) -> str:
        low, high = max(self.low, 0.0), min(self.high, 1.0)
        return (
            f"drift: about {100 * self.share:.1f} % of the scores lie between {low:.3g} and "
            f"{high:.3g}, where no share of defects explains more than {100 * self.allowed:.1f} %"
        )


class DriftWatch:
    """The evidence for drift so far; a number of scores goes in, and none is kept."""

    def __init__(self, intervals: Intervals) -> None:
        self.intervals = intervals
        self._bets = Bets(intervals.bounds)
        self.scores = 0

    def begin_hour(self) -> None:
        """Begin another bet; at most once in an hour of the calendar."""
        self._bets.begin(1 / HOURS_A_YEAR)

    def see(self, scores: NDArray[np.float32]) -> None:
        """Take note of scores float32 [N]."""
        self._bets.see(self.intervals.count(scores), len(scores))
        self.scores += len(scores)

    @property
    def evidence(self) -> float:
        """1 or more where there is drift: a share of what an alarm takes, on a log scale."""
        return float(self._bets.log_evidence) / math.log(1 / YEARLY_RISK)

    @property
    def alarm(self) -> DriftAlarm | None:
        """What the alarm is about, None where there is none."""
        if self.evidence < 1:
            return None
        place, which = self._bets.strongest
        low, high = float(self.intervals.low[place]), float(self.intervals.high[place])
        allowed = float(self.intervals.bounds[place])
        return DriftAlarm(low, high, allowed, float(self._bets.alternatives[place, which]))

    def to_json(self) -> dict[str, Any]:
        """Return the state, which :meth:`restore` takes up."""
        return {"scores": self.scores, "log_bets": self._bets.to_json()}

    def restore(self, document: dict[str, Any], source: str) -> None:
        """Go on from what :meth:`to_json` gave.

        Raises:
            InputError: the state of other calibration scores.
        """
        self._bets.restore(document.get("log_bets"), source)
        self.scores = int(document.get("scores", 0))
