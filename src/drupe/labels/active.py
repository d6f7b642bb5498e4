"""Which pictures of the line to look at where there is time for a part: what may be missed defects.

Letters: m accepted pictures that the line has kept, s their scores as probabilities of a defect.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

STOPPED_SHARE = 0.25
"""Of all looks, those at pictures that weren't accepted: what they tell of recall is soon told."""

ALIKE_SHARE = 0.75
"""Of the looks at accepted pictures, those that don't depend on the score.

Bounds have to allow for misses that the network is sure of, and so rest on the least probability.
"""

SMALLEST_VARIANCE = 1e-12
"""Of a label: a score of exactly 0 or 1 is no certainty."""

HALVINGS = 80


class ActiveShares(NamedTuple):
    """How many accepted pictures are to be looked at, on average, and how many others."""

    accepted: int
    stopped: int


class ActiveChoice(NamedTuple):
    """Each picture's probability of being looked at, float64 [m]; any picture's is ``least``."""

    probabilities: NDArray[np.float64]
    least: float


def active_shares(looks: int, accepted: int, stopped: int) -> ActiveShares:
    """Share ``looks`` out between ``accepted`` and ``stopped`` pictures that are there."""
    for_stopped = min(round(STOPPED_SHARE * looks), stopped)
    for_accepted = min(looks - for_stopped, accepted)
    return ActiveShares(for_accepted, min(looks - for_accepted, stopped))


def active_choice(scores: NDArray[np.float64], looks: int) -> ActiveChoice:
    """Return π(x), with which each of m accepted pictures is looked at, ``looks`` on average.

    π = min(1, τ n / m + c √(s (1 − s))), τ the ``ALIKE_SHARE``, n looks, and c so that Σ π = n: the
    mixture of an equal choice and one in proportion to the deviation of the label that Zrnic &
    Candès give ("Active Statistical Inference", 2024). It knows of no label.
    """
    count = len(scores)
    if looks >= count:
        return ActiveChoice(np.ones(count), 1.0)
    least = ALIKE_SHARE * looks / count
    doubt = np.sqrt(np.maximum(scores * (1 - scores), SMALLEST_VARIANCE))
    low, high = 0.0, 1 / doubt.min()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if np.minimum(1.0, least + middle * doubt).sum() < looks:
            low = middle
        else:
            high = middle
    return ActiveChoice(np.minimum(1.0, least + low * doubt), least)
