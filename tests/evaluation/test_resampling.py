from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from drupe.evaluation.metrics import auroc
from drupe.evaluation.resampling import _draw, _Ranking, resampled_auroc


def case(items: int, seed: int = 0, coarse: bool = False):
    generator = np.random.default_rng(seed)
    defect = generator.random(items) < 0.4
    ranking = generator.normal(np.where(defect, 1.0, -1.0), 1.2)
    return (np.round(ranking) if coarse else ranking), defect, generator


@pytest.mark.parametrize("coarse", [False, True])
def test_each_resample_agrees_with_sklearn(coarse: bool) -> None:
    ranking, defect, generator = case(200, coarse=coarse)
    weights = _draw(200, 50, generator)
    np.testing.assert_array_equal(weights.sum(axis=0), 200)
    found = _Ranking(ranking, defect).auroc(weights[defect], weights[~defect])
    expected = [roc_auc_score(defect, ranking, sample_weight=column) for column in weights.T]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_copies_are_drawn_together() -> None:
    ranking, defect, _ = case(100)
    groups = np.repeat(np.arange(50), 2)
    defect = defect[groups * 2]
    ranking = ranking[groups * 2]
    pairs = resampled_auroc([ranking], defect, groups, resamples=2000)
    single = resampled_auroc([ranking[::2]], defect[::2], np.arange(50), resamples=2000)
    np.testing.assert_allclose(pairs.std(), single.std(), rtol=0.1)
    as_if_distinct = resampled_auroc([ranking], defect, np.arange(100), resamples=2000)
    assert as_if_distinct.std() < 0.85 * pairs.std()


def test_the_seed_decides_and_threads_do_not() -> None:
    ranking, defect, _ = case(3000)
    groups = np.arange(3000)
    once = resampled_auroc([ranking], defect, groups, resamples=1500, threads=1)
    again = resampled_auroc([ranking], defect, groups, resamples=1500, threads=3)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(
        once, resampled_auroc([ranking], defect, groups, resamples=1500, seed=1)
    )


def test_models_share_their_resamples() -> None:
    ranking, defect, _ = case(300)
    drawn = resampled_auroc([ranking, 3 * ranking + 1], defect, np.arange(300), resamples=500)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])


def test_the_spread_is_that_of_hanley_and_mcneil_s_formula() -> None:
    """Their standard error for binormal scores, from the area alone (1982, eq. 2)."""
    ranking, defect, _ = case(2000, seed=3)
    area = auroc(ranking, defect)
    assert area is not None
    defects, clean = defect.sum(), (~defect).sum()
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (defects - 1) * (q1 - area**2) + (clean - 1) * (q2 - area**2)
    drawn = resampled_auroc([ranking], defect, np.arange(2000), resamples=4000)
    assert drawn.std() == pytest.approx(np.sqrt(variance / (defects * clean)), rel=0.1)
    assert drawn.mean() == pytest.approx(area, abs=0.002)


def test_a_resample_without_both_classes_is_nan() -> None:
    ranking, defect = np.array([0.1, 0.9, 0.2]), np.array([False, True, False])
    drawn = resampled_auroc([ranking], defect, np.arange(3), resamples=1000)
    assert np.isnan(drawn).mean() == pytest.approx((2 / 3) ** 3 + (1 / 3) ** 3, abs=0.06)
