"""The estimated number of wrong labels, against sets whose wrong labels are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from drupe.labels.noise import WrongLabels, estimate_wrong_labels

CLASSES = ("clean", "defect")
FRUITS, COPIES = 150, 4
NOISE = 0.08  # of each class's fruits
EXPECTED = FRUITS * COPIES * NOISE  # wrong labels among the items of one true class


def draw(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities, labels and groups: each fruit is there four times, labelled alike.

    Scores tell the true classes apart, so what is estimated is the number of wrong labels.
    """
    truth = np.repeat([0, 1], FRUITS)
    given = np.where(random.random(2 * FRUITS) < NOISE, 1 - truth, truth)
    second = random.beta(np.where(truth == 1, 60, 2), np.where(truth == 1, 2, 60))
    groups = np.repeat(np.arange(2 * FRUITS), COPIES)
    return np.column_stack([1 - second, second])[groups], given[groups], groups


def coverage(sets: int, *, grouped: bool) -> int:
    """Return how many intervals for the clean labels hold the number expected wrong."""
    held = 0
    for number in range(sets):
        probabilities, labels, groups = draw(np.random.default_rng([7, number]))
        units = groups if grouped else np.arange(len(labels))
        one = estimate_wrong_labels(probabilities, labels, units, CLASSES, resamples=300)[0]
        held += one.low <= EXPECTED <= one.high
    return held


def unlikely(sets: int) -> float:
    """Return the count below which coverage of 95 % would be seen in 1 of 1,000 simulations."""
    return float(binom.ppf(0.001, sets, 0.95))


def test_the_interval_holds_and_would_not_if_copies_counted_as_items() -> None:
    assert coverage(40, grouped=True) >= unlikely(40)
    assert coverage(40, grouped=False) < unlikely(40)


@pytest.mark.slow
def test_the_interval_holds_in_200_sets() -> None:
    assert coverage(200, grouped=True) >= unlikely(200)


def test_the_estimate_is_the_number_of_wrong_labels_where_scores_are_sure() -> None:
    probabilities, labels, groups = draw(np.random.default_rng(1))
    truth = (probabilities[:, 1] > 0.5).astype(int)
    found = estimate_wrong_labels(probabilities, labels, groups, CLASSES, resamples=50)
    for index, one in enumerate(found):
        mine = labels == index
        assert one.label == CLASSES[index]
        assert one.items == np.count_nonzero(mine)
        assert one.wrong == pytest.approx(np.count_nonzero(truth[mine] != index), rel=0.1)
        assert one.low < one.wrong < one.high


def test_labels_that_all_agree_have_none_wrong() -> None:
    labels = np.repeat([0, 1], 5)
    probabilities = np.eye(2)[labels] * 0.8 + 0.1
    found = estimate_wrong_labels(probabilities, labels, np.arange(10), CLASSES, resamples=50)
    high = 10 * (1 - 0.025 ** (1 / 10))  # Clopper and Pearson, 0 of 10
    for one, name in zip(found, CLASSES, strict=True):
        assert one == WrongLabels(name, 5, 0, 0, pytest.approx(high))


def test_no_more_labels_can_be_wrong_than_there_are() -> None:
    labels = np.array([0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8]])
    first, _ = estimate_wrong_labels(probabilities, labels, np.arange(3), CLASSES, resamples=50)
    assert (first.wrong, first.high) == (0, 1)


def test_the_same_seed_gives_the_same_interval() -> None:
    parts = draw(np.random.default_rng(2))
    first, again, other = (
        estimate_wrong_labels(*parts, CLASSES, resamples=50, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
