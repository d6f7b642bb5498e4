from __future__ import annotations

import numpy as np
import pytest

from drupe.evaluation.intervals import wilson
from drupe.evaluation.metrics import auroc, expected_calibration_error
from drupe.evaluation.predictions import Predictions
from drupe.reporting.figures import pareto_front, recall_yield, reliability, roc
from run_files import predictions


def table(clean: list[float], defects: list[float]) -> Predictions:
    scores = np.array(clean + defects, np.float32)
    is_defect = np.arange(scores.size) >= len(clean)
    return Predictions(
        tuple(f"{i}.png" for i in range(scores.size)), is_defect, None, scores, ("clean", "pit")
    )


def test_the_roc_is_that_of_every_threshold_tried():
    data = predictions(300, 5, quality=1.0)
    clean, defects = data.scores[~data.is_defect], data.scores[data.is_defect]
    curve = roc([data])
    for share in (0.0, 0.05, 0.2, 0.5, 1.0):
        place = int(np.abs(curve.x - share).argmin())
        # Thresholds just above each score, and one that rejects everything.
        limits = [*np.nextafter(np.unique(data.scores), np.float32(2)), np.float32(0)]
        best = max(
            (defects >= limit).mean()
            for limit in limits
            if (clean >= limit).sum() <= share * clean.size + 1e-9
        )
        assert curve.mean[place] == pytest.approx(best)


def test_the_area_under_the_roc_is_the_auroc():
    data = predictions(4000, 6, quality=1.0)
    curve = roc([data])
    assert np.trapezoid(curve.mean, curve.x) == pytest.approx(
        auroc(data.logits, data.is_defect), abs=0.005
    )


def test_the_yield_at_a_recall_is_that_of_the_highest_threshold_that_reaches_it():
    data = predictions(300, 7, quality=1.0)
    clean, defects = data.scores[~data.is_defect], data.scores[data.is_defect]
    curve = recall_yield([data])
    for recall in (0.9, 0.95, 0.99, 1.0):
        place = int(np.abs(curve.x - recall).argmin())
        best = max(
            (clean < limit).mean() for limit in data.scores if (defects >= limit).mean() >= recall
        )
        assert curve.mean[place] == pytest.approx(best)


def test_seeds_are_averaged_and_the_band_counts_images_once():
    one, other = table([0.1, 0.2, 0.6, 0.7], [0.5, 0.8]), table([0.1, 0.2, 0.3, 0.4], [0.5, 0.8])
    curve = recall_yield([one, other])
    assert curve.seeds[:, -1].tolist() == [0.5, 1.0]
    assert curve.mean[-1] == 0.75
    assert (curve.low[-1], curve.high[-1]) == wilson(3, 4, 0.95, 2)


def test_ties_are_not_split():
    curve = roc([table([0.5, 0.5, 0.1], [0.5, 0.9])])
    assert curve.mean[0] == 0.5  # rejecting the tied defect would reject two clean items
    assert curve.mean[-1] == 1.0


def test_the_bins_are_those_of_the_calibration_error():
    data = predictions(500, 8)
    bins = reliability(data)
    gap = sum(one.items * abs(one.mean_score - one.share) for one in bins) / len(data)
    assert gap == pytest.approx(expected_calibration_error(data.scores, data.is_defect))
    assert sum(one.defects for one in bins) == data.is_defect.sum()


def test_the_pareto_front():
    points = [(1.0, 0.5), (2.0, 0.6), (3.0, 0.6), (2.0, 0.7), (1.0, 0.5), (0.5, 0.1)]
    assert pareto_front(points) == [True, False, False, True, True, True]
