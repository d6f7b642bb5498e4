"""Multinomial logistic regression with an L2 penalty, fitted to the optimum: no step size, no seed.

Letters: n items, F features, T classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

PENALTY = 1.0
"""Of half the squared weights, against the summed log-loss: a normal prior of deviation 1 on the
weight of each standardised feature (scikit-learn's C = 1)."""

MOST_STEPS = 1000


def fit_softmax(
    features: NDArray[np.floating], labels: NDArray[np.integer], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights float64 [T, F] and biases [T] of a softmax over ``classes`` T classes.

    Minimises Σ −log p(label) + ½ · :data:`PENALTY` · Σ w² over weights of the standardised
    features (mean 0, deviation 1; a constant one is ignored); biases are free, and sum to 0 before
    means are taken out. The problem is convex, so the result doesn't depend on where the search
    starts. (Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2nd ed., 4.4 and
    18.3.2.)

    Parameters
    ----------
    features
        float [n, F].
    labels
        int [n], in [0, T).
    classes
        T.
    """
    x = np.asarray(features, np.float64)
    mean, spread = x.mean(0), x.std(0)
    varies = spread > 1e-9 * (1 + np.abs(mean))
    scale = np.where(varies, 1 / np.where(varies, spread, 1), 0)
    x = (x - mean) * scale
    # Searched along the principal axes, each stretched so that the loss bends alike in all of them
    # (p(1 − p) is at most 1/4): tens of steps instead of thousands where features are correlated.
    variance, axes = np.linalg.eigh(x.T @ x)
    bend = PENALTY + variance.clip(0) / 4
    stretched = axes / np.sqrt(bend)
    x = x @ stretched
    one_hot = np.eye(classes)[labels]
    width = x.shape[1]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = flat.reshape(classes, width + 1)
        weight, bias = parameters[:, :-1], parameters[:, -1]
        logits = x @ weight.T + bias
        log_total = logsumexp(logits, axis=1)
        penalty = PENALTY / 2 * (weight**2 / bend).sum()
        error = np.exp(logits - log_total[:, None]) - one_hot
        of_weight = error.T @ x + PENALTY * weight / bend
        gradient = np.column_stack((of_weight, error.sum(0)))
        return float(log_total.sum() - (logits * one_hot).sum() + penalty), gradient.ravel()

    found: Any = minimize(
        loss,
        np.zeros(classes * (width + 1)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "ftol": 1e-8, "gtol": 1e-5},
    )
    parameters = found.x.reshape(classes, width + 1)
    weight = (parameters[:, :-1] @ stretched.T) * scale
    return weight, parameters[:, -1] - weight @ mean
