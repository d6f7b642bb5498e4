from __future__ import annotations

import json

import numpy as np
import pytest
from mapie.risk_control import BinaryClassificationController
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value
from scipy.stats import binom, binomtest

from drupe.errors import InputError
from drupe.evaluation.certificate import (
    MeasuredOn,
    NotCertifiableError,
    certify_threshold,
    chance_of_few_misses,
    joint_confidence,
    misses_allowed,
    needed_defects,
    refutation_p_value,
    threshold_below,
)
from drupe.evaluation.predictions import scores_from_logits


def scores_of(generator: np.random.Generator, defects: int, clean: int):
    """Well separated scores of a classifier, and their labels."""
    logits = np.concatenate([generator.normal(3, 1.5, defects), generator.normal(-3, 1.5, clean)])
    return scores_from_logits(logits, 1.0), np.arange(defects + clean) < defects


@pytest.mark.parametrize(
    ("confidence", "misses", "defects"),
    [(0.9, 0, 230), (0.95, 0, 299), (0.9, 1, 388), (0.95, 1, 473), (0.9, 2, 531), (0.95, 2, 628)],
)
def test_the_table_of_needed_defects(confidence: float, misses: int, defects: int) -> None:
    assert needed_defects(0.99, confidence, misses) == defects
    assert misses_allowed(defects, 0.99, confidence) == misses
    assert misses_allowed(defects - 1, 0.99, confidence) == (misses - 1 if misses else None)


def test_566_test_defects_allow_one_miss() -> None:
    assert misses_allowed(566, 0.99, 0.95) == 1


@pytest.mark.parametrize("recall", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_allowed_misses_are_the_most_that_scipy_proves(recall: float, confidence: float) -> None:
    for defects in (1, 7, 58, 59, 300, 1312, 20_000):
        allowed = misses_allowed(defects, recall, confidence)
        proven = [
            k
            for k in range(min(defects, 2600))
            if binom.cdf(k, defects, 1 - recall) <= 1 - confidence
        ]
        assert allowed == (max(proven) if proven else None)


def test_tails_agree_with_scipy_and_never_leave_0_to_1() -> None:
    n = np.array([1, 10, 299, 5000])
    for k in (-1, 0, 1, 10, 6000):
        expected = binom.cdf(k, n, 0.01)
        np.testing.assert_allclose(chance_of_few_misses(k, n, 0.99), expected, rtol=1e-9)


@pytest.mark.parametrize("defects", [299, 473, 700, 1312])
def test_the_certificate_is_what_the_exact_bound_says(defects: int) -> None:
    scores, labels = scores_of(np.random.default_rng(defects), defects, 900)
    certificate = certify_threshold(scores, labels, min_recall=0.99, confidence=0.95)
    caught = certificate.defects - certificate.misses
    bound = binomtest(caught, defects, alternative="greater").proportion_ci(0.95).low
    assert bound >= 0.99
    assert certificate.misses == certificate.misses_allowed  # continuous scores: no tie
    assert certificate.misses == np.count_nonzero(scores[labels] < certificate.threshold)
    assert certificate.clean_accepted == np.count_nonzero(scores[~labels] < certificate.threshold)
    # The highest: the next defect score above would be one miss too many.
    above = np.sort(scores[labels])[certificate.misses]
    assert certificate.threshold < above
    one_more = binomtest(caught - 1, defects, alternative="greater").proportion_ci(0.95).low
    assert one_more < 0.99


def test_mapie_says_the_same_of_one_threshold() -> None:
    """For one threshold MAPIE's claim is ours: risk ≤ 1 % at 95 %. Its best threshold on a grid is
    lower, because the grid is coarse and its level is corrected for every point of it.

    1,024 defects: rates of them are exact in binary, so that MAPIE counts no phantom miss.
    """
    scores, labels = scores_of(np.random.default_rng(1), 1024, 1493)
    ours = certify_threshold(scores, labels, min_recall=0.99, confidence=0.95).threshold

    def best(grid: np.ndarray, method: str) -> float | None:
        controller = BinaryClassificationController(
            lambda x: np.column_stack([1 - x, x]),
            risk="recall",
            target_level=0.99,
            confidence_level=0.95,
            list_predict_params=grid,
            fwer_method=method,
        )
        controller.calibrate(scores, labels.astype(int))
        return controller.best_predict_param

    just_below = float(np.nextafter(np.float32(ours), np.float32(0)))
    with pytest.warns(UserWarning, match="All provided predict_params"):
        assert best(np.array([just_below]), "bonferroni") == just_below
    above = np.sort(scores[labels])[misses_allowed(1024, 0.99, 0.95)]
    too_high = np.array([np.nextafter(above, np.float32(1))])
    with pytest.warns(UserWarning, match="No predict parameters"):
        assert best(too_high, "bonferroni") is None
    on_grid = best(np.linspace(0, 0.99, 100), "bonferroni")
    assert on_grid is not None
    assert on_grid < ours


def test_mapie_counts_a_phantom_miss_where_a_rate_is_rounded_up() -> None:
    """ceil(n × rate) with a rate that is a hair too large: one miss more than there was."""
    phantom = []
    for defects in range(299, 700):
        for misses in (1, 2, 3):
            rate = np.array([1 - (defects - misses) / defects])  # 1 − recall, as MAPIE has it
            theirs = compute_hoeffding_bentkus_p_value(rate, defects, 0.01, binary=True)[0, 0]
            ours = float(chance_of_few_misses(misses, defects, 0.99))
            assert ours == pytest.approx(binom.cdf(misses, defects, 0.01), rel=1e-9)
            if theirs > ours * 1.01:
                phantom.append((defects, misses))
    assert len(phantom) > 100


def test_too_few_defects_are_refused_with_the_number_needed() -> None:
    scores, labels = scores_of(np.random.default_rng(2), 298, 400)
    with pytest.raises(NotCertifiableError) as caught:
        certify_threshold(scores, labels)
    assert (caught.value.defects, caught.value.needed_defects) == (298, 299)
    assert "at least 299 distinct defects in calibration, got 298" in str(caught.value)


def test_copies_count_once() -> None:
    scores, labels = scores_of(np.random.default_rng(3), 300, 300)
    groups = np.arange(600)
    groups[1] = 0  # two of the 300 defects are copies: 299 are left
    assert certify_threshold(scores, labels, groups=groups).defects == 299
    groups[3] = 2
    with pytest.raises(NotCertifiableError):
        certify_threshold(scores, labels, groups=groups)


def test_a_group_labelled_both_ways_counts_as_a_defect() -> None:
    scores, labels = scores_of(np.random.default_rng(3), 299, 300)
    groups = np.arange(599)
    groups[0] = 598  # the first defect has a copy labelled clean
    assert certify_threshold(scores, labels, groups=groups).defects == 299
    assert certify_threshold(scores[::-1], labels[::-1], groups=groups[::-1]).defects == 299


def test_several_candidates_need_more_defects() -> None:
    assert joint_confidence(0.95, 5) == pytest.approx(0.99)
    scores, labels = scores_of(np.random.default_rng(4), 460, 300)
    alone = certify_threshold(scores, labels)
    chosen = certify_threshold(scores, labels, candidates=5)
    assert chosen.confidence == pytest.approx(0.99)
    assert chosen.threshold <= alone.threshold
    with pytest.raises(NotCertifiableError):
        certify_threshold(scores[60:], labels[60:], candidates=5)  # 400 < 459


def test_ties_are_all_caught() -> None:
    """Coarse scores: the whole step of tied defects stays above the threshold."""
    labels = np.arange(1000) < 500
    scores = np.where(labels, 0.5, 0.2)
    scores[:3] = 0.1  # 500 defects allow one miss
    scores[3:200] = 0.3
    certificate = certify_threshold(scores, labels)
    assert certificate.misses_allowed == 1
    assert certificate.misses == 0
    # No bound is stated for the count that ties happened to give.
    assert certificate.recall.successes == 499
    assert certificate.threshold == pytest.approx(0.05)
    assert np.float32(certificate.threshold) < np.float32(0.1)


def test_the_threshold_lies_half_way_to_the_next_score_of_either_class() -> None:
    scores = np.array([0.25, 0.5, 0.75], np.float32)
    assert threshold_below(0.75, scores) == 0.625
    assert threshold_below(0.25, scores) == 0.125
    assert threshold_below(0.0, np.array([0.0, 0.5], np.float32)) == 0.0


def test_a_gap_too_narrow_for_float32_is_passed_over() -> None:
    high = np.float32(0.5)
    next_lower = np.nextafter(high, np.float32(0))
    scores = np.array([0.25, next_lower, high], np.float32)
    threshold = threshold_below(float(high), scores)
    assert threshold == pytest.approx((0.25 + float(next_lower)) / 2)
    assert float(np.float32(threshold)) == threshold
    smallest = np.nextafter(np.float32(0), np.float32(1))
    assert threshold_below(float(smallest), np.array([smallest], np.float32)) == 0.0


@pytest.mark.parametrize("seed", range(20))
def test_float32_decides_as_calibrated(seed: int) -> None:
    """Whatever the scores, a threshold rounded to float32 divides the items as it was counted."""
    generator = np.random.default_rng(seed)
    labels = generator.random(2000) < 0.4
    scores = generator.random(2000) ** generator.integers(1, 12)
    if seed % 2:
        scores = np.round(scores, 2)
    certificate = certify_threshold(scores, labels, min_recall=0.97)
    on_the_line = np.float32(scores) < np.float32(certificate.threshold)
    assert np.count_nonzero(on_the_line & labels) == certificate.misses
    assert certificate.misses <= certificate.misses_allowed


def test_temperature_changes_no_decision_at_a_certified_threshold() -> None:
    generator = np.random.default_rng(5)
    labels = generator.random(1500) < 0.45
    logits = generator.normal(np.where(labels, 2, -2), 1.5).astype(np.float32)
    decisions = []
    for temperature in (0.4, 1.0, 2.5):
        scores = scores_from_logits(logits, temperature)
        threshold = certify_threshold(scores, labels).threshold
        decisions.append(scores < np.float32(threshold))
    np.testing.assert_array_equal(decisions[0], decisions[1])
    np.testing.assert_array_equal(decisions[1], decisions[2])


def test_what_is_refused() -> None:
    labels = np.arange(400) < 300
    fine = np.full(400, 0.5)
    for change, message in (
        (np.nan, "must be finite, got NaN or infinity for 1 of 400"),
        (np.inf, "must be finite"),
        (1.5, r"must be in \[0, 1\], got 1 outside; if they are logits"),
        (-2.0, r"must be in \[0, 1\]"),
    ):
        scores = fine.copy()
        scores[7] = change
        with pytest.raises(InputError, match=message):
            certify_threshold(scores, labels)
    with pytest.raises(InputError, match="got 0 clean and 400 defects"):
        certify_threshold(fine, np.ones(400, bool))
    with pytest.raises(InputError, match="labels: must be True"):
        certify_threshold(fine, np.arange(400))
    with pytest.raises(InputError, match=r"min_recall: must be in \(0, 1\), got 1"):
        certify_threshold(fine, labels, min_recall=1.0)
    with pytest.raises(InputError, match=r"confidence: must be in \[0.5, 1\), got 95"):
        certify_threshold(fine, labels, confidence=95)
    with pytest.raises(InputError, match="takes more than"):
        needed_defects(1 - 1e-14, 0.95)


def test_the_document_holds_what_an_auditor_needs() -> None:
    scores, labels = scores_of(np.random.default_rng(6), 700, 700)
    certificate = certify_threshold(
        scores,
        labels,
        data_fingerprint="f00",
        measured_on=MeasuredOn("abc", "pytorch", "fp32"),
    )
    document = json.loads(json.dumps(certificate.to_json(), allow_nan=False))
    assert document["measured_on"] == {"graph": "abc", "backend": "pytorch", "precision": "fp32"}
    assert document["data_fingerprint"] == "f00"
    assert document["recall"]["sides"] == 1
    assert document["recall"]["low"] >= 0.99
    assert document["method"] == "order-statistic"
    assert "same line" in document["assumption"]


def test_a_test_set_refutes_by_its_exact_tail() -> None:
    assert refutation_p_value(0, 386, 0.99) == 1.0
    for misses in (1, 5, 8, 9, 40):
        expected = binomtest(misses, 386, 0.01, alternative="greater").pvalue
        assert refutation_p_value(misses, 386, 0.99) == pytest.approx(expected, rel=1e-9, abs=0)
