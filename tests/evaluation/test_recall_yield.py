from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from drupe.errors import InputError
from drupe.evaluation.recall_yield import Objective, allowed_misses, yields_by_misses


def scored(seed: int, defects: int = 137, clean: int = 211) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    is_defect = random.permutation(np.arange(defects + clean) < defects)
    return random.normal(np.where(is_defect, 1.0, -1.0), 1.2), is_defect


def counted(ranking: np.ndarray, is_defect: np.ndarray, recall: float) -> float:
    """Return the clean yield at a recall by trying every threshold."""
    best = 0.0
    for threshold in ranking:
        caught = np.mean(ranking[is_defect] >= threshold)
        if caught >= recall - 1e-12:
            best = max(best, float(np.mean(ranking[~is_defect] < threshold)))
    return best


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.97, 0.99, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_yield_is_that_of_the_best_threshold(seed: int, recall: float) -> None:
    ranking, is_defect = scored(seed)
    # Thresholds between two defects yield no less than those at a defect's own score.
    assert Objective("yield", recall).of(ranking, is_defect) == counted(ranking, is_defect, recall)


@pytest.mark.parametrize("recall", [0.0, 0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_the_mean_yield_is_scikit_learns_partial_area(seed: int, recall: float) -> None:
    # The clean ones as positives: their true positive rate is the yield, the false one the misses.
    ranking, is_defect = scored(seed)
    most = 1 - recall
    standardised = roc_auc_score(~is_defect, -ranking, max_fpr=most)
    if most < 1:  # undo McClish's correction
        low, high = 0.5 * most**2, most
        standardised = ((2 * standardised - 1) * (high - low) + low) / most
    found = Objective("mean-yield", recall).of(ranking, is_defect)
    assert found == pytest.approx(standardised, abs=1e-12)


def test_ties_with_a_defect_are_not_accepted() -> None:
    is_defect = np.array([True, True, False, False])
    assert yields_by_misses([0.5, 0.5, 0.5, 0.5], is_defect).tolist() == [0, 0]
    assert Objective().of([0.5, 0.5, 0.5, 0.5], is_defect) == 0
    assert yields_by_misses([0.4, 0.9, 0.4, 0.1], is_defect).tolist() == [0.5, 1]


def test_a_perfect_ranking_yields_everything() -> None:
    ranking, is_defect = np.arange(20.0), np.arange(20) >= 12
    for objective in (Objective(), Objective("yield", 0.99)):
        assert objective.of(ranking, is_defect) == pytest.approx(1)
        assert objective.of(-ranking, is_defect) == 0


def test_one_defect_is_always_caught() -> None:
    assert [allowed_misses(share, 10) for share in (0, 0.05, 0.3, 1)] == [0, 0, 3, 9]
    assert allowed_misses(1 - 0.9, 10) == 1  # 0.09999…98 × 10


def test_the_mean_wavers_less_than_the_point() -> None:
    means = {"mean-yield": Objective("mean-yield", 0.95), "yield": Objective("yield", 0.99)}
    spread = {
        name: np.std([one.of(*scored(seed)) for seed in range(300)]) for name, one in means.items()
    }
    assert spread["mean-yield"] < 0.8 * spread["yield"]


@pytest.mark.parametrize(
    ("measure", "recall"), [("yield", 0.0), ("yield", 1.1), ("mean-yield", 1.0)]
)
def test_a_recall_that_can_not_be_is_refused(measure, recall: float) -> None:
    with pytest.raises(InputError, match="min-recall: must be in"):
        Objective(measure, recall)


def test_it_says_what_it_is() -> None:
    assert Objective().describe() == "mean clean yield at recalls from 95 % to 100 %"
    assert Objective("yield", 0.995).describe() == "clean yield at a recall of 99.5 %"
