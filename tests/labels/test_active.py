from __future__ import annotations

import numpy as np
import pytest

from drupe.labels.active import active_choice, active_shares


def test_so_many_are_looked_at_on_average_and_the_doubtful_more_often() -> None:
    scores = np.random.default_rng(0).beta(0.3, 20, 2000)
    found = active_choice(scores, 300)
    assert found.probabilities.sum() == pytest.approx(300)
    assert found.probabilities.max() <= 1
    order = np.argsort(scores)
    assert (np.diff(found.probabilities[order]) >= 0).all()
    # Three quarters of the looks don't ask for the score, so nobody is left out.
    assert found.probabilities.min() >= found.least == pytest.approx(0.75 * 300 / 2000)


def test_in_proportion_to_the_deviation_of_the_label() -> None:
    scores = np.array([0.5, 0.2, 0.1] * 100)
    extra = active_choice(scores, 30).probabilities - 0.75 * 30 / 300
    assert extra[:3] / extra[2] == pytest.approx([0.5 / 0.3, 0.4 / 0.3, 1.0])


def test_scores_that_say_nothing_give_an_equal_choice() -> None:
    for value in (0.0, 1.0, 0.3):
        assert active_choice(np.full(50, value), 10).probabilities == pytest.approx(0.2)
    assert active_choice(np.array([0.1, 0.0]), 5) == (pytest.approx([1, 1]), 1.0)


def test_a_few_that_are_in_doubt_are_all_looked_at() -> None:
    scores = np.array([0.5] * 3 + [0.0] * 97)
    found = active_choice(scores, 20).probabilities
    assert found[:3] == pytest.approx(1)
    assert found.sum() == pytest.approx(20)


@pytest.mark.parametrize(
    ("looks", "accepted", "stopped", "shares"),
    [
        (100, 1000, 1000, (75, 25)),
        (100, 1000, 10, (90, 10)),
        (100, 20, 1000, (20, 80)),
        (100, 0, 1000, (0, 100)),
        (100, 30, 40, (30, 40)),
    ],
)
def test_three_quarters_of_the_looks_are_at_what_was_accepted(
    looks, accepted, stopped, shares
) -> None:
    assert active_shares(looks, accepted, stopped) == shares
