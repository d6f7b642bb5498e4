from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import fisher_exact

from drupe.evaluation.intervals import clopper_pearson
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.slices import (
    Slices,
    worse_than_others,
    worst_recall,
    worst_yield,
)
from drupe.runs.evaluation_file import SliceTable


def table_of(rows: list[tuple[bool, float, str, str]]) -> Predictions:
    defects, scores, types, groups = zip(*rows, strict=True)
    return Predictions(
        paths=tuple(map(str, range(len(rows)))),
        is_defect=np.array(defects),
        logits=None,
        scores=np.array(scores),
        classes=("clean", "defect"),
        types=types,
        groups=groups,
    )


ROWS = [
    (True, 0.9, "pit", "a"),
    (True, 0.5, "pit", "b"),
    (True, 0.4, "pit", "b"),
    (True, 0.1, "stem", "a"),
    (True, 0.7, "", "b"),
    (False, 0.2, "", "a"),
    (False, 0.5, "", "a"),
    (False, 0.1, "", "b"),
]


def test_types_count_defects_and_groups_count_both() -> None:
    found = Slices.of(table_of(ROWS), 0.5)
    counted = {one.name: (one.defects, one.misses, one.clean) for one in found.types}
    assert counted == {"": (1, 0, 0), "pit": (3, 1, 0), "stem": (1, 1, 0)}
    groups = {
        one.name: (one.defects, one.misses, one.clean, one.clean_accepted) for one in found.groups
    }
    assert groups == {"a": (2, 1, 2, 1), "b": (3, 1, 1, 1)}
    pit = next(one for one in found.types if one.name == "pit")
    assert (pit.recall().low, pit.recall().high) == clopper_pearson(2, 3, 0.95, 2)
    assert pit.worse_yield is None
    assert sum(one.misses for one in found.types) == sum(one.misses for one in found.groups)


def test_what_is_not_told_is_not_counted() -> None:
    table = table_of(ROWS)
    assert Slices.of(replace(table, types=None, groups=None), 0.5) is None
    document = Slices.of(replace(table, types=None), 0.5).to_json()
    assert set(document) == {"threshold", "groups", "worst_group"}
    document = Slices.of(replace(table, groups=None), 0.5).to_json()
    assert set(document) == {"threshold", "types"}


def test_a_record_reads_back() -> None:
    found = Slices.of(table_of(ROWS), 0.5)
    document = json.loads(json.dumps(found.to_json()))
    assert Slices.of_record(SliceTable.model_validate(document)) == found


def test_the_threshold_is_compared_as_the_line_does() -> None:
    low = float(np.float32(0.1))
    (slice_, *_) = Slices.of(table_of([(True, 0.1, "pit", "a"), (False, 0.0, "", "a")]), low).groups
    assert (slice_.misses, slice_.clean_accepted) == (0, 1)


def test_one_slice_against_the_others_is_fishers_exact_test() -> None:
    mistakes, items = [9, 1, 2], [50, 60, 40]
    expected = [
        fisher_exact([[k, n - k], [12 - k, (150 - n) - (12 - k)]], alternative="greater").pvalue
        for k, n in zip(mistakes, items, strict=True)
    ]
    found = worse_than_others(mistakes, items)
    assert found[0] == pytest.approx(3 * expected[0])  # Holm's first step of three
    assert found[1] == pytest.approx(max(min(1, expected[1]), min(1, 2 * expected[2])))
    assert worse_than_others([3, 0], [10, 0]) == [1.0, None]
    assert worse_than_others([], []) == []


def test_the_worst_group_is_the_surest_one() -> None:
    rows = [(True, 0.1, "pit", "few"), (True, 0.9, "pit", "few")]
    rows += [(True, 0.9 if k < 60 else 0.1, "pit", "many") for k in range(100)]
    rows += [(True, 0.9, "pit", "good")] * 100
    rows += [(False, 0.1, "", "good"), (False, 0.9, "", "few")]
    found = Slices.of(table_of(rows), 0.5)
    assert worst_recall(found.groups).name == "many"
    assert worst_yield(found.groups).name == "few"
    assert found.to_json()["worst_group"] == {"recall": "many", "clean_yield": "few"}
    perfect = Slices.of(table_of([row for row in rows if row[0] == (row[1] > 0.5)]), 0.5)
    assert worst_recall(perfect.groups) is None
    alone = Slices.of(table_of([row for row in rows if row[3] == "many"]), 0.5)
    assert worst_recall(alone.groups) is None


def simulated(random: np.random.Generator, recalls: list[float], each: int) -> Slices:
    rows = [
        (True, 0.9 if caught else 0.1, "pit", f"camera-{number}")
        for number, recall in enumerate(recalls)
        for caught in random.random(each) < recall
    ]
    return Slices.of(table_of(rows), 0.5)


def test_where_all_groups_are_alike_one_is_rarely_called_worse() -> None:
    random = np.random.default_rng(0)
    called = 0
    for _ in range(1_000):
        found = worst_recall(simulated(random, [0.95] * 5, 100).groups)
        called += found is not None and found.worse_recall <= 0.05
    assert called / 1_000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1_000)


def test_one_bad_camera_of_five_is_named() -> None:
    """Of 200 defects, one camera catches 90 %, the others 98 %: always named, shown in 97 %."""
    random = np.random.default_rng(1)
    named = shown = 0
    for number in range(500):
        recalls = [0.98] * 5
        recalls[number % 5] = 0.90
        worst = worst_recall(simulated(random, recalls, 200).groups)
        is_right = worst is not None and worst.name == f"camera-{number % 5}"
        named += is_right
        shown += is_right and worst.worse_recall <= 0.05
    assert named >= 490
    assert shown >= 480
