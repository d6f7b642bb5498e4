"""Next steps: each figure against doing what it prices."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from drupe.evaluation.certificate import MeasuredOn, certify_threshold
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions
from drupe.evaluation.next_steps import REVIEWED, NextStep, next_steps
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.predictions import Predictions

REQUEST = Request(min_recall=0.98)


def model(defects: int = 300, clean: int = 400, seed: int = 0) -> ModelPredictions:
    random = np.random.default_rng(seed)
    logits = np.concatenate([random.normal(3, 1.5, defects), random.normal(-3, 1.5, clean)])
    table = Predictions(
        paths=tuple(f"{i}.png" for i in range(defects + clean)),
        is_defect=np.arange(defects + clean) < defects,
        logits=None,
        scores=(1 / (1 + np.exp(-logits))).astype(np.float32),
        classes=("clean", "pit"),
    )
    split = JudgedSplit.of_distinct(table)
    return ModelPredictions(
        name="A seed 1",
        experiment="A",
        seed=1,
        calibration=split,
        test=split,
        data_fingerprint="f",
        measured_on=MeasuredOn("w"),
        approximate=None,
        in_sample=None,
        caveats=(),
        fit_items=2100,
    )


def steps_of(found: tuple[NextStep, ...], kind: str) -> list[NextStep]:
    return [step for step in found if step.kind == kind]


def drawn_yield(table: Predictions, min_recall: float, draws: int = 1500) -> tuple[float, float]:
    """Mean clean yield, and its error, of certifying on as many defects drawn from the table."""
    random = np.random.default_rng(1)
    own, clean = table.scores[table.is_defect], table.scores[~table.is_defect]
    labels = np.arange(len(own) + len(clean)) < len(own)
    yields = []
    for _ in range(draws):
        scores = np.concatenate([random.choice(own, len(own)), clean])
        low = certify_threshold(scores, labels, min_recall=min_recall, confidence=0.95).threshold
        yields.append(np.mean(clean < np.float32(low)))
    return float(np.mean(yields)), float(np.std(yields) / draws**0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_weaker_promise_brings_what_certifying_for_it_does(seed: int) -> None:
    whole = model(seed=seed)
    found = steps_of(next_steps(operating_point(whole, REQUEST), "RUN"), "promise")

    assert [step.command for step in found] == [
        "drupe threshold RUN --min-recall 0.95",
        "drupe threshold RUN --min-recall 0.97",
    ]
    assert whole.calibration is not None
    for step, recall in zip(found, (0.95, 0.97), strict=True):
        mean, error = drawn_yield(whole.calibration.distinct, recall)
        assert step.clean_yield == pytest.approx(mean, abs=4 * error)


def test_labels_bring_what_certifying_without_the_lowest_defects_does() -> None:
    whole = model()
    (step,) = steps_of(next_steps(operating_point(whole, REQUEST), "RUN"), "labels")

    assert whole.calibration is not None
    table = whole.calibration.distinct
    defects = np.flatnonzero(table.is_defect)
    # 300 defects and 98 % at 95 %: P(Bin(300, 0.02) <= 1) = 0.017, of <= 2 it is 0.061.
    lowest = defects[np.argsort(table.scores[defects])][:2]
    mean, error = drawn_yield(table.take(np.setdiff1d(np.arange(len(table)), lowest)), 0.98)
    assert step.clean_yield == pytest.approx(mean, abs=4 * error)
    assert step.what == (
        f"if {table.paths[lowest[0]]} and 1 more are labelled wrongly (drupe labels rank)"
    )
    assert step.command == "drupe labels rank --run RUN"
    assert "ranking trains 5 networks" in step.caveat


@pytest.mark.parametrize("seed", [1, None])
def test_what_ranks_by_itself_trains_nothing(seed: int | None) -> None:
    """Imported runs and ensembles do; of a CSV nothing can."""
    point = operating_point(replace(model(), seed=seed, fit_items=0), REQUEST)
    (step,) = steps_of(next_steps(point, "RUN"), "labels")
    assert "networks" not in step.caveat
    ranks = "drupe labels rank" in step.command and "drupe labels rank" in step.what
    assert ranks == (seed is not None)


def test_a_review_lane_saves_the_clean_items_that_people_see() -> None:
    whole = model()
    point = operating_point(whole, replace(REQUEST, review_budget=REVIEWED))
    assert point.calibration is not None
    now, *found = next_steps(operating_point(whole, REQUEST), "RUN")
    (step,) = steps_of(tuple(found), "review")
    saved = point.calibration.counts.clean_reviewed / point.calibration.counts.clean
    assert saved > 0.01
    assert step.clean_yield == pytest.approx(now.clean_yield + saved)
    # Whoever has a lane already is offered none.
    assert steps_of(next_steps(point, "RUN"), "review") == []


def test_the_best_comes_first_and_what_certifies_nothing_last() -> None:
    now, *found = next_steps(operating_point(model(), REQUEST), "RUN")
    assert (now.kind, now.defects, now.misses_allowed) == ("as it is", 300, 1)
    yields = [step.clean_yield for step in found]
    assert yields == sorted(yields, reverse=True)
    assert {step.kind for step in found} == {
        "labels",
        "crops",
        "share",
        "cross-fit",
        "promise",
        "review",
    }

    few = operating_point(model(defects=60), Request(min_recall=0.99))
    assert few.refusal is not None
    now, *found = next_steps(few, "RUN")
    assert now.clean_yield is None
    known = [step.clean_yield is not None for step in found]
    assert known == sorted(known, reverse=True)
    assert 0 < sum(known) < len(known)  # more crops certify, a slightly weaker promise does not
    json.dumps([step.to_json() for step in found], allow_nan=False)


def test_a_threshold_given_by_hand_has_no_next_step() -> None:
    assert next_steps(operating_point(model(), Request(low=0.2)), "RUN") == ()
