"""Simulated comparisons: are intervals right as often as they say, for these models' images?

The estimand of each is the seed-mean difference on further images of the same line; models and
seeds stay fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from drupe.evaluation.comparison import Candidate, compare
from drupe.evaluation.paired import paired_difference
from drupe.evaluation.predictions import Predictions, scores_from_logits

LEVEL = 0.05


def tolerance(repetitions: int) -> float:
    """Three Monte-Carlo standard errors of a share of 5 %."""
    return 3 * float(np.sqrt(LEVEL * (1 - LEVEL) / repetitions))


def outcomes(random: np.random.Generator, groups: int, only_a: float, only_b: float):
    """Draw which of two models is right for each group: bool [G] each."""
    draw = random.random(groups)
    right_a = draw >= only_b
    right_b = (draw < only_b) | (draw >= only_b + only_a)
    return right_a, right_b


RATES = {
    "1,226 images, 6 % differ": (1226, 0.03, 0.03, 1),
    "386 images, 1 % differ": (386, 0.005, 0.005, 1),
    "386 images, 4 % differ, A better": (386, 0.03, 0.01, 1),
    "300 groups of 1 to 3 copies, 8 % differ": (300, 0.05, 0.03, 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RATES)
def test_intervals_and_tests_of_rates_keep_their_level(name: str) -> None:
    groups, only_a, only_b, largest = RATES[name]
    repetitions = 4000
    random = np.random.default_rng(7)
    covered = rejected = 0
    for _ in range(repetitions):
        right_a, right_b = outcomes(random, groups, only_a, only_b)
        number = np.repeat(np.arange(groups), random.integers(1, largest + 1, groups))
        found = paired_difference(right_a[number], right_b[number], number)
        covered += found.low <= only_a - only_b <= found.high
        rejected += found.p_value <= LEVEL
    print(f"{name}: coverage {covered / repetitions:.4f}, rejected {rejected / repetitions:.4f}")
    assert covered / repetitions >= 1 - LEVEL - tolerance(repetitions)
    if only_a == only_b:
        assert rejected / repetitions <= LEVEL + tolerance(repetitions)


@pytest.mark.slow
def test_a_percentile_bootstrap_of_few_differences_is_too_sure() -> None:
    """Why rates are not simply bootstrapped: resampling can't show an image that differs."""
    groups, only_a, only_b = 386, 0.005, 0.0005
    repetitions, random = 4000, np.random.default_rng(8)
    bootstrapped = adjusted = 0
    for _ in range(repetitions):
        right_a, right_b = outcomes(random, groups, only_a, only_b)
        counts = np.array([(right_a & ~right_b).sum(), (~right_a & right_b).sum()])
        chances = [*counts / groups, 1 - counts.sum() / groups]
        drawn = random.multinomial(groups, chances, 1000)
        low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / groups, [0.025, 0.975])
        bootstrapped += low <= only_a - only_b <= high
        found = paired_difference(right_a, right_b, np.arange(groups))
        adjusted += found.low <= only_a - only_b <= found.high
    print(
        f"coverage: bootstrap {bootstrapped / repetitions:.3f}, ours {adjusted / repetitions:.3f}"
    )
    assert bootstrapped / repetitions < 0.9
    assert adjusted / repetitions >= 1 - LEVEL - tolerance(repetitions)


def auroc_of(shift: float, variance: float) -> float:
    """Binormal: defects at +shift, clean at −shift, both with this variance."""
    return float(norm.cdf(2 * shift / np.sqrt(2 * variance)))


@pytest.mark.slow
@pytest.mark.parametrize(("shift_a", "shift_b"), [(1.2, 1.2), (1.3, 1.1)])
def test_intervals_and_tests_of_auroc_keep_their_level(shift_a: float, shift_b: float) -> None:
    repetitions, items = 1500, 600
    random = np.random.default_rng(9)
    truth = auroc_of(shift_a, 1.5) - auroc_of(shift_b, 1.5)
    labels = np.arange(items) < 270
    covered = rejected = 0
    for number in range(repetitions):
        shared = random.normal(size=items)

        def model(name: str, shift: float, shared: np.ndarray = shared) -> Candidate:
            logits = np.where(labels, shift, -shift) + shared + random.normal(0, 0.5**0.5, items)
            table = Predictions(
                tuple(map(str, range(items))),
                labels,
                logits.astype(np.float32),
                scores_from_logits(logits, 1.0),
                ("clean", "pit"),
            )
            return Candidate(name, (table,))

        found = compare(
            [model("b", shift_b), model("a", shift_a)],
            metrics=["auroc"],
            resamples=1000,
            seed=number,
        ).pairs[0]
        covered += found.low <= truth <= found.high
        rejected += found.p_value <= LEVEL
    print(f"auroc: coverage {covered / repetitions:.4f}, rejected {rejected / repetitions:.4f}")
    assert abs(covered / repetitions - (1 - LEVEL)) <= tolerance(repetitions)
    if shift_a == shift_b:
        assert abs(rejected / repetitions - LEVEL) <= tolerance(repetitions)
