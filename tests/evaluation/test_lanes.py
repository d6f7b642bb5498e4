from __future__ import annotations

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.lanes import Costs, LaneCounts, LineLoad, Thresholds, choose_high

SCORES = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.3, 0.7, 0.9, 0.95, 1.0])
DEFECT = np.array([False] * 5 + [True] * 5)


def test_decisions_at_the_edges() -> None:
    lanes = Thresholds(0.2, 0.7)
    assert lanes.decide([0.1, 0.2, 0.69, 0.7, 1.0]).tolist() == [
        "accept",
        "review",
        "review",
        "reject",
        "reject",
    ]
    assert set(Thresholds(0.5, 0.5).decide(SCORES)) == {"accept", "reject"}
    # 0.7 as float32 is below 0.7: both sides are compared as the line PC does.
    assert Thresholds(0.7, 0.7).decide(np.float32([0.7])).tolist() == ["reject"]


def test_counts_by_hand() -> None:
    counts = LaneCounts.of(SCORES, DEFECT, Thresholds(0.35, 0.75))
    assert counts == LaneCounts(2, 2, 1, 1, 1, 3)
    recall, clean, precision = counts.recall(), counts.clean_yield(), counts.precision()
    assert (recall.successes, recall.trials) == (4, 5)
    assert (clean.successes, clean.trials) == (2, 5)
    assert (precision.successes, precision.trials) == (3, 4)


def test_load_at_the_line_s_prevalence() -> None:
    counts = LaneCounts.of(SCORES, DEFECT, Thresholds(0.35, 0.75))
    load = LineLoad.of(counts, 0.02, Costs(miss=40, false_reject=0.1, review=0.5))
    assert load.misses == pytest.approx(20 * 1 / 5)
    assert load.reviews == pytest.approx(20 * 1 / 5 + 980 * 2 / 5)
    assert load.false_rejects == pytest.approx(980 * 1 / 5)
    assert load.rejects == pytest.approx(20 * 3 / 5 + 980 * 1 / 5)
    assert load.cost == pytest.approx(4 * 40 + 196 * 0.1 + 396 * 0.5)
    assert LineLoad.of(counts, 0.02).cost is None
    assert load.to_json()["per"] == 1000


@pytest.mark.parametrize("prevalence", [None, 0.02, 0.5])
@pytest.mark.parametrize("budget", [0.01, 0.05, 0.2])
def test_the_budget_is_kept_and_used_up(budget: float, prevalence: float | None) -> None:
    generator = np.random.default_rng(7)
    defect = generator.random(2000) < 0.46
    scores = 1 / (1 + np.exp(-generator.normal(np.where(defect, 2, -2), 1.5)))
    low = 0.02
    high = choose_high(scores, defect, low, review_budget=budget, prevalence=prevalence)
    share = defect.mean() if prevalence is None else prevalence

    def reviewed(limit: float) -> float:
        inside = (scores >= np.float32(low)) & (scores < np.float32(limit))
        return share * inside[defect].mean() + (1 - share) * inside[~defect].mean()

    assert low < high < 1
    assert reviewed(high) <= budget + 1e-9
    next_score = np.sort(scores[scores >= high])[0]
    assert reviewed(np.nextafter(np.float32(next_score), np.float32(2))) > budget


def test_no_budget_means_no_review_lane() -> None:
    assert choose_high(SCORES, DEFECT, 0.35) == 0.35


def test_a_budget_for_everything_rejects_nothing_but_certainty() -> None:
    high = choose_high(SCORES[:-1], DEFECT[:-1], 0.35, review_budget=0.9)
    assert high == 1.0
    assert "reject" not in Thresholds(0.35, high).decide(SCORES[:-1])


def test_a_precision_target_takes_the_lowest_threshold_that_reaches_it() -> None:
    # From 0.6 on: two clean items and four defects; from 0.65 on, one and four.
    assert choose_high(SCORES, DEFECT, 0.1, reject_precision=0.7) == pytest.approx(0.65)
    assert choose_high(SCORES, DEFECT, 0.1, reject_precision=0.9) == pytest.approx(0.85)
    # With 2 % defects on the line the same rejects would nearly all be clean.
    rare = choose_high(SCORES, DEFECT, 0.1, reject_precision=0.7, prevalence=0.02)
    assert rare == pytest.approx(0.85)
    with pytest.raises(InputError, match=r"no threshold reaches 0\.99"):
        choose_high(1 - SCORES, DEFECT, 0.0, reject_precision=0.99)


def test_what_is_refused() -> None:
    for low, high, message in (
        (0.6, 0.5, "low: must be at most high = 0.5, got 0.6"),
        (-0.1, 0.5, r"low: must be in \[0, 1\], got -0.1"),
        (0.1, float("nan"), r"high: must be in \[0, 1\], got nan"),
    ):
        with pytest.raises(InputError, match=message):
            Thresholds(low, high)
    with pytest.raises(InputError, match=r"review_budget: must be in \[0, 1\), got 1.5"):
        choose_high(SCORES, DEFECT, 0.1, review_budget=1.5)
    with pytest.raises(InputError, match="only one of them"):
        choose_high(SCORES, DEFECT, 0.1, review_budget=0.1, reject_precision=0.9)
    with pytest.raises(InputError, match=r"prevalence: must be in \(0, 1\), got 0"):
        choose_high(SCORES, DEFECT, 0.1, review_budget=0.1, prevalence=0.0)
    with pytest.raises(InputError, match=r"costs: miss: must be in \[0, 1e\+12\], got -1"):
        Costs(-1, 0, 0)


@pytest.mark.parametrize("score", [np.nan, np.inf, -4.06, 1.5])
def test_what_is_no_probability_is_never_a_decision(score) -> None:
    with pytest.raises(InputError, match=r"scores: must be in \[0, 1\], got"):
        Thresholds(0.4, 0.6).decide([0.1, score])


def test_a_type_may_have_a_cost_of_its_own() -> None:
    counts = LaneCounts(90, 0, 10, 6, 0, 94)
    costs = Costs(40, 0.1, 0.5, (("stem", 5.0), ("split", 100.0)))
    load = LineLoad.of(counts, 0.02, costs, {"pit": 3, "stem": 2})
    # Per 1,000: 20 defects, of which 6 of 100 are missed: 3 pits, 2 stems, 1 of no known type.
    assert load.cost == pytest.approx(0.2 * (4 * 40 + 2 * 5) + 980 * 0.1 * 0.1)
    with pytest.raises(InputError, match=r"costs: stem: must be in \[0, 1e\+12\], got -1"):
        Costs(1, 1, 1, (("stem", -1.0),))
