from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from drupe.errors import InputError
from drupe.evaluation.temperature import BOUNDS, fit_temperature, negative_log_likelihood


def simulated(temperature: float, items: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, items).astype(np.float32)
    return logits, generator.random(items) < expit(logits / temperature)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_recovers_the_temperature_that_made_the_labels(temperature: float) -> None:
    logits, is_defect = simulated(temperature, 200_000, seed=1)
    assert fit_temperature(logits, is_defect) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_logistic_regression_without_bias(seed: int) -> None:
    logits, is_defect = simulated(2.0, 600, seed)
    model = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    model.fit(logits[:, None].astype(np.float64), is_defect)
    assert fit_temperature(logits, is_defect) == pytest.approx(1 / model.coef_[0, 0], rel=1e-4)


@pytest.mark.parametrize("seed", range(20))
def test_no_temperature_is_better(seed: int) -> None:
    logits, is_defect = simulated(3.0, 40, seed)
    fitted = fit_temperature(logits, is_defect)
    best = minimize_scalar(
        lambda t: negative_log_likelihood(logits, is_defect, float(np.exp(t))),
        bounds=np.log(BOUNDS),
        method="bounded",
        options={"xatol": 1e-9},
    )
    after = negative_log_likelihood(logits, is_defect, fitted)
    assert after == pytest.approx(best.fun, rel=1e-9)
    assert after <= negative_log_likelihood(logits, is_defect)  # type: ignore[operator]


def test_scaling_the_logits_scales_the_temperature() -> None:
    logits, is_defect = simulated(1.5, 500, seed=3)
    once = fit_temperature(logits, is_defect)
    assert fit_temperature(3 * logits.astype(np.float64), is_defect) == pytest.approx(3 * once)


def test_the_likelihood_by_hand() -> None:
    # -log(sigmoid(1)) and -log(1 - sigmoid(3)) at T = 2: 0.3132616875 and 3.0485873516
    assert negative_log_likelihood([2.0, 6.0], [True, False], 2.0) == pytest.approx(
        (0.3132616875 + 3.0485873516) / 2
    )
    assert negative_log_likelihood([], []) is None
    # Stable where the sigmoid itself is 0.
    assert negative_log_likelihood([-5000.0], [True]) == pytest.approx(5000)


def test_perfect_separation_stays_finite() -> None:
    logits = np.array([-1.0] * 50 + [1.0] * 50)
    # All margins equal: Platt's target 51 / 52 is reached where 1 / T = log 51.
    assert fit_temperature(logits, logits > 0) == pytest.approx(1 / np.log(51))
    assert fit_temperature(1e-6 * logits, logits > 0) == BOUNDS[0]
    assert fit_temperature(1e6 * logits, logits > 0) == BOUNDS[1]


def test_one_class_only() -> None:
    assert BOUNDS[0] < fit_temperature(np.full(20, 2.0), np.ones(20, bool)) < 1


def test_logits_that_are_always_wrong_get_the_flattest_scores() -> None:
    assert fit_temperature([-1.0, 2.0], [True, False]) == BOUNDS[1]


def test_logits_that_say_nothing() -> None:
    assert fit_temperature(np.zeros(4), [True, False, True, False]) == 1.0


def test_bad_input() -> None:
    with pytest.raises(InputError, match="calibration: must hold at least one item"):
        fit_temperature([], [])
    with pytest.raises(InputError, match="NaN or infinity for 1 of 2"):
        fit_temperature([np.nan, 1.0], [True, False])


def test_the_same_each_time() -> None:
    logits, is_defect = simulated(2.0, 300, seed=9)
    order = np.arange(300)[::-1]
    assert fit_temperature(logits, is_defect) == fit_temperature(logits, is_defect)
    assert fit_temperature(logits[order], is_defect[order]) == pytest.approx(
        fit_temperature(logits, is_defect), rel=1e-12
    )
