from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, chi2

from drupe.labels.weighted import WeightedDraw, gamma_bounds, weighted_total


def draw(yes=(), still_open=(), least=0.1, others=500, no=40, certain=(0, 0)) -> WeightedDraw:
    return WeightedDraw(*certain, others, least, tuple(yes), tuple(still_open), no)


def test_equal_weights_give_the_exact_bounds_of_a_poisson_count() -> None:
    # Garwood 1936, as tables print them: 4.795 to 18.39 for 10, and 0 to 3.689 for none.
    assert gamma_bounds([1.0] * 10, 1.0, 0.025) == pytest.approx((4.795, 18.390), abs=1e-3)
    assert gamma_bounds([], 0.25, 0.025) == pytest.approx((0, 4 * 3.689), abs=1e-3)


def test_unequal_weights_follow_fay_and_feuer() -> None:
    # Their χ² form, v/(2y) χ²(2y²/v): weights 2, 2 and 4, so y = 8, v = 24, and the largest is 10.
    low, high = gamma_bounds([0.5, 0.5, 0.25], 0.1, 0.025)
    assert low == pytest.approx(24 / 16 * chi2.ppf(0.025, 128 / 24))
    assert high == pytest.approx(124 / 36 * chi2.ppf(0.975, 648 / 124))


def test_a_total_stays_within_what_is_possible() -> None:
    assert weighted_total(draw(others=50, no=48)).high == 2
    found = weighted_total(draw(yes=[0.99] * 3, others=60, no=7, certain=(4, 2)))
    assert (found.low, found.estimate) == (7, pytest.approx(4 + 3 / 0.99))
    nothing = weighted_total(draw(others=0, least=1.0, no=0, certain=(4, 2)))
    assert (nothing.low, nothing.estimate, nothing.high) == (4, 4, 6)
    with pytest.raises(ValueError, match="confidence"):
        weighted_total(draw(), 0)


def test_open_items_count_for_neither_bound() -> None:
    plain, unclear = weighted_total(draw([0.5] * 4)), weighted_total(draw([0.5] * 4, [0.2] * 3))
    assert (unclear.low, unclear.estimate) == (plain.low, plain.estimate)
    assert unclear.high == weighted_total(draw([0.5] * 4 + [0.2] * 3)).high > plain.high


@pytest.mark.parametrize("seed", range(3))
def test_each_bound_misses_no_more_often_than_it_may(seed: int) -> None:
    """Exactly, not by drawing: all counts of two kinds of items, drawn with unequal probability."""
    random = np.random.default_rng(seed)
    tail = 0.025
    for _ in range(12):
        often = random.uniform(0.02, 1)
        seldom = often * 10 ** random.uniform(-2, 0)
        totals = random.integers(0, [30, 40])
        missed = misses(totals.tolist(), (often, seldom), tail)
        assert max(missed) <= tail, (totals, often, seldom, missed)


def misses(totals: list[int], chances: tuple[float, float], tail: float) -> tuple[float, float]:
    """Return the probabilities that the truth lies below and above the bounds."""
    counts = [np.arange(total + 1) for total in totals]
    odds = np.outer(
        *(binom.pmf(n, n[-1], chance) for n, chance in zip(counts, chances, strict=True))
    )
    above, below = 0.0, 0.0
    for first, second in np.argwhere(odds > 1e-9).tolist():
        found = [chances[0]] * first + [chances[1]] * second
        low, high = gamma_bounds(found, min(chances), tail)
        below += odds[first, second] * (np.ceil(low - 1e-9) > sum(totals))
        above += odds[first, second] * (np.floor(high + 1e-9) < sum(totals))
    return below, above
