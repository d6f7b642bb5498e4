from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from drupe.evaluation.intervals import (
    Proportion,
    clopper_pearson,
    describe_interval,
    format_interval,
    format_percent,
    format_points,
    format_points_interval,
    lower_bounds,
)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
@pytest.mark.parametrize(
    ("successes", "trials"),
    [(0, 1), (1, 1), (0, 871), (871, 871), (809, 871), (1, 1226), (1225, 1226), (5, 10)],
)
def test_agrees_with_scipy(successes: int, trials: int, confidence: float) -> None:
    expected = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    two_sided = Proportion(successes, trials, confidence)
    assert two_sided.low == pytest.approx(expected.low, rel=1e-9)
    assert two_sided.high == pytest.approx(expected.high, rel=1e-9)
    one_sided = Proportion(successes, trials, confidence, sides=1)
    greater = binomtest(successes, trials, alternative="greater")
    less = binomtest(successes, trials, alternative="less")
    assert one_sided.low == pytest.approx(greater.proportion_ci(confidence).low, rel=1e-9)
    assert one_sided.high == pytest.approx(less.proportion_ci(confidence).high, rel=1e-9)


def test_agrees_with_r() -> None:
    # R's help page of binom.test: binom.test(682, 682 + 243), Mendel's peas.
    peas = Proportion(682, 925)
    assert (peas.low, peas.high) == pytest.approx((0.7076683, 0.7654066), abs=5e-8)


@pytest.mark.parametrize(
    ("successes", "low", "high"), [(0, 0.0, 0.3085), (1, 0.0025, 0.4450), (5, 0.1871, 0.8129)]
)
def test_agrees_with_printed_tables_for_ten_trials(successes: int, low: float, high: float) -> None:
    interval = Proportion(successes, 10)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


def test_bounds_are_exact_at_the_ends() -> None:
    assert Proportion(0, 50).low == 0.0
    assert Proportion(50, 50).high == 1.0
    assert Proportion(0, 50).high < 1
    assert Proportion(50, 50).low > 0


def test_one_run_needs_1167_of_1226_to_pass_the_baseline() -> None:
    assert Proportion(1167, 1226, sides=1).low >= 0.9405
    assert Proportion(1166, 1226, sides=1).low < 0.9405


@pytest.mark.parametrize(
    ("confidence", "misses", "defects"),
    [(0.9, 0, 230), (0.95, 0, 299), (0.9, 1, 388), (0.95, 1, 473), (0.9, 2, 531), (0.95, 2, 628)],
)
def test_defects_needed_to_certify_99_percent_recall(
    confidence: float, misses: int, defects: int
) -> None:
    assert Proportion(defects - misses, defects, confidence, sides=1).low >= 0.99
    assert Proportion(defects - 1 - misses, defects - 1, confidence, sides=1).low < 0.99


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.94, 0.995])
def test_coverage_is_at_least_nominal(rate: float) -> None:
    trials = 200
    bounds = np.array([clopper_pearson(k, trials, 0.95, 2) for k in range(trials + 1)])
    covered = (bounds[:, 0] <= rate) & (rate <= bounds[:, 1])
    assert 0.95 <= binom.pmf(np.arange(trials + 1), trials, rate)[covered].sum() <= 0.996


def test_simulated_coverage() -> None:
    draws = np.random.default_rng(0).binomial(871, 0.93, size=4000)
    hits = [(p := Proportion(k, 871)).low <= 0.93 <= p.high for k in draws]
    assert 0.945 <= np.mean(hits) <= 0.97


def test_nothing_tried() -> None:
    empty = Proportion(0, 0)
    assert (empty.rate, empty.low, empty.high) == (None, 0.0, 1.0)
    assert empty.describe() == "– (0 of 0; 95 % interval 0–100 %)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((11, 10), r"successes: must be in \[0, 10\], got 11"),
        ((-1, 10), r"successes: must be in \[0, 10\], got -1"),
        ((1.5, 10), "successes: must be a whole number, got 1.5"),
        ((1, 10, 1.0), r"confidence: must be in \(0, 1\), got 1.0"),
        ((1, 10, 0.95, 3), "sides: must be 1 or 2, got 3"),
    ],
)
def test_impossible_values(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Proportion(*arguments)  # type: ignore[arg-type]


def test_one_sided_bounds_solve_their_equations() -> None:
    interval = Proportion(9, 10, confidence=0.9, sides=1)
    # P(Bin(10, low) >= 9) = 0.1 and P(Bin(10, high) <= 9) = 0.1
    assert 10 * interval.low**9 - 9 * interval.low**10 == pytest.approx(0.1)
    assert 1 - interval.high**10 == pytest.approx(0.1)


def test_json_is_plain_and_complete() -> None:
    document = Proportion(np.int64(9), np.int64(10), 0.9, 1).to_json()  # type: ignore[arg-type]
    assert json.loads(json.dumps(document)) == document
    assert document == {
        "successes": 9,
        "trials": 10,
        "rate": 0.9,
        "low": Proportion(9, 10, 0.9, 1).low,
        "high": Proportion(9, 10, 0.9, 1).high,
        "method": "clopper-pearson",
        "confidence": 0.9,
        "sides": 1,
    }


@pytest.mark.parametrize(
    ("successes", "trials", "text"),
    [
        (1225, 1226, "99.9 %"),
        (12259, 12260, "99.99 %"),
        (1, 12260, "0.01 %"),
        (1, 10_000_000, "0.00001 %"),
        (10, 10, "100 %"),
        (0, 10, "0 %"),
        (809, 871, "92.9 %"),
    ],
)
def test_no_false_0_or_100_percent(successes: int, trials: int, text: str) -> None:
    assert Proportion(successes, trials).percent() == text


def test_percent_in_whole_numbers() -> None:
    assert format_percent(0.996, decimals=0) == "99.6 %"
    assert format_percent(0.504, decimals=0) == "50 %"


def test_description() -> None:
    assert Proportion(809, 871).describe() == "92.9 % (809 of 871; 95 % interval 90.9–94.5 %)"
    one_sided = Proportion(1226, 1226, confidence=1 - 0.05 / 7, sides=1)
    expected = "100 % (1,226 of 1,226; 99.28 % one-sided bounds 99.5–100 %)"
    assert one_sided.describe() == expected


def test_counts_as_text() -> None:
    assert Proportion(1226, 2452).with_counts() == "50.0 % (1,226 of 2,452)"


def test_an_interval_as_text() -> None:
    assert format_interval(0.90951, 0.94449) == "90.9–94.5 %"
    assert format_interval(0.90951, 0.94449, 2, dash="-", sign="") == "90.95-94.45"
    assert describe_interval(0.5, 1, 0.95, 1) == "95 % one-sided bounds 50.0–100 %"


def shown_numbers(text: str, separator: str) -> tuple[float, float]:
    low, high = text.removesuffix(" %").split(separator)
    return float(low), float(high)


@pytest.mark.parametrize("decimals", [0, 1, 2, 4])
@pytest.mark.parametrize("sides", [1, 2])
def test_no_shown_bound_of_a_rate_is_tighter_than_it_is(decimals: int, sides: int) -> None:
    random = np.random.default_rng(decimals)
    for _ in range(500):
        trials = int(random.integers(1, 10 ** int(random.integers(1, 7))))
        rate = Proportion(int(random.integers(0, trials + 1)), trials, sides=sides)
        low, high = shown_numbers(format_interval(rate.low, rate.high, decimals), "–")
        assert low / 100 <= rate.low
        assert high / 100 >= rate.high
        assert low / 100 > rate.low - 1.001 * 10 ** -(decimals + 2)
        assert high / 100 < rate.high + 1.001 * 10 ** -(decimals + 2)


@pytest.mark.parametrize("decimals", [0, 1, 2])
def test_no_shown_bound_of_a_difference_is_tighter_than_it_is(decimals: int) -> None:
    bounds = np.random.default_rng(decimals).uniform(-1, 1, (500, 2))
    bounds[:100] /= 1000
    for low, high in np.sort(bounds).tolist():
        start, end = shown_numbers(format_points_interval(low, high, decimals), " to ")
        assert start / 100 <= low
        assert end / 100 >= high
        assert (end - start) / 100 < high - low + 2.001 * 10 ** -(decimals + 2)


def test_points_have_a_sign() -> None:
    assert format_points(0.00749) == "+0.7"
    assert format_points(-0.00749, 2) == "-0.75"
    assert format_points_interval(-0.0041, 0.0181) == "-0.5 to +1.9"


@pytest.mark.parametrize("trials", [0, 1, 7, 1226])
@pytest.mark.parametrize(("confidence", "sides"), [(0.95, 2), (0.9, 1)])
def test_lower_bounds_of_all_counts_at_once(trials: int, confidence: float, sides: int) -> None:
    lows = lower_bounds(trials, confidence, sides)
    bounds = [clopper_pearson(k, trials, confidence, sides) for k in range(trials + 1)]
    assert lows.tolist() == [low for low, _ in bounds]
    assert 1 - lows[::-1] == pytest.approx([high for _, high in bounds], abs=1e-15)
