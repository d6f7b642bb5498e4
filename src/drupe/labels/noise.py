"""How many labels are wrong: the estimate of confident learning, with a bootstrap interval.

Letters: n items in G duplicate groups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.labels.confident import calibrated_joint
from drupe.progress import Progress, silent

CONFIDENCE = 0.95
"""Of the interval: so many of the resamples' estimates lie in it."""


@dataclass(frozen=True)
class WrongLabels:
    """Of the ``items`` labelled ``label``, about ``wrong`` are of another class.

    ``low`` and ``high`` bound the estimates of 95 % of the resamples: how far it would differ had
    other items been collected. They know nothing of how well the scores tell the classes apart.
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

    The estimate is the part of the calibrated joint off its diagonal, times n. The interval is the
    percentile bootstrap with duplicate groups as units (Efron & Tibshirani 1993, ch. 13; Field &
    Welsh 2007): G groups are drawn with replacement, and all of it is estimated anew from the
    same scores.

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
    tail = (1 - CONFIDENCE) / 2
    bounds = np.quantile(draws, (tail, 1 - tail), axis=0) * len(labels)
    return tuple(
        WrongLabels(
            label=name,
            items=int(np.count_nonzero(labels == index)),
            wrong=float(estimate[index] * len(labels)),
            low=float(bounds[0, index]),
            high=float(bounds[1, index]),
        )
        for index, name in enumerate(classes)
    )


def _wrong(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of all items that carry each label wrongly, float64 [classes]."""
    joint = calibrated_joint(probabilities, labels)
    np.fill_diagonal(joint, 0.0)
    shares: NDArray[np.float64] = joint.sum(axis=1)
    return shares
