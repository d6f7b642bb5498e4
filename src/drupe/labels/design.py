"""Totals and rates of a finite set from items that were drawn with known probability.

Letters: in each stratum c items were taken for certain; of its M others n were drawn at random
without replacement. A drawn item stands for M / n items (Horvitz & Thompson 1952). "Yes" items have
a property; of "open" ones nobody could tell.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from scipy.stats import hypergeom

from drupe.evaluation.intervals import check_confidence, clopper_pearson

ROUNDING = 1e-9


@dataclass(frozen=True)
class DrawnStratum:
    """Counts of one stratum: of the items taken for certain, and of the ``drawn`` of ``others``."""

    certain_yes: int
    certain_open: int
    others: int
    drawn: int
    yes: int
    open: int

    @property
    def is_sampled(self) -> bool:
        """Whether some of its items weren't looked at."""
        return self.drawn < self.others

    @property
    def estimate(self) -> float:
        """The Horvitz–Thompson estimate of its yes items; open ones count as no."""
        weight = self.others / self.drawn if self.drawn else 0.0
        return self.certain_yes + weight * self.yes


@dataclass(frozen=True)
class DesignTotal:
    """An estimated number of items, and the bounds that hold it with the stated confidence."""

    estimate: float
    low: int
    high: int
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


@dataclass(frozen=True)
class DesignRate:
    """An estimated share, None where nothing was found to take it of, and its bounds in [0, 1]."""

    estimate: float | None
    low: float
    high: float
    confidence: float

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


def design_total(strata: Sequence[DrawnStratum], confidence: float = 0.95) -> DesignTotal:
    """Estimate how many items of all ``strata`` are yes.

    The bounds are exact. Of one stratum they are those of the hypergeometric distribution: all
    totals that the draw doesn't contradict (Thompson 2012, ch. 5). Of several, see
    :func:`joint_bounds`. Open items count as no for the lower bound and as yes for the upper one.
    """
    check_confidence(confidence, 2)
    tail = (1 - confidence) / 2
    sampled = [one for one in strata if one.is_sampled and one.drawn]
    low = sum(one.certain_yes for one in strata)
    high = sum(one.certain_yes + one.certain_open for one in strata)
    for one in strata:
        if not one.is_sampled:
            low, high = low + one.yes, high + one.yes + one.open
        elif not one.drawn:
            high += one.others
    if len(sampled) == 1:
        one = sampled[0]
        least, most = hypergeometric_bounds(
            one.others, one.drawn, one.yes, one.yes + one.open, tail
        )
        low, high = low + least, high + most
    elif sampled:
        least, most = joint_bounds(sampled, tail)
        low, high = low + least, high + most
    return DesignTotal(sum(one.estimate for one in strata), low, high, confidence)


def joint_bounds(strata: Sequence[DrawnStratum], tail: float) -> tuple[int, int]:
    """Return the smallest and the largest number of yes items among the others of all ``strata``.

    Each hypergeometric count is a sum of independent Bernoulli variables (Vatutin & Mikhailov
    1982), so what all draws find together is one too, with mean μ = Σ K n / M, K the yes items of a
    stratum. Its tails are at most the binomial's of as many trials and the same mean, a step and
    more away from it (Hoeffding 1956, theorem 5), so Clopper and Pearson bound μ; of a single find
    the union bound does. Among all K that agree with these bounds, the least and the largest sum
    are taken: where every stratum is drawn from alike, that is μ M / n.
    """
    trials = sum(one.drawn for one in strata)
    least = sum(one.yes for one in strata)
    most = sum(one.yes + one.open for one in strata)
    need = _least_mean(least, trials, tail)
    room = trials - _least_mean(trials - most, trials, tail)
    known = sum(one.yes * one.drawn / one.others for one in strata)
    by_share = sorted(strata, key=lambda one: one.drawn / one.others)
    low = least + _added(by_share[::-1], need - known)
    high = least + _added(by_share, room - known)
    return math.ceil(low - ROUNDING), math.floor(high + ROUNDING)


def _least_mean(found: int, trials: int, tail: float) -> float:
    """Return the smallest mean of a sum of Bernoulli variables that may well give ``found``."""
    if found <= 1:
        return tail * found
    return trials * clopper_pearson(found, trials, 1 - 2 * tail, 2)[0]


def _added(strata: Sequence[DrawnStratum], mean: float) -> float:
    """Return how many more yes items bring ``mean`` more finds, put into the strata by turns."""
    added = 0.0
    for one in strata:
        share = one.drawn / one.others
        free = one.others - one.drawn + one.open
        items = min(max(mean, 0.0) / share, free)
        added += items
        mean -= items * share
    return added


def design_rate(
    hits: Sequence[DrawnStratum], misses: Sequence[DrawnStratum], confidence: float = 0.95
) -> DesignRate:
    """Estimate hits / (hits + misses), the ratio of two totals of the same draw."""
    each = confidence_of_each(confidence)
    return ratio_of(design_total(hits, each), design_total(misses, each), confidence)


def confidence_of_each(confidence: float) -> float:
    """Return the confidence of each of two totals whose ratio is to have ``confidence``."""
    return 1 - (1 - confidence) / 2


def ratio_of(hit: DesignTotal, miss: DesignTotal, confidence: float) -> DesignRate:
    """Return hit / (hit + miss) of two totals that are bounded at :func:`confidence_of_each`.

    Its bounds, the worst and the best of both, hold with ``confidence``.
    """
    both = hit.estimate + miss.estimate
    return DesignRate(
        estimate=hit.estimate / both if both else None,
        low=hit.low / (hit.low + miss.high) if hit.low else 0.0,
        high=hit.high / (hit.high + miss.low) if miss.low else 1.0,
        confidence=confidence,
    )


@lru_cache(maxsize=4096)
def hypergeometric_bounds(
    others: int, drawn: int, least: int, most: int, tail: float
) -> tuple[int, int]:
    """Return the smallest and the largest number of yes items among ``others``.

    Those are left out that give, each with a probability of at most ``tail``, as many as ``least``
    or more, or as few as ``most`` or fewer yes items among ``drawn``.
    """
    low, high = least, others - (drawn - most)
    if drawn == others or not drawn:
        return low, high
    # Both chances are monotone in the total: halve the range.
    low_end, low_start = high, low
    while low_start < low_end:
        middle = (low_start + low_end) // 2
        if hypergeom.sf(least - 1, others, middle, drawn) > tail:
            low_end = middle
        else:
            low_start = middle + 1
    high_start, high_end = low, high
    while high_start < high_end:
        middle = (high_start + high_end + 1) // 2
        if hypergeom.cdf(most, others, middle, drawn) > tail:
            high_start = middle
        else:
            high_end = middle - 1
    return low_start, high_start
