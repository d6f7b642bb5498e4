from __future__ import annotations

import math

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


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"scores": [0.1, math.nan]},
            r"scores: must be in \[0, 1\], got nan and the like for 1 of 2",
        ),
        ({"scores": [0.1, -4.06]}, r"scores: must be in \[0, 1\], got -4.06"),
        ({"scores": [0.1, math.inf]}, r"scores: must be in \[0, 1\], got inf"),
        ({"logits": [0.1, math.nan]}, "logits: must be finite, got nan"),
        ({"is_defect": [0, 2]}, "is_defect: must be true or false, got 2"),
        ({"is_defect": [0.5, 1.0]}, "is_defect: must be true or false, got 0.5"),
        ({"is_defect": ["a", "b"]}, "is_defect: must be true or false, got a"),
    ],
)
def test_values_that_mean_nothing_are_refused(changed, message) -> None:
    good = {
        "paths": ("a", "b"),
        "is_defect": [False, True],
        "logits": [-1.0, 1.0],
        "scores": [0.2, 0.8],
        "classes": ("clean", "pit"),
    }
    assert Predictions(**good).is_defect.dtype == np.bool_
    assert Predictions(**(good | {"is_defect": [0, 1]})).is_defect.tolist() == [False, True]
    with pytest.raises(InputError, match=message):
        Predictions(**(good | changed))
