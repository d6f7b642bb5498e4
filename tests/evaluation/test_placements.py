from __future__ import annotations

import numpy as np
import pytest

from drupe.evaluation.metrics import auroc
from drupe.evaluation.placements import Placements, placements


@pytest.mark.parametrize("coarse", [False, True])
def test_the_mean_placement_of_either_class_is_the_auroc(coarse: bool) -> None:
    random = np.random.default_rng(0)
    defect = random.random(400) < 0.3
    ranking = random.normal(np.where(defect, 1, 0), 1)
    ranking = np.round(ranking) if coarse else ranking
    placed = placements(ranking, defect)
    area = auroc(ranking, defect)
    assert placed.defects.mean() == pytest.approx(area)
    assert placed.clean.mean() == pytest.approx(area)


def test_carriers_count_the_items_behind_a_difference() -> None:
    none = Placements(np.zeros(50), np.zeros(60))
    three = Placements(np.array([-0.5] * 3 + [0.0] * 47), np.full(60, -0.025))
    assert none.carriers == 0
    assert three.carriers == pytest.approx(3)
    assert none.adjusted_error == pytest.approx(np.sqrt(2 / 52**2 + 2 / 62**2))
