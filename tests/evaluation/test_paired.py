from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, norm, permutation_test

from drupe.errors import InputError
from drupe.evaluation.intervals import Proportion
from drupe.evaluation.paired import (
    SeedSpread,
    align,
    clustered_mean_interval,
    correct_decisions,
    paired_difference,
    score_interval,
    sign_flip_p_value,
)
from drupe.evaluation.predictions import Predictions


def table_of(paths: str, labels: list[int], scores: list[float]) -> Predictions:
    return Predictions(
        tuple(paths), np.array(labels, bool), None, np.array(scores), ("clean", "pit")
    )


class Line:
    """Simulated models: each image has its own difficulty, duplicates mostly share a fate."""

    def __init__(self, seed: int, groups: int, duplicates: bool = True) -> None:
        self.generator = np.random.default_rng(seed)
        extra = self.generator.integers(0, 4, groups) * (self.generator.random(groups) < 0.1)
        self.groups = np.repeat(np.arange(groups), 1 + extra * duplicates)
        self.hardness = self.generator.beta(0.2, 0.8, groups)  # mean 0.2

    def correct(self, seeds: int, error: float) -> np.ndarray:
        """Return bool [S, N] with an expected share of ``error`` (at most 0.2) wrong."""
        wrong = (error / 0.2 * self.hardness)[self.groups]
        shared = self.generator.random((seeds, self.hardness.size))[:, self.groups]
        own = self.generator.random((seeds, self.groups.size))
        together = self.generator.random(self.groups.size) < 0.8
        return np.where(together, shared, own) >= wrong


def test_spread_by_hand() -> None:
    spread = SeedSpread((0.90, 0.92, 0.97))
    assert spread.mean == pytest.approx(0.93)
    assert spread.deviation == pytest.approx(0.0360555)
    assert (spread.minimum, spread.maximum) == (0.90, 0.97)
    assert SeedSpread((0.9,)).deviation is None
    document = SeedSpread(np.array([0.5, 1.0])).to_json()  # type: ignore[arg-type]
    assert json.loads(json.dumps(document)) == document
    assert document["seeds"] == 2
    with pytest.raises(ValueError, match="at least one seed"):
        SeedSpread(())


def test_tables_are_aligned_by_path() -> None:
    first = table_of("abc", [0, 1, 1], [0.1, 0.9, 0.2])
    second = table_of("cab", [1, 0, 1], [0.5, 0.6, 0.7])
    assert align([first, second])[1].paths == ("a", "b", "c")
    expected = [[True, True, False], [False, True, True]]
    assert correct_decisions([first, second]).tolist() == expected
    assert correct_decisions([first, second], threshold=0.15)[0].tolist() == [True, True, True]


def test_tables_that_do_not_fit_are_all_named() -> None:
    first = table_of("abc", [0, 1, 1], [0.1, 0.9, 0.2])
    other_paths = table_of("abx", [0, 1, 1], [0.1, 0.9, 0.2])
    other_labels = table_of("abc", [0, 0, 1], [0.1, 0.9, 0.2])
    other_classes = replace(first, classes=("pit", "clean"))
    with pytest.raises(InputError) as caught:
        align([first, other_paths, other_labels, other_classes])
    assert list(caught.value.problems) == [
        "predictions 2 of 4: paths: must be the same 3 as in the first, "
        "got 1 missing (c) and 1 further (x)",
        "predictions 3 of 4: labels: must be those of the first, got 1 others, such as that of 'b'",
        "predictions 4 of 4: classes: must be ('clean', 'pit'), got ('pit', 'clean')",
    ]


@pytest.mark.parametrize("wrong", [0, 1, 52, 871])
@pytest.mark.parametrize("sides", [1, 2])
def test_one_seed_of_distinct_images_gives_clopper_pearson(wrong: int, sides: int) -> None:
    correct = np.arange(871) >= wrong
    interval = clustered_mean_interval(correct, np.arange(871), 0.95, sides)
    exact = Proportion(871 - wrong, 871, 0.95, sides)
    assert interval.mean == exact.rate
    assert interval.effective_images == pytest.approx(871)
    assert (interval.low, interval.high) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_equal_seeds_and_copied_images_add_nothing() -> None:
    correct = np.random.default_rng(0).random(400) < 0.93
    once = clustered_mean_interval(correct, np.arange(400))
    thrice = clustered_mean_interval(np.tile(correct, (3, 1)), np.arange(400))
    copied = clustered_mean_interval(np.repeat(correct, 2), np.repeat(np.arange(400), 2))
    for more in (thrice, copied):
        assert (more.low, more.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert (thrice.seeds, copied.images, copied.groups) == (3, 800, 400)
    pooled = Proportion(3 * int(correct.sum()), 1200)
    assert thrice.high - thrice.low > 1.5 * (pooled.high - pooled.low)


def test_all_right_is_an_upper_bound_of_one_even_for_thirds() -> None:
    interval = clustered_mean_interval(np.ones((3, 500), bool), np.arange(500))
    exact = Proportion(500, 500)
    assert (interval.low, interval.high) == pytest.approx((exact.low, 1.0))
    assert interval.high == 1.0


@pytest.mark.parametrize(
    ("seeds", "error", "at_most"),
    # With 5 errors expected among 500 images any exact interval covers more than it says.
    [(1, 0.06, 0.98), (3, 0.06, 0.98), (3, 0.01, 0.997)],
)
def test_coverage_of_the_clustered_interval(seeds: int, error: float, at_most: float) -> None:
    held = []
    for repetition in range(1200):
        line = Line(repetition, groups=500)
        interval = clustered_mean_interval(line.correct(seeds, error), line.groups)
        held.append(interval.low <= 1 - error <= interval.high)
    assert 0.94 <= np.mean(held) <= at_most


def test_pooling_seeds_and_copies_would_not_cover() -> None:
    # The fault that the clustered interval exists for: the test above must be able to fail.
    held = []
    for repetition in range(600):
        line = Line(repetition, groups=500)
        correct = line.correct(3, 0.2)
        pooled = Proportion(int(correct.sum()), correct.size)
        held.append(pooled.low <= 0.8 <= pooled.high)
    assert np.mean(held) < 0.85


def test_sign_flips_agree_with_scipy() -> None:
    generator = np.random.default_rng(0)
    for _ in range(10):
        differences = generator.integers(-4, 6, 11)
        expected = permutation_test(
            (differences,),
            np.sum,
            permutation_type="samples",
            n_resamples=np.inf,
        )
        assert sign_flip_p_value(differences) == pytest.approx(expected.pvalue, abs=1e-9)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (12, 3), (60, 20)])
def test_one_seed_of_distinct_images_gives_mcnemar(only_a: int, only_b: int) -> None:
    correct_a = np.arange(900) >= only_b
    correct_b = np.arange(900) < 900 - only_a
    result = paired_difference(correct_a, correct_b, np.arange(900))
    assert result.difference == pytest.approx((only_a - only_b) / 900)
    assert result.discordant_groups == only_a + only_b
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert result.p_value == pytest.approx(expected, rel=1e-9)
    assert result.low < result.difference < result.high


def test_the_interval_agrees_with_statpsych() -> None:
    # R, statpsych: ci.prop.ps(.05, 12, 4, 26, 6) prints 0.2548067 0.6251933 (its help page).
    correct_a = np.repeat([False, False, True, True], [12, 4, 26, 6])
    correct_b = np.repeat([False, True, False, True], [12, 4, 26, 6])
    result = paired_difference(correct_a, correct_b, np.arange(48))
    assert result.high == pytest.approx(0.6251933, abs=5e-8)
    assert result.low <= 0.2548067  # Tango's lower bound reaches a little further here
    assert result.low == pytest.approx(0.2548067, abs=2e-4)


@pytest.mark.parametrize(
    ("only_a", "only_b", "pairs"), [(12, 4, 48), (0, 4, 386), (1, 0, 44), (3, 3, 50)]
)
def test_tango_s_bounds_are_where_his_statistic_is_z(only_a, only_b, pairs) -> None:
    """The restricted likelihood is maximised numerically instead of by his closed form."""
    z = 1.959963984540054
    for bound in score_interval(only_a, only_b, pairs, z):

        def negative(p21: float, delta: float = bound) -> float:
            p12, rest = p21 + delta, 1 - 2 * p21 - delta
            parts = ((only_a, p12), (only_b, p21), (pairs - only_a - only_b, rest))
            if min(p12, p21, rest) < 0:
                return np.inf
            return -sum(count * np.log(max(p, 1e-300)) for count, p in parts)

        fitted = minimize_scalar(
            negative,
            bounds=(max(0, -bound), (1 - bound) / 2),
            method="bounded",
            options={"xatol": 1e-12},
        ).x
        variance = pairs * (2 * fitted + bound - bound**2)
        statistic = (only_a - only_b - pairs * bound) / np.sqrt(variance)
        assert abs(statistic) == pytest.approx(z, rel=1e-3)


def test_non_inferiority_is_not_claimed_too_often() -> None:
    """Exactly: A is never alone right and B on Bin(n, margin) images, the edge of inferiority."""
    for images, margin in ((386, 0.01), (485, 0.02), (1226, 0.01)):
        claimed = 0.0
        for count in range(60):
            right_a = np.arange(images) >= count
            found = paired_difference(right_a, np.ones(images, bool), np.arange(images), sides=1)
            claimed += (found.low > -margin) * binom.pmf(count, images, margin)
        assert claimed <= 0.05


def test_the_difference_is_antisymmetric_and_plain_json() -> None:
    line = Line(0, groups=300)
    a, b = line.correct(3, 0.1), line.correct(2, 0.05)
    forth = paired_difference(a, b, line.groups)
    back = paired_difference(b, a, line.groups)
    assert forth.difference == pytest.approx(a.mean() - b.mean())
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.p_value == back.p_value
    document = forth.to_json()
    assert json.loads(json.dumps(document)) == document
    interval = clustered_mean_interval(a, line.groups).to_json()
    assert json.loads(json.dumps(interval)) == interval


def test_copied_images_and_equal_seeds_add_no_evidence() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.random(300) < 0.95, generator.random(300) < 0.9
    once = paired_difference(a, b, np.arange(300))
    copied = paired_difference(a.repeat(2), b.repeat(2), np.arange(300).repeat(2))
    thrice = paired_difference(np.tile(a, (3, 1)), np.tile(b, (3, 1)), np.arange(300))
    for more in (copied, thrice):
        assert more.p_value == pytest.approx(once.p_value, rel=1e-9)
        assert (more.low, more.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(("seeds", "error_a", "error_b"), [(1, 0.06, 0.06), (3, 0.09, 0.06)])
def test_coverage_of_the_paired_interval(seeds: int, error_a: float, error_b: float) -> None:
    held = []
    for repetition in range(1000):
        line = Line(repetition, groups=500)
        a, b = line.correct(seeds, error_a), line.correct(seeds, error_b)
        result = paired_difference(a, b, line.groups)
        held.append(result.low <= error_b - error_a <= result.high)
    assert 0.935 <= np.mean(held) <= 0.98


def test_false_alarms_of_the_paired_test() -> None:
    p_values = []
    for repetition in range(1000):
        line = Line(repetition, groups=500)
        a, b = line.correct(3, 0.06), line.correct(3, 0.06)
        p_values.append(paired_difference(a, b, line.groups).p_value)
    assert 0.025 <= np.mean(np.array(p_values) <= 0.05) <= 0.065


def test_a_large_comparison_stays_exact_and_fast() -> None:
    differences = np.repeat([-3, -2, -1, 1, 2, 3], [4000, 9000, 30_000, 30_500, 9100, 4100])
    # Normal approximation: the sum is 1,000 with a variance of the sum of squares.
    z = differences.sum() / np.sqrt((differences**2).sum())
    expected = 2 * norm.sf(z)
    assert sign_flip_p_value(differences) == pytest.approx(expected, rel=0.01)
    assert sign_flip_p_value(np.ones(1000, int)) > 0


def test_shapes_must_fit() -> None:
    with pytest.raises(ValueError, match=r"groups: must have shape \(3,\), got \(2,\)"):
        clustered_mean_interval(np.ones((2, 3), bool), np.arange(2))
    with pytest.raises(ValueError, match=r"correct: must have shape \(seeds, items\)"):
        clustered_mean_interval(np.ones((2, 0), bool), np.arange(0))
    with pytest.raises(ValueError, match="sides: must be 1 or 2"):
        paired_difference([True], [True], [0], sides=0)
