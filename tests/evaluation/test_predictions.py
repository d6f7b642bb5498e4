from __future__ import annotations

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.predictions import Predictions, scores_from_logits


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_scores_say_the_same_as_the_argmax(temperature: float) -> None:
    tiny = np.nextafter(np.float32(0), np.float32(1))
    magnitudes = np.concatenate([[tiny], np.geomspace(1e-30, 1e4, 500, dtype=np.float32)])
    logits = np.concatenate([-magnitudes[::-1], [np.float32(0)], magnitudes])
    scores = scores_from_logits(logits, temperature)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores >= 0.5, logits >= 0)
    assert np.all(np.diff(scores) >= 0)
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_scores_are_the_sigmoid() -> None:
    # 1 / (1 + exp(-1)) = 0.7310585786
    scores = scores_from_logits([2.0, -2.0, 0.0], temperature=2.0)
    np.testing.assert_allclose(scores, [0.7310585786, 0.2689414214, 0.5], rtol=1e-7)


def test_broken_logits_and_temperatures() -> None:
    with pytest.raises(InputError, match="got NaN or infinity for 2 of 3"):
        scores_from_logits([np.nan, 1.0, np.inf], 1.0)
    with pytest.raises(ValueError, match="temperature: must be in"):
        scores_from_logits([1.0], 0.0)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"scores: must have shape \(1,\), got \(2,\)"):
        Predictions(("a",), np.array([True]), None, np.array([0.1, 0.2], np.float32), ("ok", "ng"))
