from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn import metrics as sklearn_metrics

from drupe.evaluation.metrics import Counts, auroc, brier_score, expected_calibration_error


def simulated(seed: int, items: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    is_defect = generator.random(items) < 0.4
    logits = generator.normal(np.where(is_defect, 1.5, -1.5), 2)
    scores = np.round(1 / (1 + np.exp(-logits)), 2)  # rounded, so that there are ties
    return scores.astype(np.float32), is_defect


def test_counts_by_hand() -> None:
    scores = np.array([0.1, 0.5, 0.9, 0.49, 0.5, 1.0, 0.0], np.float32)
    labels = np.array([False, False, False, True, True, True, True])
    counts = Counts.at_threshold(scores, labels)
    assert counts == Counts(tp=2, fp=2, tn=1, fn=2)
    assert (counts.images, counts.defects, counts.misses) == (7, 4, 2)
    assert (counts.accuracy().successes, counts.accuracy().trials) == (3, 7)
    assert (counts.recall().successes, counts.recall().trials) == (2, 4)
    assert (counts.clean_yield().successes, counts.clean_yield().trials) == (1, 3)
    assert (counts.precision().successes, counts.precision().trials) == (2, 4)
    assert counts.f1 == pytest.approx(0.5)
    assert Counts.at_threshold(scores, labels, threshold=0.495).fn == 2
    assert Counts.at_threshold(scores, labels, threshold=0.49).fn == 1


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.8, 1.01])
def test_counts_agree_with_sklearn(threshold: float) -> None:
    scores, labels = simulated(0)
    decided = scores >= threshold
    counts = Counts.at_threshold(scores, labels, threshold)
    matrix = sklearn_metrics.confusion_matrix(labels, decided, labels=[False, True])
    assert [counts.tn, counts.fp, counts.fn, counts.tp] == matrix.ravel().tolist()
    assert counts.accuracy().rate == pytest.approx(sklearn_metrics.accuracy_score(labels, decided))
    assert counts.recall().rate == pytest.approx(sklearn_metrics.recall_score(labels, decided))
    clean = sklearn_metrics.recall_score(labels, decided, pos_label=False)
    assert counts.clean_yield().rate == pytest.approx(clean)
    assert counts.f1 == pytest.approx(sklearn_metrics.f1_score(labels, decided))
    if decided.any():
        precision = sklearn_metrics.precision_score(labels, decided)
        assert counts.precision().rate == pytest.approx(precision)
    else:
        assert counts.precision().rate is None


def test_counts_without_a_class() -> None:
    counts = Counts.at_threshold([0.1, 0.2], [False, False])
    assert counts.recall().rate is None
    assert counts.precision().rate is None
    assert counts.f1 is None
    assert counts.clean_yield().rate == 1


def test_counts_refuse_unequal_lengths() -> None:
    with pytest.raises(ValueError, match=r"scores: must have shape \(2,\), got \(1,\)"):
        Counts.at_threshold([0.1], [True, False])


def test_counts_as_json() -> None:
    scores, labels = simulated(1)
    document = Counts.at_threshold(scores, labels).to_json(confidence=0.9, sides=1)
    assert json.loads(json.dumps(document)) == document
    assert document["recall"]["confidence"] == 0.9
    assert document["recall"]["sides"] == 1
    assert document["misses"] == document["confusion"]["fn"]


@pytest.mark.parametrize("seed", range(5))
def test_auroc_agrees_with_sklearn_and_mann_whitney(seed: int) -> None:
    scores, labels = simulated(seed)
    area = auroc(scores, labels)
    assert area == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), rel=1e-12)
    statistic = mannwhitneyu(scores[labels], scores[~labels]).statistic
    assert area == pytest.approx(statistic / (labels.sum() * (~labels).sum()), rel=1e-12)


def test_auroc_by_hand() -> None:
    assert auroc([0.1, 0.4, 0.4, 0.8], [False, False, True, True]) == 0.875
    assert auroc([0.3, 0.3], [False, True]) == 0.5
    assert auroc([0.9, 0.1], [False, True]) == 0.0
    assert auroc([0.9, 0.1], [True, True]) is None
    assert auroc([], []) is None


def test_calibration_error_by_hand() -> None:
    # Two bins: [0, 0.5) holds 0.1 and 0.3 with one defect, [0.5, 1] holds 0.5 and 1 with one.
    scores, labels = [0.1, 0.3, 0.5, 1.0], [False, True, False, True]
    assert expected_calibration_error(scores, labels, bins=2) == pytest.approx(
        (abs(0.4 - 1) + abs(1.5 - 1)) / 4
    )
    assert expected_calibration_error([], []) is None


def test_calibration_error_agrees_with_a_plain_loop() -> None:
    scores, labels = simulated(4, items=2000)
    edges = np.linspace(0, 1, 16)
    total = 0.0
    for number, (low, high) in enumerate(pairwise(edges)):
        inside = (scores >= low) & ((scores < high) | (number == 14))
        if inside.any():
            gap = scores[inside].astype(float).mean() - labels[inside].mean()
            total += inside.mean() * abs(gap)
    assert expected_calibration_error(scores, labels) == pytest.approx(total, rel=1e-9)


def test_calibration_error_of_calibrated_scores_is_small() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(100_000)
    labels = generator.random(100_000) < scores
    assert expected_calibration_error(scores, labels) < 0.01  # type: ignore[operator]
    assert expected_calibration_error(scores**4, labels) > 0.2  # type: ignore[operator]


def test_brier_agrees_with_sklearn() -> None:
    scores, labels = simulated(5)
    expected = sklearn_metrics.brier_score_loss(labels, scores.astype(np.float64))
    assert brier_score(scores, labels) == pytest.approx(expected)
    assert brier_score([0.75], [True]) == 0.0625
    assert brier_score([], []) is None
