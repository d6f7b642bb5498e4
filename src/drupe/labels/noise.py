"""How many labels are wrong: the estimate of confident learning, with an interval.

Letters: n items in G duplicate groups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.intervals import clopper_pearson
from drupe.labels.confident import calibrated_joint
from drupe.progress import Progress, silent

CONFIDENCE = 0.95
"""Of the interval, where the scores tell the classes apart."""


@dataclass(frozen=True)
class WrongLabels:
    """Of the ``items`` labelled ``label``, about ``wrong`` are of another class.

    ``low`` and ``high`` bound at 95 % confidence what is to be expected of such a collection, and
    so allow for the items that happened to be collected. They know nothing of how well the scores
    tell the classes apart.
    """

    label: str
    items: int
    wrong: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


def estimate_wrong_labels(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    groups: NDArray[np.integer],
    classes: tuple[str, ...],
    *,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[WrongLabels, ...]:
    """Estimate the number of wrong labels of each class.

    The estimate is the part of the calibrated joint off its diagonal, times n. The interval is that
    of Clopper and Pearson for as many independent items as the estimate is worth (Korn & Graubard
    1998), at most G: so many have the variance of the bootstrap with duplicate groups as units
    (Field & Welsh 2007), in which G groups are drawn with replacement, and all of it is estimated
    anew from the same scores. (The bootstrap's percentiles would be too narrow where few are
    wrong.)

    Args:
        probabilities: out-of-fold, float64 [n, classes].
        labels: given class indices, [n].
        groups: equal numbers for copies, [n].
        classes: their names.
        resamples: how often is drawn.
        seed: of the drawing.
        progress: told of every resample.
    """
    estimate = _wrong(probabilities, labels)
    number = np.unique(groups, return_inverse=True)[1]
    count = int(number.max()) + 1
    random = np.random.default_rng(seed)
    draws = []
    with progress("estimate wrong labels", resamples, "resamples") as tracker:
        for _ in range(resamples):
            times = np.bincount(random.integers(count, size=count), minlength=count)
            items = np.repeat(np.arange(len(labels)), times[number])
            if len(np.unique(labels[items])) == len(classes):  # else nothing can be estimated
                draws.append(_wrong(probabilities[items], labels[items]))
            tracker.advance()
    variance = np.var(draws, axis=0)
    found = []
    for index, name in enumerate(classes):
        share, mine = float(estimate[index]), int(np.count_nonzero(labels == index))
        low, high = _bounds(share, float(variance[index]), count)
        found.append(
            WrongLabels(
                label=name,
                items=mine,
                wrong=share * len(labels),
                low=low * len(labels),
                high=min(high * len(labels), float(mine)),
            )
        )
    return tuple(found)


def _bounds(share: float, variance: float, groups: int) -> tuple[float, float]:
    """Return the bounds of a share that has this variance, and rests on so many groups."""
    spread = share * (1 - share)
    worth = min(spread / variance, groups) if spread and variance else groups
    return clopper_pearson(share * worth, worth, CONFIDENCE, sides=2)


def _wrong(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of all items that carry each label wrongly, float64 [classes]."""
    joint = calibrated_joint(probabilities, labels)
    np.fill_diagonal(joint, 0.0)
    shares: NDArray[np.float64] = joint.sum(axis=1)
    return shares
