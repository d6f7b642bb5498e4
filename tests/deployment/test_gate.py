from __future__ import annotations

import numpy as np
import pytest

from drupe.deployment.gate import compare_scores
from drupe.evaluation.lanes import Thresholds


def test_flips_are_decisions_that_turn() -> None:
    expected = np.float32([0.1, 0.4, 0.6, 0.9])
    gate = compare_scores(expected, np.float32([0.1, 0.51, 0.6, 0.9]), Thresholds(0.5, 0.8))
    assert (gate.flips, gate.images) == (1, 4)
    assert gate.max_score_difference == pytest.approx(0.11, abs=1e-6)
    assert gate.mean_score_difference == pytest.approx(0.0275, abs=1e-6)
