"""Confident learning: which labels disagree with the scores, and about how many are wrong.

Northcutt, Jiang and Chuang, "Confident learning: Estimating uncertainty in dataset labels",
Journal of Artificial Intelligence Research 70 (2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A mean of equal numbers may round to just above them.
_ROUNDING = 1e-9


def self_confidence(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the probability of each item's given label.

    Args:
        probabilities: out-of-fold probabilities, (items, classes), rows that add up to 1.
        labels: given class indices, (items,).

    Returns:
        Probabilities in [0, 1], (items,).

    Raises:
        ValueError: the shapes differ, a label is no class, or a class has no item.
    """
    _check(probabilities, labels)
    own: NDArray[np.float64] = probabilities[np.arange(len(labels)), labels]
    return own


def normalised_margin(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each given label's probability less the largest other one, in [-1, 1], (items,)."""
    own = self_confidence(probabilities, labels)
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    margin: NDArray[np.float64] = own - others.max(axis=1)
    return margin


def class_thresholds(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean self-confidence of each class's items, (classes,)."""
    own = self_confidence(probabilities, labels)
    return np.array([own[labels == c].mean() for c in range(probabilities.shape[1])])


def confident_labels(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the label that the scores are confident of for each item, -1 where of none, (items,).

    That is the likeliest class among those whose threshold the item reaches.
    """
    reached = probabilities >= class_thresholds(probabilities, labels) - _ROUNDING
    likeliest = np.where(reached, probabilities, -np.inf).argmax(axis=1)
    confident: NDArray[np.int64] = np.where(reached.any(axis=1), likeliest, -1)
    return confident


def confident_joint(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count items by given label (row) and the label that the scores are confident of (column)."""
    found = confident_labels(probabilities, labels)
    classes = probabilities.shape[1]
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[found >= 0], found[found >= 0]), 1)
    return joint


def calibrated_joint(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Estimate the share of all items with each given (row) and true (column) label.

    Each row adds up to the share of items that carry its label.
    """
    joint = confident_joint(probabilities, labels)
    shares = np.bincount(labels, minlength=len(joint)) / len(labels)
    calibrated: NDArray[np.float64] = joint / joint.sum(axis=1, keepdims=True) * shares[:, None]
    return calibrated


def _check(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities must be (items, classes) and labels (items,); "
            f"got {probabilities.shape} and {labels.shape}"
        )
    classes = np.arange(probabilities.shape[1])
    if not np.array_equal(np.unique(labels), classes):
        raise ValueError(f"labels must be 0 to {len(classes) - 1}, each at least once")
