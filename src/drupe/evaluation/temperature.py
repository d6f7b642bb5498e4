"""Temperature scaling of a binary logit: one number, no bias, so the argmax never changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit

from drupe.errors import InputError
from drupe.evaluation.predictions import finite_logits

BOUNDS = (0.05, 20.0)  # of T; beyond them float32 scores saturate or all say 0.5


def negative_log_likelihood(
    logits: ArrayLike, is_defect: ArrayLike, temperature: float = 1.0
) -> float | None:
    """Return the mean of −log p(label) in nats per item, p(defect) = sigmoid(z / T).

    ``logits`` are z (float [n]), ``is_defect`` bool [n]. No items give ``None``.
    """
    z = finite_logits(logits)
    if not z.size:
        return None
    margin = np.where(np.asarray(is_defect, np.bool_), z, -z) / temperature
    return float(np.mean(np.logaddexp(0.0, -margin)))


def fit_temperature(logits: ArrayLike, is_defect: ArrayLike) -> float:
    """Return the T in [0.05, 20] that minimises the negative log-likelihood of sigmoid(z / T).

    ``logits`` are z (float [n]), ``is_defect`` bool [n] (Guo et al. 2017). The
    likelihood is convex in 1 / T, so T is the root of its derivative. Labels that z separates
    perfectly, or a single class, have no finite minimum; they get the smoothed targets of Platt
    (1999), (n₁ + 1) / (n₁ + 2) and 1 / (n₀ + 2). Logits that are all zero give 1.
    No items, or a logit that is not finite, are an :class:`InputError`.
    """
    z = finite_logits(logits)
    defect = np.asarray(is_defect, np.bool_)
    if not z.size:
        raise InputError("calibration: must hold at least one item, got none")
    if not z.any():
        return 1.0
    targets = defect.astype(np.float64)
    if np.all(z[defect] >= 0) and np.all(z[~defect] <= 0):
        targets = _platt_targets(defect)

    def slope(inverse_temperature: float) -> float:
        return float(np.mean(z * (expit(z * inverse_temperature) - targets)))

    low, high = 1 / BOUNDS[1], 1 / BOUNDS[0]
    if slope(low) >= 0:
        return BOUNDS[1]
    if slope(high) <= 0:
        return BOUNDS[0]
    return float(1 / brentq(slope, low, high, xtol=1e-12, rtol=1e-12))


def _platt_targets(defect: NDArray[np.bool_]) -> NDArray[np.float64]:
    defects = int(defect.sum())
    clean = defect.size - defects
    return np.where(defect, (defects + 1) / (defects + 2), 1 / (clean + 2))
