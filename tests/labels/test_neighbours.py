from __future__ import annotations

import numpy as np

from drupe.labels import neighbours
from drupe.labels.neighbours import NONE, nearest


def unit(angles: list[float]) -> np.ndarray:
    radians = np.deg2rad(angles)
    return np.column_stack([np.cos(radians), np.sin(radians)]).astype(np.float32)


def test_the_nearest_of_each_label_stand_first_and_copies_are_none(monkeypatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", 2)
    features = unit([0, 1, 3, 10, 2, 4, 40])
    is_defect = np.array([False, False, False, False, True, True, True])
    groups = np.array([0, 0, 1, 2, 3, 4, 5])  # the first two are copies
    everyone = np.ones(7, np.bool_)
    found = nearest(features, np.array([0, 3, 6]), is_defect, groups, everyone)
    assert found.tolist() == [[[2, 3], [4, 5]], [[2, 1], [5, 4]], [[5, 4], [3, 2]]]

    some = np.array([True, True, True, False, True, False, False])
    found = nearest(features, np.array([0]), is_defect, groups, some)
    assert found.tolist() == [[[2, NONE], [4, NONE]]]


def test_there_may_be_fewer_items_than_neighbours() -> None:
    few = unit([0, 5])
    found = nearest(few, np.array([0]), np.array([False, True]), np.arange(2), np.ones(2, np.bool_))
    assert found.tolist() == [[[NONE, NONE], [1, NONE]]]
