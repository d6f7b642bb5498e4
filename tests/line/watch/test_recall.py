from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import beta

from drupe.line.watch.recall import PRIOR, RecallWatch, miss_bounds


@pytest.mark.parametrize(("misses", "defects"), [(0, 1), (0, 299), (3, 400), (50, 50), (120, 1000)])
def test_the_interval_is_where_the_martingale_is_below_20(misses, defects) -> None:
    low, high = miss_bounds(misses, defects)
    a, b = PRIOR
    p = np.linspace(1e-6, 1 - 1e-6, 200_001)
    mixture = betaln(a + misses, b + defects - misses) - betaln(a, b)
    inside = p[mixture - misses * np.log(p) - (defects - misses) * np.log1p(-p) < np.log(20)]
    assert low == pytest.approx(inside.min(), abs=1e-5)
    assert high == pytest.approx(inside.max(), abs=1e-5)
    if 0 < misses < defects:  # a fixed-sample interval is narrower: it holds at one look
        assert low < beta.ppf(0.025, misses, defects - misses + 1)


def test_nothing_seen_says_nothing() -> None:
    assert miss_bounds(0, 0) == (0.0, 1.0)
    assert RecallWatch(None).bounds == (0.0, 1.0)


def test_the_interval_holds_at_every_look() -> None:
    random = np.random.default_rng(0)
    for share in (0.005, 0.05):
        wrong = 0
        for _ in range(300):
            missed = np.cumsum(random.random(1000) < share)
            looks = [1, 2, 5, *range(10, 1000, 30)]
            wrong += any(
                not low <= share <= high
                for low, high in (miss_bounds(int(missed[n - 1]), n) for n in looks)
            )
        assert wrong <= 300 * 0.05 + 12


def test_harder_defects_are_noticed_and_certified_recall_is_not() -> None:
    random = np.random.default_rng(1)
    false, delays = 0, []
    for _ in range(200):
        watch = RecallWatch(0.99)
        for number in range(3000):
            if number % 5 == 0:
                watch.begin_hour()
            watch.see(bool(random.random() < 0.01))
        false += watch.alarm is not None
        for number in range(3000):
            if number % 5 == 0:
                watch.begin_hour()
            watch.see(bool(random.random() < 0.10))
            if watch.alarm:
                delays.append(number + 1)
                break
    assert false <= 2  # 600 of a year's 8,766 bets: 0.07 % of lines
    assert len(delays) == 200
    assert np.median(delays) < 150
