"""Recall, watched by the few items that people label: an interval that holds at every look.

An interval computed anew each week is wrong more and more often: of a year's 52 at 95 %, some are.
A confidence sequence holds at all looks together. For misses that come with a constant probability
p, whatever came before, k of n labelled defects, and a prior Beta(a, b) over other probabilities,

    M = B(a + k, b + n − k) / B(a, b) / (p^k (1 − p)^(n − k))

is a non-negative martingale that begins at 1 (a mixture of likelihood ratios: Robbins 1970,
"Statistical methods related to the law of the iterated logarithm"), so by Ville's inequality it
ever reaches 1 / α with a probability of at most α: all p with M < 1 / α are the interval.

A recall that falls after months hides in such an interval, which knows all labels since the
beginning. So bets are made as well against "misses come with at most 1 − the certified recall"
(:mod:`drupe.line.watch.bets`), begun anew every hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from drupe.evaluation.bisection import crossing
from drupe.line.watch.bets import Bets
from drupe.line.watch.drift import HOURS_A_YEAR

CONFIDENCE = 0.95
PRIOR = (0.5, 10.0)
"""a, b: most weight on few misses. Any choice gives a valid interval."""

YEARLY_RISK = 0.01
"""Probability that a recall as certified is called too low within a year."""

OFFSETS = (0.7, 1.2, 1.7, 2.3, 3.0)
"""Log-odds above the allowed share of misses: from twice to twenty times as many."""

Bounds = tuple[float, float]


def miss_bounds(misses: int, defects: int, confidence: float = CONFIDENCE) -> Bounds:
    """Return the confidence sequence's interval of the probability of a miss, after ``defects``."""
    hits = defects - misses
    a, b = PRIOR
    mixture = _log_beta(a + misses, b + hits) - _log_beta(a, b)
    limit = math.log(1 / (1 - confidence))

    def is_excluded(share: float) -> bool:
        likelihood = (misses * math.log(share) if misses else 0.0) + (
            hits * math.log1p(-share) if hits else 0.0
        )
        return mixture - likelihood >= limit

    tiny = 1e-12
    best = min(max(misses / defects, tiny), 1 - tiny) if defects else 0.5
    low = 0.0
    if is_excluded(tiny):
        low = crossing(lambda share: not is_excluded(share), tiny, best)
    high = 1.0
    if is_excluded(1 - tiny):
        high = crossing(is_excluded, best, 1 - tiny)
    return low, high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@dataclass(frozen=True)
class RecallAlarm:
    """More labelled defects are accepted than the certificate allows."""

    min_recall: float
    defects: int
    misses: int

    def __str__(self) -> str:
        return (
            f"recall: {self.misses:,} of {self.defects:,} labelled defects were accepted, more of "
            f"late than the certified recall of {100 * self.min_recall:g} % allows"
        )


class RecallWatch:
    """Counts labelled defects, and bets against the certified recall (None: there is none)."""

    def __init__(self, min_recall: float | None) -> None:
        self.min_recall, self.defects, self.misses = min_recall, 0, 0
        allowed = np.array([1 - (0.5 if min_recall is None else min_recall)])
        self._bets = Bets(np.clip(allowed, 1e-9, 1 - 1e-9), OFFSETS)

    def begin_hour(self) -> None:
        """Begin another bet; at most once in an hour of the calendar."""
        self._bets.begin(1 / HOURS_A_YEAR)

    def see(self, is_missed: bool) -> None:
        """Take note of a labelled defect."""
        self.defects, self.misses = self.defects + 1, self.misses + is_missed
        self._bets.see(np.array([int(is_missed)]), 1)

    @property
    def bounds(self) -> Bounds:
        """The recall since the beginning: lower and upper bound, at every look."""
        low, high = miss_bounds(self.misses, self.defects)
        return 1 - high, 1 - low

    @property
    def alarm(self) -> RecallAlarm | None:
        """What the alarm is about, None where there is none."""
        if self.min_recall is None or self._bets.log_evidence < math.log(1 / YEARLY_RISK):
            return None
        return RecallAlarm(self.min_recall, self.defects, self.misses)

    def to_json(self) -> dict[str, Any]:
        """Return the state, which :meth:`restore` takes up."""
        return {"defects": self.defects, "misses": self.misses, "log_bets": self._bets.to_json()}

    def restore(self, document: dict[str, Any], source: str) -> None:
        """Go on from what :meth:`to_json` gave.

        Raises:
            InputError: another document.
        """
        self._bets.restore(document.get("log_bets"), source)
        self.defects, self.misses = int(document["defects"]), int(document["misses"])
