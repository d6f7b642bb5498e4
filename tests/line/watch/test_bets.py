from __future__ import annotations

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.line.watch.bets import Bets


def test_one_bet_is_the_likelihood_ratio() -> None:
    bets = Bets(np.array([0.2]), (0.7,))
    bets.begin(0.5)
    bets.see(np.array([3]), 10)
    q = bets.alternatives[0, 0]
    assert q == pytest.approx(1 / (1 + np.exp(-(np.log(0.25) + 0.7))))
    expected = 0.5 * (q / 0.2) ** 3 * ((1 - q) / 0.8) ** 7
    assert float(bets.log_evidence) == pytest.approx(np.log(expected))


def test_a_later_bet_is_not_held_back_by_what_was_before() -> None:
    bets = Bets(np.array([0.2]), (0.7,))
    bets.begin(0.5)
    bets.see(np.array([0]), 10_000)
    bets.begin(0.5)
    late = Bets(np.array([0.2]), (0.7,))
    late.begin(0.5)
    for one in (bets, late):
        one.see(np.array([30]), 50)
    assert float(bets.log_evidence) == pytest.approx(float(late.log_evidence))


def test_false_alarms_stay_below_the_stakes_whatever_the_share_does() -> None:
    """The worst case that the bound allows, and shares that wander below it, looked at always."""
    random = np.random.default_rng(0)
    lines, bound, alpha = 20_000, 0.1, 0.05
    for wander in (False, True):
        bets = Bets(np.full((lines, 1), bound), (0.3, 0.8, 1.6))
        alarmed = np.zeros(lines, bool)
        for step in range(400):
            if step % 20 == 0:
                bets.begin(1 / 20)
            share = bound * random.random(lines) ** 0.2 if wander else np.full(lines, bound)
            bets.see(random.binomial(5, share)[:, None], 5)
            alarmed |= bets.log_evidence >= np.log(1 / alpha)
        assert alarmed.mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / lines)
        assert wander or alarmed.mean() > alpha / 10  # nor is it for nothing


def test_state_goes_round_and_another_is_refused() -> None:
    bets = Bets(np.array([0.2, 0.3]))
    again = Bets(np.array([0.2, 0.3]))
    again.restore(bets.to_json(), "state")
    assert again.log_evidence == -np.inf
    bets.begin(1.0)
    bets.see(np.array([3, 4]), 10)
    again.restore(bets.to_json(), "state")
    assert again.log_evidence == bets.log_evidence
    for wrong in (None, [[0.0]], "text", [[1, 2], [3]], np.full((2, 6), np.inf).tolist()):
        with pytest.raises(InputError, match=r"state: evidence: must have the shape \[2, 6\]"):
            again.restore(wrong, "state")
