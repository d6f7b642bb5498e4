from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from drupe.evaluation.certificate import misses_allowed
from drupe.evaluation.holdout import MISSES, SHARES, holdout_share


@pytest.mark.parametrize("defects", [1546, 1700, 2400, 3000])
def test_three_misses_are_allowed_where_half_of_the_items_suffices(defects: int) -> None:
    share = holdout_share(defects)
    assert share in SHARES
    held = round(share * defects)
    assert misses_allowed(held, 0.99, 0.95) >= MISSES
    assert binom.cdf(MISSES, held, 0.01) <= 0.05


def test_no_smaller_share_would_do() -> None:
    for defects in (2400, 3092):
        smaller = [share for share in SHARES if share < holdout_share(defects)]
        assert all(misses_allowed(int(s * defects), 0.99, 0.95) < MISSES for s in smaller)


def test_no_more_than_half_and_no_less_than_a_quarter() -> None:
    assert [holdout_share(n) for n in (0, 1, 1312)] == [1 / 2] * 3
    assert holdout_share(2319) == 1 / 3
    assert holdout_share(100_000) == 1 / 4


def test_a_stricter_promise_sets_more_aside() -> None:
    shares = [holdout_share(2000, recall) for recall in (0.98, 0.99, 0.995)]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_more_defects_and_misses_move_the_threshold_towards_the_promise() -> None:
    """What the docstring says of the chance that a fresh defect falls below the threshold."""
    random = np.random.default_rng(0)
    for defects, misses, chance in ((299, 0, 0.0033), (773, 3, 0.0052)):
        calibration = np.sort(random.random((4000, defects)))  # a defect's score by its rank
        assert calibration[:, misses].mean() == pytest.approx(chance, rel=0.05)
        assert (misses + 1) / (defects + 1) == pytest.approx(chance, abs=5e-5)
