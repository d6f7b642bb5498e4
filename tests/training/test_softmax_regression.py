from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from drupe.training.softmax_regression import fit_softmax


def probabilities(features: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    logits = features @ weight.T + bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def clusters(items: int, features: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that overlap; the last feature is constant, the others correlated."""
    random = np.random.default_rng(seed)
    labels = np.arange(items) % 3
    x = random.normal(size=(items, features)) @ random.normal(size=(features, features))
    x += labels[:, None] * random.normal(size=features) + 10
    x[:, -1] = 4
    return x, labels


@pytest.mark.parametrize(("items", "features"), [(90, 5), (60, 200)])
def test_it_is_scikit_learns_regression_on_standardised_features(items, features) -> None:
    x, labels = clusters(items, features, 3)
    spread = x.std(0)
    standardised = (x - x.mean(0)) / np.where(spread > 0, spread, 1)
    expected = LogisticRegression(C=1, tol=1e-10, max_iter=10_000).fit(standardised, labels)

    weight, bias = fit_softmax(x.astype(np.float32), labels, 3)

    assert (weight.shape, bias.shape) == ((3, features), (3,))
    found = probabilities(x.astype(np.float32), weight, bias)
    assert found == pytest.approx(expected.predict_proba(standardised), abs=2e-4)


def test_a_constant_feature_and_classes_that_can_be_parted_do_no_harm() -> None:
    x, labels = clusters(30, 40, 1)
    weight, bias = fit_softmax(x, labels, 3)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    assert not weight[:, -1].any()
    assert (probabilities(x, weight, bias).argmax(1) == labels).all()
