from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from drupe.evaluation.certificate import certify_threshold
from drupe.evaluation.intervals import Proportion
from drupe.evaluation.paired import clustered_mean_interval, paired_difference
from drupe.evaluation.pass_fail_rules import (
    judge_better,
    judge_certified_recall,
    judge_fixed_threshold_recall,
    judge_latency,
    judge_rate,
    judge_size,
    not_measured,
)


@pytest.mark.parametrize(
    ("right", "verdict"), [(1167, "pass"), (1166, "undecided"), (1140, "undecided"), (1130, "fail")]
)
def test_accuracy_against_the_baseline(right: int, verdict: str) -> None:
    judged = judge_rate("accuracy", Proportion(right, 1226, 0.95, sides=1), 0.9405)
    assert judged.verdict == verdict
    assert (judged.settles_with is None) == (verdict != "undecided")


@pytest.mark.parametrize("right", [1166, 1160, 1148])
def test_the_images_that_settle_it_do(right: int) -> None:
    judged = judge_rate("accuracy", Proportion(right, 1226, 0.95, sides=1), 0.9405)
    settles = judged.settles_with
    assert settles is not None
    total = 1226 + settles.further
    hits = round(right / 1226 * total)
    alternative = "greater" if right / 1226 > 0.9405 else "less"
    bounds = binomtest(hits, total, alternative=alternative).proportion_ci(0.95)
    edge = bounds.low if alternative == "greater" else bounds.high
    assert edge == pytest.approx(0.9405, abs=0.0006)
    assert judged.model_dump()["settles_with"] == {"further": settles.further, "what": "images"}


def test_a_rate_that_is_exactly_the_requirement_is_never_settled() -> None:
    judged = judge_rate("accuracy", Proportion(9, 10, sides=1), 0.9)
    assert (judged.verdict, judged.settles_with) == ("undecided", None)
    nothing = judge_rate("precision", Proportion(0, 0, sides=1), 0.9)
    assert (nothing.verdict, nothing.settles_with) == ("undecided", None)


def test_three_seeds_are_not_three_times_the_images() -> None:
    right = np.arange(1226) < 1160
    one = judge_rate("accuracy", clustered_mean_interval(right, np.arange(1226), sides=1), 0.9405)
    three = judge_rate(
        "accuracy", clustered_mean_interval(np.stack([right] * 3), np.arange(1226), sides=1), 0.9405
    )
    assert one.verdict == three.verdict == "undecided"
    assert three.settles_with is not None
    assert three.settles_with.what == "images"
    with pytest.raises(ValueError, match="must have one-sided bounds"):
        judge_rate("accuracy", Proportion(9, 10), 0.9)


@pytest.mark.parametrize(
    ("gained", "lost", "margin", "verdict"),
    [
        (30, 2, 0.0, "pass"),
        (2, 30, 0.0, "fail"),
        (10, 9, 0.0, "undecided"),
        (9, 10, 0.0, "undecided"),
        (9, 10, 0.02, "pass"),
        (5, 5, 0.0, "undecided"),
    ],
)
def test_a_paired_difference_is_judged_by_its_bounds(gained, lost, margin, verdict) -> None:
    items = np.arange(1000)
    candidate, baseline = items >= lost, (items < lost) | (items >= lost + gained)
    difference = paired_difference(candidate, baseline, items, sides=1)

    judged = judge_better("accuracy", difference, "BASE", margin)

    assert judged.verdict == verdict
    assert judged.evidence == difference
    assert judged.reason == "paired with BASE on 1,000 images"
    assert judged.required == ("≥ BASE − 2 points" if margin else "≥ BASE")
    # Were they equal, no number of images would ever tell.
    assert (judged.settles_with is not None) == (verdict == "undecided" and gained != lost)


def test_two_sided_bounds_judge_no_difference() -> None:
    items = np.arange(10)
    with pytest.raises(ValueError, match="must have one-sided bounds, got sides=2"):
        judge_better("accuracy", paired_difference(items > 0, items > 1, items), "BASE")


def certificate(defects: int = 473, approximate: str | None = None):
    scores = np.concatenate([np.linspace(0.4, 1, defects), np.linspace(0, 0.5, 300)])
    labels = np.arange(defects + 300) < defects
    return certify_threshold(scores, labels, approximate=approximate)


def judged_recall(certified, misses: int, defects: int = 386, calibration: int = 473):
    return judge_certified_recall(
        certified,
        required=0.99,
        confidence=0.95,
        calibration_defects=calibration,
        test_misses=misses,
        test_defects=defects,
    )


def test_recall_needs_a_certificate_that_the_test_does_not_refute() -> None:
    # P(Bin(386, 0.01) ≥ 7) = 0.10, ≥ 8: 0.044
    assert judged_recall(certificate(), 7).verdict == "pass"
    assert judged_recall(certificate(), 8).verdict == "fail"
    assert binomtest(8, 386, 0.01, alternative="greater").pvalue < 0.05


def test_an_approximate_certificate_never_passes_alone() -> None:
    approximate = judged_recall(certificate(approximate="cross-fitted"), 0)
    assert approximate.verdict == "undecided"
    assert approximate.settles_with is not None
    assert approximate.settles_with.further == 299
    assert judged_recall(certificate(approximate="cross-fitted"), 8).verdict == "fail"


def test_without_a_certificate_the_missing_defects_are_counted() -> None:
    judged = judged_recall(None, 0, calibration=172)
    assert judged.verdict == "undecided"
    assert judged.settles_with is not None
    assert judged.settles_with.further == 299 - 172


def test_a_weaker_certificate_is_no_evidence() -> None:
    with pytest.raises(ValueError, match="or stricter"):
        judge_certified_recall(
            certificate(),
            required=0.995,
            confidence=0.95,
            calibration_defects=473,
            test_misses=0,
            test_defects=386,
        )


def test_one_threshold_fixed_in_advance() -> None:
    assert judge_fixed_threshold_recall(1, 566, 0.99, 0.95).verdict == "pass"
    assert judge_fixed_threshold_recall(2, 566, 0.99, 0.95).verdict == "undecided"
    assert judge_fixed_threshold_recall(20, 566, 0.99, 0.95).verdict == "fail"


def test_latency_bounds_are_order_statistics() -> None:
    samples = np.arange(1, 1001) / 40  # p95 = 23.75 ms
    judged = judge_latency(samples, 30)
    assert judged.verdict == "pass"
    assert judged.evidence.low_ms < 23.75 < judged.evidence.high_ms
    assert judge_latency(samples, 22).verdict == "fail"
    assert judge_latency(samples, 23.75).verdict == "undecided"


def test_the_latency_bound_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    truth = np.exp(1.6448536269514722)  # p95 of a log-normal
    highs = [
        judge_latency(np.exp(generator.normal(size=200)), 30).evidence.high_ms for _ in range(2000)
    ]
    assert np.mean(np.array(highs) >= truth) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 2000)


def test_a_few_latency_samples_decide_nothing() -> None:
    judged = judge_latency(np.full(58, 1.0), 30)
    assert judged.verdict == "undecided"
    assert judged.settles_with is not None
    assert judged.settles_with.further == 1  # 0.95^59 < 0.05
    assert judge_latency(np.full(59, 1.0), 30).verdict == "pass"
    with pytest.raises(ValueError, match="at least one"):
        judge_latency([], 30)


def test_size_is_a_fact() -> None:
    assert judge_size(111_000_000, 150_000_000).verdict == "pass"
    assert judge_size(150_000_000, 150_000_000).verdict == "fail"


def test_verdicts_are_json() -> None:
    for judged in (
        judge_rate("accuracy", Proportion(9, 10, sides=1), 0.5),
        judged_recall(certificate(), 0),
        judge_latency(np.full(59, 1.0), 30),
        judge_size(1, 2),
        not_measured("latency", "p95 < 30 ms"),
    ):
        document = json.loads(json.dumps(judged.model_dump(mode="json"), allow_nan=False))
        assert set(document) >= {"criterion", "required", "evidence", "verdict", "settles_with"}
