from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from drupe.errors import InputError
from drupe.evaluation.lanes import Costs
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import (
    Recorded,
    Request,
    operating_point,
    read_recorded,
)
from drupe.runs.evaluation_file import record_certificate
from run_files import predictions, write_run


@pytest.fixture
def model(tmp_path):
    return read_run_predictions(write_run(tmp_path / "run", copies=2))


def test_calibration_at_the_top_and_test_inside(model) -> None:
    document = operating_point(model, Request()).to_json()
    calibration, test = model.calibration.distinct, model.test.distinct
    low = np.float32(document["threshold"])
    assert document["certified"] is True
    assert document["approximate"] is False
    assert document["method"] == "order-statistic"
    assert document["high"] == document["threshold"]
    assert document["defects"] == calibration.is_defect.sum()
    assert document["misses"] == (calibration.scores[calibration.is_defect] < low).sum()
    assert document["recall"]["low"] >= 0.99
    assert document["test"]["defects"] == test.is_defect.sum()
    misses = int((test.scores[test.is_defect] < low).sum())
    assert document["test"]["misses"] == misses
    clean = test.scores[~test.is_defect] < low
    assert document["test"]["clean_yield"]["successes"] == clean.sum()
    expected = binomtest(misses, document["test"]["defects"], 0.01, alternative="greater").pvalue
    assert document["test"]["refutation_p_value"] == pytest.approx(expected)
    assert "needed_defects" not in document
    json.dumps(document, allow_nan=False)


def test_a_refusal_is_an_answer(tmp_path) -> None:
    run = write_run(tmp_path / "run", calibration=predictions(300, 1))
    point = operating_point(read_run_predictions(run), Request())
    document = point.to_json()
    assert (document["certified"], document["threshold"], document["test"]) == (False, None, None)
    assert document["needed_defects"] == 299
    assert document["defects"] == 139
    assert document["misses_allowed"] is None
    json.dumps(document, allow_nan=False)


def test_a_given_threshold_is_judged_not_certified(model) -> None:
    document = operating_point(model, Request(low=0.3, high=0.8)).to_json()
    assert (document["certified"], document["certificate"]) == (False, None)
    assert document["method"] == "given"
    assert (document["threshold"], document["high"]) == (0.3, 0.8)
    assert document["test"]["lanes"]["clean_reviewed"] > 0


def test_the_budget_is_spent_on_review(model) -> None:
    request = Request(review_budget=0.1, prevalence=0.02, costs=Costs(40, 0.1, 0.5))
    document = operating_point(model, request).to_json()
    assert document["high"] > document["threshold"]
    assert document["per_thousand"]["reviews"] <= 100 + 1e-6
    assert document["per_thousand"]["prevalence"] == 0.02
    assert document["test"]["per_thousand"]["cost"] > 0
    without = operating_point(model, Request(prevalence=0.02)).to_json()
    assert without["recall"] == document["recall"]


def test_contradictions_are_refused(model) -> None:
    for keys, message in (
        ({"high": 0.9, "review_budget": 0.1}, "high: a given one can't be chosen"),
        ({"costs": Costs(1, 1, 1)}, "costs: need the prevalence"),
        ({"low": 0.9, "high": 0.1}, "low: must be at most high"),
        ({"low": 1.5}, r"low: must be in \[0, 1\], got 1.5"),
        ({"high": 0.0}, "high: must be at least the certified threshold"),
        ({"min_recall": 99}, r"min_recall: must be in \(0, 1\), got 99"),
    ):
        with pytest.raises(InputError, match=message):
            operating_point(model, Request(**keys))


def test_the_certificate_goes_into_the_run_s_evaluation(model, tmp_path) -> None:
    point = operating_point(model, Request(min_recall=0.98))
    record_certificate(tmp_path / "run", point.certified_figures())
    document = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert document["certificate"]["min_recall"] == 0.98
    assert document["certificate"]["measured_on"]["precision"] == "fp32"
    figures, distinct = document["test"]["certified"], document["test"]["distinct"]["certified"]
    assert figures["accuracy"]["trials"] == 800
    assert distinct["accuracy"]["trials"] == 798
    assert distinct["misses"] == point.test.counts.defects_accepted
    assert document["temperature"] == 1.3


@pytest.mark.parametrize(
    "asked",
    [
        Request(0.98, 0.9),
        Request(0.98, review_budget=0.1, prevalence=0.02),
        Request(0.9, reject_precision=0.9),
        Request(0.9, high=0.95),
    ],
)
def test_what_was_asked_is_read_back(model, tmp_path, asked) -> None:
    run = tmp_path / "run"
    assert read_recorded(run) == Recorded()
    record_certificate(run, operating_point(model, asked).certified_figures())
    assert read_recorded(run) == Recorded(asked, model.data_fingerprint)


def test_a_confidence_raised_for_candidates_is_read_back_as_asked(model, tmp_path) -> None:
    point = operating_point(model, Request(0.9, 0.95, candidates=4))
    record_certificate(tmp_path / "run", point.certified_figures())
    request = read_recorded(tmp_path / "run").request
    assert request.candidates == 4
    assert request.confidence == pytest.approx(0.95)


@pytest.mark.parametrize("damaged", ['{"threshold": 1}', "[]", '"no"', '{"candidates": 1}'])
def test_a_damaged_certificate_is_one_message(model, tmp_path, damaged) -> None:
    path = tmp_path / "run" / "evaluation.json"
    document = json.loads(path.read_text()) | {"certificate": json.loads(damaged)}
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"drupe evaluate .* writes it anew"):
        read_recorded(tmp_path / "run")
