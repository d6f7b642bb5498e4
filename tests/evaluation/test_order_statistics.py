from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.stats import binom

from drupe.evaluation.order_statistics import quantile_bounds


def test_order_statistics_that_enclose_a_quantile() -> None:
    """Ranks 40 and 61 of 100 for the median, as in David and Nagaraja's and R's tables."""
    values = np.arange(1.0, 101.0)
    assert quantile_bounds(values[::-1], 0.5, 0.95, 2) == (40, 61)
    assert quantile_bounds(values, 0.99, 0.95, 2)[1] is None  # nothing is known of what is above
    assert quantile_bounds(values[:3], 0.5, 0.95, 2) == (None, None)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [50, 500])
@pytest.mark.parametrize("sides", [1, 2])
def test_the_ranks_by_exact_sums(n, share, sides) -> None:
    def at_most(k: int) -> float:
        return sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))

    tail = (1 - 0.95) / sides
    low, high = quantile_bounds(np.arange(1.0, n + 1), share, 0.95, sides)
    if low is not None:
        assert at_most(int(low) - 1) <= tail < at_most(int(low))
    if high is not None:
        assert at_most(int(high) - 1) >= 1 - tail > at_most(int(high) - 2)
    else:
        assert at_most(n - 1) < 1 - tail


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99, 0.999])
def test_the_ranks_by_the_binomial_of_scipy(confidence) -> None:
    for share in (0.01, 0.3, 0.95):
        for n in (1, 2, 13, 58, 59, 299, 2000):
            at_most = binom.cdf(np.arange(n), n, share)
            lower, upper = (
                np.flatnonzero(at_most <= 1 - confidence),
                np.flatnonzero(at_most >= confidence),
            )
            expected = (
                lower[-1] + 1 if lower.size else None,
                upper[0] + 1 if upper.size else None,
            )
            assert quantile_bounds(np.arange(1.0, n + 1), share, confidence, 1) == expected


def test_a_tie_counts_though_it_is_rounded() -> None:
    """Of one value, P(Bin < 1) is 1 - 0.95: just what a tail of 5 % allows."""
    assert quantile_bounds(np.array([7.0]), 0.95, 0.95, 1) == (7, None)
    assert quantile_bounds(np.array([7.0]), 0.05, 0.95, 1) == (None, 7)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_that_no_quantile_has(share) -> None:
    with pytest.raises(ValueError, match=rf"share: must be in \(0, 1\), got {share}"):
        quantile_bounds(np.arange(3.0), share, 0.95, 2)


def test_intervals_hold_the_true_quantile_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    true = -np.log(0.1)  # the 90 % quantile of an exponential distribution
    held = 0
    for _ in range(400):
        low, high = quantile_bounds(random.exponential(size=300), 0.9, 0.95, 2)
        assert low is not None
        assert high is not None
        held += low <= true <= high
    assert 0.92 <= held / 400 <= 1
