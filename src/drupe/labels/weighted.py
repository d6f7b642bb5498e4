"""Totals of a finite set from items that were drawn each with a known probability of its own.

"Yes" items have a property; of "open" ones nobody could tell. An item that was drawn with
probability q stands for 1 / q items (Horvitz & Thompson 1952).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import gamma

from drupe.evaluation.intervals import check_confidence
from drupe.labels.design import ROUNDING, DesignTotal


@dataclass(frozen=True)
class WeightedDraw:
    """What was found among ``others``, and among items that were taken for certain.

    ``yes`` and ``open`` are the probabilities with which the yes and the open items of the draw
    came into it, ``no`` counts its other items. ``least``: the smallest probability that any of
    the others had, drawn or not.
    """

    certain_yes: int
    certain_open: int
    others: int
    least: float
    yes: tuple[float, ...]
    open: tuple[float, ...]
    no: int

    @property
    def estimate(self) -> float:
        """The Horvitz–Thompson estimate of the yes items, as far as they can be so many."""
        return self.certain_yes + min(sum(1 / one for one in self.yes), self.others - self.no)


def weighted_total(draw: WeightedDraw, confidence: float = 0.95) -> DesignTotal:
    """Estimate how many items are yes.

    The bounds are :func:`gamma_bounds`, within what is possible at all. Open items count as no for
    the lower bound and as yes for the upper one.
    """
    check_confidence(confidence, 2)
    tail = (1 - confidence) / 2
    low = high = 0.0
    if draw.others:
        low = gamma_bounds(draw.yes, draw.least, tail)[0]
        high = gamma_bounds((*draw.yes, *draw.open), draw.least, tail)[1]
    most = draw.others - draw.no
    least = draw.certain_yes + max(len(draw.yes), math.ceil(low - ROUNDING))
    return DesignTotal(
        estimate=draw.estimate,
        low=least,
        high=draw.certain_yes + draw.certain_open + min(most, math.floor(high + ROUNDING)),
        confidence=confidence,
    )


def gamma_bounds(found: Sequence[float], least: float, tail: float) -> tuple[float, float]:
    """Return bounds of a number of items, each missed with a probability of at most ``tail``.

    Args:
        found: the probability q in (0, 1] with which each of the found ones was drawn.
        least: the smallest q that an item could have.
        tail: in (0, 1).

    With weights w = 1 / q, y = Σ w, v = Σ w², and z = 1 / ``least``: quantiles of the gamma
    distributions of mean y and variance v, and of mean y + z and variance v + z² (Fay & Feuer 1997,
    Statistics in Medicine 16, 791–801). For equal weights these are the exact bounds of a Poisson
    count. Items are drawn independently, or so that one makes another less likely, which leaves
    less to chance than the Poisson counts that the formula is of.
    """
    y, v, z = sum(1 / q for q in found), sum(1 / q**2 for q in found), 1 / least
    low = float(gamma.ppf(tail, y * y / v, scale=v / y)) if found else 0.0
    mean, variance = y + z, v + z * z
    high = float(gamma.isf(tail, mean * mean / variance, scale=variance / mean))
    return low, high
