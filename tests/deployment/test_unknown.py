"""What a bundle says of things it has never seen anything like."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from drupe.deployment.unknown import (
    CalibrationDistances,
    UnknownCheck,
    check_rate,
    distance_arrays,
    fewest,
    least_rate,
    read_distances,
)
from drupe.errors import InputError


def saved(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def calibration(clean: int, defects: int, seed: int = 0) -> CalibrationDistances:
    random = np.random.default_rng(seed)
    distances = random.gamma(3, size=clean + defects).astype(np.float32)
    return CalibrationDistances.of(distances, np.arange(clean + defects) >= clean)


@pytest.mark.parametrize(("items", "rate"), [(199, 0.005), (399, 0.005), (500, 0.005), (60, 0.05)])
def test_the_false_alarm_rate_is_exact_whatever_the_distribution(items, rate) -> None:
    """Simulated by 1,000 calibration sets of 40 new items each."""
    random = np.random.default_rng(1)
    sets, news = 1_000, 40
    at_most, p_alarms = [], []
    for _ in range(sets):
        # One class, so that the larger of two p-values is its own: the other lies nearer.
        own = CalibrationDistances.of(
            np.concatenate((random.lognormal(0, 1.5, items), np.zeros(items, np.float64))).astype(
                np.float32
            ),
            np.arange(2 * items) >= items,
        )
        new = random.lognormal(0, 1.5, news).astype(np.float32)
        p_alarms.append((own.p_values(new) <= rate).mean())
        at_most.append(UnknownCheck(own.limit(rate), "review", own).are_unknown(new).mean())
    promised = own.false_alarm_rates(rate)[0]
    error = np.sqrt(promised / (sets * news)) + np.std(p_alarms) / np.sqrt(sets)
    assert promised == int(rate * (items + 1) + 1e-9) / (items + 1) <= rate
    assert np.mean(p_alarms) == pytest.approx(promised, abs=3 * error)
    # Half-way to the next larger distance: never more often.
    assert 0 < np.mean(at_most) <= np.mean(p_alarms)


@pytest.mark.parametrize(
    ("unknown", "images", "clean", "defects", "rate"),
    [
        *((1, 1, 199, 199, 0.005), (3, 50, 371, 328, 0.005), (26, 1000, 371, 328, 0.005)),
        *((2000, 100_000, 371, 5000, 0.005), (7, 7, 40, 60, 0.05), (70, 871, 1000, 387, 0.05)),
    ],
)
def test_too_many_are_beta_binomial_of_both_classes(unknown, images, clean, defects, rate) -> None:
    ranks = {n: int(rate * (n + 1) + 1e-9) for n in (clean, defects)}
    tails = [
        betabinom.sf(unknown - 1, images, ranks[n], n + 1 - ranks[n]) for n in (clean, defects)
    ]
    found = calibration(clean, defects).chance_of(unknown, images, rate)
    assert found == pytest.approx(min(1.0, sum(tails)), rel=1e-5)


def test_none_unknown_is_no_surprise() -> None:
    assert calibration(199, 199).chance_of(0, 0, 0.005) == 1.0
    assert calibration(199, 199).chance_of(0, 10_000, 0.005) == 1.0


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_good_lines_are_hardly_ever_too_strange_and_changed_ones_are(share) -> None:
    """2,000 lines of 5,000 items, each with a calibration set of its own; α = 2 %, at 5 %."""
    random = np.random.default_rng(0)
    scales = {"clean": 1.0, "defect": 3.0}  # defects lie further off, and set the limit
    good = changed = binomial = 0
    for _ in range(2000):
        own = CalibrationDistances(
            np.sort(random.exponential(scales["clean"], 99).astype(np.float32)),
            np.sort(random.exponential(scales["defect"], 149).astype(np.float32)),
        )
        beyond = {kind: np.exp(-own.limit(0.02) / scale) for kind, scale in scales.items()}
        rate = (1 - share) * beyond["clean"] + share * beyond["defect"]
        unknown = int(random.binomial(5000, rate))
        good += own.chance_of(unknown, 5000, 0.02) < 0.05
        binomial += binom.sf(unknown - 1, 5000, 0.02) < 0.05
        stranger = int(random.binomial(5000, rate + (1 - rate) * 0.1))
        changed += own.chance_of(stranger, 5000, 0.02) < 0.05
    assert good <= 2000 * 0.05
    assert changed > 1900
    if share == 1.0:  # α itself isn't this calibration set's rate
        assert binomial > 2000 * 0.15


def test_an_item_must_be_strange_to_both_classes() -> None:
    own = CalibrationDistances(
        np.arange(1, 200, dtype=np.float32), 10 * np.arange(1, 200, dtype=np.float32)
    )
    check = UnknownCheck(own.limit(0.005), "review", own)
    assert own.p_values(np.array([300], np.float32)) == pytest.approx([(199 - 29 + 1) / 200])
    assert check.are_unknown(np.array([300, 1990, 1993], np.float32)).tolist() == [0, 0, 1]
    assert own.limit(0.005) == pytest.approx(1990 * 1.001)


def test_a_tie_counts_as_lying_as_far_off() -> None:
    own = CalibrationDistances(np.full(99, 2, np.float32), np.full(99, 2, np.float32))
    assert own.p_values(np.array([2, 2.001], np.float32)).tolist() == [1.0, 0.01]


def test_the_limit_lies_half_way_to_the_next_larger_distance() -> None:
    values = np.arange(1, 400, dtype=np.float32)
    assert CalibrationDistances(values, values).limit(0.005) == 398.5


def test_what_is_no_number_is_unknown() -> None:
    own = calibration(200, 200)
    check = UnknownCheck(own.limit(0.005), "review", own)
    assert check.is_unknown(float("nan"))
    assert check.is_unknown(float("inf"))
    assert not check.is_unknown(0.0)
    strange = np.array([np.nan, np.inf, 0], np.float32)
    assert check.are_unknown(strange).tolist() == [True, True, False]
    assert own.p_values(strange).tolist() == [1 / 201, 1 / 201, 1.0]


@pytest.mark.parametrize(("rate", "items"), [(0.005, 199), (0.01, 99), (0.03, 33), (0.5, 1)])
def test_so_many_calibration_items_are_the_fewest(rate, items) -> None:
    assert fewest(rate) == items
    assert least_rate(items) <= rate < least_rate(items - 1)
    assert calibration(items, items).limit(rate) > 0
    if items > 1:
        with pytest.raises(ValueError, match=f"takes {items} items of each class, got"):
            calibration(items - 1, items).limit(rate)


@pytest.mark.parametrize("rate", [0, -0.1, 0.51, float("nan")])
def test_a_rate_that_is_none_is_refused(rate) -> None:
    with pytest.raises(InputError, match=r"unknown_rate: must be in \(0, 0.5\], got"):
        check_rate(rate)


def test_distances_come_back_as_they_were_kept() -> None:
    own = calibration(30, 20)
    again = read_distances(saved(**distance_arrays({"onnxruntime fp32": own})), "onnxruntime fp32")
    assert np.array_equal(again.clean, own.clean)
    assert np.array_equal(again.defect, own.defect)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "lacks a_clean_distance"),
        ({"a_clean_distance": np.ones(3)}, "must be float32"),
        ({"a_clean_distance": np.ones((3, 1), np.float32)}, "must be float32"),
        ({"a_clean_distance": np.ones(0, np.float32)}, "must be float32"),
        ({"a_clean_distance": np.array([2, 1], np.float32)}, "finite and ascending"),
        ({"a_clean_distance": np.array([1, np.nan], np.float32)}, "finite and ascending"),
    ],
)
def test_distances_that_are_none_are_refused(arrays, message) -> None:
    with pytest.raises(ValueError, match=message):
        read_distances(saved(**arrays), "a")
