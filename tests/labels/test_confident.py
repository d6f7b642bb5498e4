"""Confident learning, against numbers worked out by hand from the paper's definitions."""

from __future__ import annotations

import numpy as np
import pytest

from drupe.labels.confident import (
    calibrated_joint,
    class_thresholds,
    confident_joint,
    normalised_margin,
    self_confidence,
)

LABELS = np.array([0, 0, 0, 0, 1, 1])
SECOND = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.4])
PROBABILITIES = np.column_stack([1 - SECOND, SECOND])


def test_scores_of_each_item() -> None:
    own = self_confidence(PROBABILITIES, LABELS)
    np.testing.assert_allclose(own, [0.9, 0.8, 0.7, 0.1, 0.8, 0.4])
    margin = normalised_margin(PROBABILITIES, LABELS)
    np.testing.assert_allclose(margin, [0.8, 0.6, 0.4, -0.8, 0.6, -0.2])


def test_joint_leaves_out_an_item_below_both_thresholds() -> None:
    np.testing.assert_allclose(class_thresholds(PROBABILITIES, LABELS), [0.625, 0.6])
    assert confident_joint(PROBABILITIES, LABELS).tolist() == [[3, 1], [0, 1]]


def test_calibrated_joint_keeps_the_share_of_each_given_label() -> None:
    expected = [[1 / 2, 1 / 6], [0, 1 / 3]]
    np.testing.assert_allclose(calibrated_joint(PROBABILITIES, LABELS), expected)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0, 0], [0, 1, 2, 0, 1, 0], [0, 1]])
def test_labels_that_do_not_fit_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="labels"):
        self_confidence(PROBABILITIES, np.array(labels))
