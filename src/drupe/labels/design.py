"""Totals and rates of a finite set from items that were drawn with known probability.

Letters: in each stratum c items were taken for certain; of its M others n were drawn at random
without replacement. A drawn item stands for M / n items (Horvitz & Thompson 1952). "Yes" items have
a property; of "open" ones nobody could tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from scipy.stats import hypergeom

from drupe.evaluation.intervals import check_confidence


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

    The bounds are exact: in each stratum those of the hypergeometric distribution (Thompson 2012,
    ch. 5: all totals that the draw doesn't contradict), at a confidence that makes them hold
    together (Bonferroni). Open items count as no for the lower bound and as yes for the upper one.
    """
    check_confidence(confidence, 2)
    sampled = sum(one.is_sampled for one in strata)
    tail = (1 - confidence) / 2 / max(sampled, 1)
    bounds = [_stratum_bounds(one, tail) for one in strata]
    return DesignTotal(
        estimate=sum(one.estimate for one in strata),
        low=sum(low for low, _ in bounds),
        high=sum(high for _, high in bounds),
        confidence=confidence,
    )


def design_rate(
    hits: Sequence[DrawnStratum], misses: Sequence[DrawnStratum], confidence: float = 0.95
) -> DesignRate:
    """Estimate hits / (hits + misses), the ratio of two totals of the same draw.

    Both totals are bounded at 1 − (1 − confidence) / 2, so that the bounds of the rate, the worst
    and the best of both, hold with ``confidence``.
    """
    each = 1 - (1 - confidence) / 2
    hit, miss = design_total(hits, each), design_total(misses, each)
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


def _stratum_bounds(one: DrawnStratum, tail: float) -> tuple[int, int]:
    low, high = hypergeometric_bounds(one.others, one.drawn, one.yes, one.yes + one.open, tail)
    return one.certain_yes + low, one.certain_yes + one.certain_open + high
