from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from drupe.evaluation.document import evaluation_document
from drupe.evaluation.grouping import first_of_each_group
from drupe.evaluation.predictions import Predictions, scores_from_logits


def table_of(paths: str, labels: list[int], logits: list[float], temperature: float) -> Predictions:
    return Predictions(
        paths=tuple(paths),
        is_defect=np.array(labels, bool),
        logits=np.array(logits, np.float32),
        scores=scores_from_logits(logits, temperature),
        classes=("clean", "pit"),
    )


@pytest.fixture
def calibration() -> Predictions:
    return table_of("pqr", [0, 1, 1], [-1.0, 2.0, -0.5], 2.0)


@pytest.fixture
def test_split() -> Predictions:
    # d copies a (both missed), e copies c; six items, four groups
    labels, logits = [1, 0, 0, 1, 0, 1], [-1.0, -3.0, 2.0, -1.0, 2.0, 4.0]
    return table_of("dbcaef", labels, logits, 2.0)


GROUPS = np.array([7, 1, 4, 7, 4, 9])


def test_the_document(calibration: Predictions, test_split: Predictions) -> None:
    document = evaluation_document(
        calibration=calibration, test=test_split, temperature=2.0, test_groups=GROUPS
    )
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["temperature"] == 2.0
    assert document["calibration"]["images"] == 3
    assert document["calibration"]["defects"] == 2
    nll = document["calibration"]["nll"]
    # log(1 + e^-1), log(1 + e^-2), log(1 + e^0.5), mean; then the same of half the logits
    assert nll["before"] == pytest.approx((0.31326169 + 0.12692801 + 0.97407698) / 3)
    assert nll["after"] == pytest.approx((0.47407698 + 0.31326169 + 0.82593942) / 3)

    everything = document["test"]
    assert (everything["images"], everything["defects"], everything["groups"]) == (6, 3, 4)
    assert everything["certified"] is None
    argmax = everything["argmax"]
    assert argmax["confusion"] == {"tp": 1, "fp": 2, "tn": 1, "fn": 2}
    assert argmax["accuracy"]["successes"] == 2
    assert (argmax["recall"]["successes"], argmax["recall"]["trials"]) == (1, 3)
    assert (argmax["clean_yield"]["successes"], argmax["clean_yield"]["trials"]) == (1, 3)
    assert (argmax["precision"]["successes"], argmax["precision"]["trials"]) == (1, 3)

    distinct = everything["distinct"]
    assert (distinct["images"], distinct["defects"]) == (4, 2)
    assert distinct["argmax"]["confusion"] == {"tp": 1, "fp": 1, "tn": 1, "fn": 1}

    # Defects -1, -1, 4 against clean -3, 2, 2: 1 + 1 + 3 of 9 pairs in the right order.
    assert document["auroc"] == pytest.approx(5 / 9)
    assert 0 < document["ece"] < 1
    assert 0 < document["brier"] < 1


def test_one_item_per_group_does_not_depend_on_the_order(
    calibration: Predictions, test_split: Predictions
) -> None:
    order = np.array([5, 3, 1, 0, 4, 2])
    once = evaluation_document(
        calibration=calibration, test=test_split, temperature=2.0, test_groups=GROUPS
    )
    again = evaluation_document(
        calibration=calibration,
        test=test_split.take(order),
        temperature=2.0,
        test_groups=GROUPS[order] + 100,
    )
    assert once == again


def test_the_first_of_each_group_is_the_first_by_path() -> None:
    clean = np.zeros(6, bool)
    assert first_of_each_group("dbcaef", GROUPS, clean).tolist() == [1, 2, 3, 5]


def test_a_group_labelled_both_ways_counts_as_a_defect() -> None:
    """A pit that looks clean and has a copy labelled clean must not drop out of recall."""
    is_defect = np.array([True, False, True, False, False, True])
    # d (pit) and a (clean) are copies, so are c (pit) and e (clean)
    assert first_of_each_group("dbcaef", GROUPS, is_defect).tolist() == [0, 1, 2, 5]


def test_large_logits_keep_their_ranks(calibration: Predictions) -> None:
    table = table_of("abcd", [0, 0, 1, 1], [30.0, 31.0, 32.0, 33.0], 1.0)
    assert np.all(table.scores == 1)
    arguments = {"calibration": calibration, "temperature": 1.0, "test_groups": np.arange(4)}
    assert evaluation_document(test=table, **arguments)["auroc"] == 1.0
    foreign = evaluation_document(test=replace(table, logits=None), **arguments)
    assert foreign["auroc"] == 0.5


def test_groups_must_fit(calibration: Predictions, test_split: Predictions) -> None:
    with pytest.raises(ValueError, match=r"test_groups: must have shape \(6,\), got \(5,\)"):
        evaluation_document(
            calibration=calibration, test=test_split, temperature=1.0, test_groups=np.arange(5)
        )
