from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom

from drupe.labels.design import (
    DrawnStratum,
    design_rate,
    design_total,
    hypergeometric_bounds,
    joint_bounds,
)


@pytest.mark.parametrize(("others", "drawn"), [(20, 7), (50, 10), (33, 32), (9, 1)])
def test_bounds_are_all_totals_that_the_draw_does_not_contradict(others: int, drawn: int) -> None:
    tail = 0.025
    for found in range(drawn + 1):
        possible = [
            total
            for total in range(found, others - drawn + found + 1)
            if hypergeom.sf(found - 1, others, total, drawn) > tail
            and hypergeom.cdf(found, others, total, drawn) > tail
        ]
        bounds = hypergeometric_bounds(others, drawn, found, found, tail)
        assert bounds == (possible[0], possible[-1])


def test_what_was_all_looked_at_is_known_and_what_was_not_is_open() -> None:
    assert hypergeometric_bounds(40, 40, 7, 7, 0.025) == (7, 7)
    assert hypergeometric_bounds(40, 40, 7, 9, 0.025) == (7, 9)
    assert hypergeometric_bounds(40, 0, 0, 0, 0.025) == (0, 40)
    assert hypergeometric_bounds(0, 0, 0, 0, 0.025) == (0, 0)


def test_weights_are_one_over_the_probability() -> None:
    strata = [DrawnStratum(3, 1, 100, 20, 2, 0), DrawnStratum(0, 0, 10, 10, 4, 1)]
    total = design_total(strata)
    assert total.estimate == 3 + 2 * 100 / 20 + 4
    low, high = hypergeometric_bounds(100, 20, 2, 2, 0.025)  # the other stratum is whole
    assert (total.low, total.high) == (3 + low + 4, 4 + high + 5)


def test_strata_that_are_drawn_from_alike_are_bounded_as_one() -> None:
    alike = [DrawnStratum(0, 0, 350, 50, 0, 0), DrawnStratum(0, 0, 350, 50, 3, 0)]
    total = design_total(alike)
    # 3 of 100: Clopper & Pearson 0.0062 to 0.0852, of 700 items.
    assert (total.low, total.high) == (5, 59)
    assert total.estimate == 21
    # In the worst case the yes items lie where least was drawn, 10 of 400; at most 3.69 are found.
    uneven = [DrawnStratum(0, 0, 100, 90, 0, 0), DrawnStratum(0, 0, 400, 10, 0, 0)]
    assert joint_bounds(uneven, 0.025) == (0, int(100 * (1 - 0.025**0.01) * 40))
    untouched = DrawnStratum(1, 2, 7, 0, 0, 0)
    assert design_total([untouched, *alike]).high == 59 + 1 + 2 + 7


@pytest.mark.parametrize("seed", range(4))
def test_joint_bounds_hold_for_any_mix_of_strata(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(5):
        others = random.integers(20, 400, 5)
        drawn = np.maximum(1, (others * random.uniform(0.03, 0.5, 5)).astype(int))
        totals = (others * random.beta(0.3, 4, 5)).astype(int)
        found = [
            design_total(draw(random, totals, others.tolist(), drawn.tolist())) for _ in range(400)
        ]
        held = np.mean([one.low <= totals.sum() <= one.high for one in found])
        assert held >= 0.94  # nominally 0.95; 400 draws have a standard error of 0.011


def draw(random, totals, others, drawn, certain=0):
    """Return strata of a random draw, ``totals`` yes items among ``others``."""
    return [
        DrawnStratum(certain, 0, size, count, int(found), 0)
        for size, count, found in zip(
            others,
            drawn,
            random.hypergeometric(totals, np.subtract(others, totals), drawn),
            strict=True,
        )
    ]


@pytest.mark.parametrize(
    ("totals", "others", "drawn"),
    [
        ([30, 9], [1000, 300], [80, 40]),
        ([2, 1, 0, 6], [500, 60, 40, 200], [50, 10, 5, 40]),
        ([0, 0], [1000, 300], [100, 30]),
        ([400], [1000], [60]),
    ],
)
def test_totals_are_unbiased_and_their_bounds_hold(totals, others, drawn) -> None:
    random = np.random.default_rng(2)
    truth = 5 * len(totals) + sum(totals)
    found = [design_total(draw(random, totals, others, drawn, certain=5)) for _ in range(2000)]
    estimates = np.array([one.estimate for one in found])
    error = estimates.std() / np.sqrt(len(found))
    assert abs(estimates.mean() - truth) <= 4 * error
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert held >= 0.95


def test_the_bounds_of_a_rate_hold() -> None:
    random = np.random.default_rng(3)
    # One draw of 900 and 400 others; yes items of two kinds among them: caught and missed.
    others, drawn, caught, missed = [900, 400], [120, 80], [40, 300], [12, 6]
    truth = (10 + sum(caught)) / (10 + sum(caught) + sum(missed))
    held, estimates = 0, []
    for _ in range(1000):
        hits, misses = [], []
        for size, count, hit, miss in zip(others, drawn, caught, missed, strict=True):
            kinds = random.permutation(np.repeat([0, 1, 2], [hit, miss, size - hit - miss]))[:count]
            hits.append(DrawnStratum(5, 0, size, count, int((kinds == 0).sum()), 0))
            misses.append(DrawnStratum(0, 0, size, count, int((kinds == 1).sum()), 0))
        rate = design_rate(hits, misses)
        held += rate.low <= truth <= rate.high
        estimates.append(rate.estimate)
    assert held >= 950
    assert np.mean(estimates) == pytest.approx(truth, abs=0.005)


def test_a_rate_of_nothing() -> None:
    none = [DrawnStratum(0, 0, 10, 5, 0, 0)]
    rate = design_rate(none, none)
    assert (rate.estimate, rate.low, rate.high) == (None, 0.0, 1.0)
    assert rate.to_json()["confidence"] == 0.95
    with pytest.raises(ValueError, match="confidence"):
        design_total(none, 1.5)
