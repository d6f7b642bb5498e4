"""Bounds of a quantile that assume no distribution: two of the sorted values.

NumPy alone: a line PC, which has no scipy, gives the interval of its latency by this too.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-12
"""Relative error of a summed probability: of one value at share = confidence, two are equal."""


def quantile_bounds(
    values: NDArray[np.float64], share: float, confidence: float, sides: int
) -> tuple[float | None, float | None]:
    """Return the lower and the upper bound of the quantile ``share`` of ``values`` (float64 [n]).

    Of n independent values, the number below the true quantile is Bin(n, share), so the l-th and
    the u-th smallest with P(Bin < l) ≤ tail and P(Bin ≥ u) ≤ tail bound it, where the tail is
    (1 − ``confidence``) / ``sides`` (David and Nagaraja, Order Statistics, 3rd ed., section 7.1).
    With ``sides=2`` both together hold with ``confidence``, with ``sides=1`` each on its own. A
    bound is None where n is too small for it.

    Raises:
        ValueError: a ``share`` outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share: must be in (0, 1), got {share!r}")
    ordered = np.sort(values)
    n = len(ordered)
    tail = (1 - confidence) / sides
    at_most = np.cumsum(_binomial(n, share))  # P(Bin ≤ k), k = 0 … n
    # The largest l with P(Bin ≤ l - 1) ≤ tail, the smallest u with P(Bin ≤ u - 1) ≥ 1 - tail.
    low = int(np.count_nonzero(at_most <= tail * (1 + ROUNDING)))
    high = int(np.count_nonzero(at_most < (1 - tail) * (1 - ROUNDING))) + 1
    return (
        float(ordered[low - 1]) if low >= 1 else None,
        float(ordered[high - 1]) if high <= n else None,
    )


def _binomial(n: int, share: float) -> NDArray[np.float64]:
    """Return P(Bin(n, share) = k) for k = 0 … n, by the logarithms of its ratios."""
    k = np.arange(1, n + 1)
    steps = np.log((n - k + 1) / k) + math.log(share) - math.log1p(-share)
    logs = n * math.log1p(-share) + np.concatenate(([0.0], np.cumsum(steps)))
    probabilities: NDArray[np.float64] = np.exp(logs)
    return probabilities
