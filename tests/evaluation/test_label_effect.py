"""What a repair bought, on scores with a known answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.certificate import MeasuredOn
from drupe.evaluation.label_effect import label_effect
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions
from drupe.evaluation.predictions import Predictions, scores_from_logits

CLASSES = ("clean", "pit")


def scored(logits: np.ndarray, is_defect: np.ndarray, prefix: str) -> JudgedSplit:
    return JudgedSplit.of_distinct(
        Predictions(
            paths=tuple(f"{prefix}/{index:05}.png" for index in range(len(logits))),
            is_defect=is_defect,
            logits=logits.astype(np.float32),
            scores=scores_from_logits(logits, 1.0),
            classes=CLASSES,
        )
    )


def run(seed: int, quality: float = 1.8, wrong: int = 0, state: str = "a", **others):
    """A run whose calibration has ``wrong`` clean items that are labelled defects.

    Pictures are the same whatever the quality: it only shifts their logits.
    """
    random = np.random.default_rng(1)
    splits = {}
    for name, count in (("calibration", 1600), ("test", 1000)):
        truth = np.arange(count) % 2 == 0
        logits = random.normal(np.where(truth, quality, -quality), 1.0)
        logits += np.random.default_rng([seed, count]).normal(0, 0.1, count)
        labels = truth.copy()
        if name == "calibration":
            labels[1 : 2 * wrong : 2] = True
        splits[name] = scored(logits, labels, name)
    return ModelPredictions(
        name=f"tiny seed {seed}",
        **splits,
        data_fingerprint=state,
        measured_on=MeasuredOn(graph=""),
        experiment="tiny",
        seed=seed,
        **others,
    )


def runs(quality: float = 1.8, wrong: int = 0, state: str = "a", **others):
    return [run(seed, quality, wrong, state, **others) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def mended():
    """Twenty wrong labels in calibration hold the threshold down; the networks are the same."""
    return label_effect(runs(wrong=20), runs(state="b"))


def test_clean_yield_that_wrong_labels_held_down_is_gained(mended) -> None:
    found = mended.clean_yield
    assert mended.conclusion == "gained"
    assert found.before.mean < 0.5
    assert found.after.mean > 0.6
    assert found.low <= found.items_low < found.difference < found.items_high <= found.high
    assert found.difference == pytest.approx(found.after.mean - found.before.mean)
    recall = next(one for one in mended.figures if one.metric == "certified_recall")
    assert recall.difference <= 0  # fewer rejects: what it costs stands beside
    assert (mended.seeds, mended.images, mended.defects) == ((1, 2, 3), 1000, 500)
    json.dumps(mended.to_json(), allow_nan=False)


def test_networks_that_stay_gain_by_calibration_alone(mended) -> None:
    through = mended.through_calibration
    assert through.difference == pytest.approx(mended.clean_yield.difference)
    at_half = [one for one in mended.figures if one.at == "0.5"]
    assert [one.metric for one in at_half] == ["accuracy", "recall"]
    assert all(one.difference == 0 for one in at_half)


def test_better_networks_on_the_same_calibration_labels_gain_without_it() -> None:
    found = label_effect(runs(), runs(2.6, state="b"))
    assert found.conclusion == "gained"
    assert found.through_calibration is None


def test_worse_networks_lose_though_labels_are_doubted() -> None:
    found = label_effect(runs(2.6), runs(1.2, state="b", test_doubt="1 test label was changed"))
    assert found.conclusion == "lost"
    assert found.doubts == ("after: 1 test label was changed",)


def test_no_difference_is_not_shown() -> None:
    found = label_effect(runs(), runs(state="b"))
    assert found.conclusion == "not shown"
    assert found.clean_yield.low < 0 < found.clean_yield.high


@pytest.mark.parametrize(
    ("of_before", "of_after", "labels", "conclusion"),
    [
        ({}, {"test_doubt": "x"}, "after", "undecided"),
        ({}, {"test_doubt": "x"}, "before", "gained"),
        ({"test_doubt": "x"}, {}, "before", "undecided"),
        ({}, {"doubt": "x"}, "before", "undecided"),
        ({"approximate": "folds"}, {}, "after", "undecided"),
    ],
)
def test_a_gain_on_labels_changed_because_a_model_disagreed_is_undecided(
    of_before, of_after, labels, conclusion
) -> None:
    before, after = runs(**of_before), runs(2.6, state="b", **of_after)
    assert label_effect(before, after, test_labels=labels).conclusion == conclusion


def test_both_are_judged_by_the_labels_of_one_state() -> None:
    """And on the items that both have, copies counted once."""
    before, after = runs(), runs(state="b")
    turned = [replace(one, test=with_labels(one.test, ~one.test.table.is_defect)) for one in after]
    cut = [replace(one, test=one.test.of_paths(set(one.test.table.paths[10:]))) for one in before]
    copies = np.maximum(np.arange(990), 4)  # five copies of one picture
    cut = [replace(one, test=replace(one.test, groups=copies)) for one in cut]
    by_before = label_effect(cut, turned, test_labels="before")
    by_after = label_effect(cut, turned, test_labels="after")
    accuracy = [one.figures[-2].before.mean for one in (by_before, by_after)]
    assert accuracy[0] > 0.9
    assert accuracy[0] == pytest.approx(1 - accuracy[1], abs=0.01)
    assert (by_before.images, by_before.groups, by_before.left_out) == (990, 986, 10)


def with_labels(split: JudgedSplit, labels: np.ndarray) -> JudgedSplit:
    return replace(split, table=replace(split.table, is_defect=labels))


def test_without_a_certificate_the_other_figures_stay() -> None:
    few = [
        replace(one, calibration=one.calibration.of_paths(set(one.calibration.table.paths[:100])))
        for one in runs()
    ]
    found = label_effect(few, runs(state="b"))
    assert found.conclusion == "no certificate"
    assert [one.metric for one in found.figures] == ["accuracy", "recall"]
    assert "at least 299 distinct defects" in found.notes[0]
    assert found.through_calibration is None
    none = label_effect([replace(one, calibration=None) for one in runs()], runs(state="b"))
    assert none.clean_yield is None


def test_one_seed_says_nothing_of_seeds() -> None:
    found = label_effect(runs()[:1], runs(2.6, state="b")[:1])
    figure = found.clean_yield
    assert figure.seed_deviation is None
    assert (figure.low, figure.high) == pytest.approx((figure.items_low, figure.items_high))


def test_what_cannot_be_paired_is_named() -> None:
    before = runs()
    with pytest.raises(InputError, match=r"seeds of before \(1, 2, 3\), got 1, 2"):
        label_effect(before, runs()[:2])
    with pytest.raises(InputError, match="several states"):
        label_effect([before[0], replace(before[1], data_fingerprint="c"), before[2]], before)
    with pytest.raises(InputError, match="tiny seed 1 is none"):
        label_effect([replace(before[0], test=None)], before[:1])
    elsewhere = [replace(one, test=renamed(one.test)) for one in before]
    with pytest.raises(InputError, match="only 0 of 2,000"):
        label_effect(before, elsewhere)
    other = replace(before[0].test.table, classes=("good", "bad"))
    classes = [replace(before[0], test=replace(before[0].test, table=other))]
    with pytest.raises(InputError, match="classes"):
        label_effect(before[:1], classes)
    clean = [replace(one, test=with_labels(one.test, np.zeros(1000, np.bool_))) for one in before]
    with pytest.raises(InputError, match="1,000 clean and 0 defects"):
        label_effect(before, clean)
    with pytest.raises(InputError, match="confidence"):
        label_effect(before, before, confidence=0.2)


def renamed(split: JudgedSplit) -> JudgedSplit:
    paths = tuple(f"other/{path}" for path in split.table.paths)
    return replace(split, table=replace(split.table, paths=paths))


def test_the_interval_holds_the_effect_of_other_seeds_too() -> None:
    """Three seeds that scatter: bounds over items alone miss the mean of all seeds too often."""
    held = {"items": 0, "seeds": 0}
    trials = 200
    for trial in range(trials):
        random = np.random.default_rng([9, trial])
        truth = np.arange(600) % 2 == 0
        sides = []
        for _ in range(2):
            side = []
            for seed in range(3):
                # A seed's accuracy is 0.8 + N(0, 0.03): there is no effect.
                right = random.random(600) < 0.8 + random.normal(0, 0.03)
                logits = np.where(right == truth, 2.0, -2.0)
                one = run(seed)
                side.append(replace(one, calibration=None, test=scored(logits, truth, "test")))
            sides.append(side)
        accuracy = label_effect(*sides).figures[0]
        held["items"] += accuracy.items_low <= 0 <= accuracy.items_high
        held["seeds"] += accuracy.low <= 0 <= accuracy.high
    assert held["seeds"] >= 0.92 * trials  # of 95 %: fewer has a chance of 3 %
    assert held["items"] < 0.85 * trials
