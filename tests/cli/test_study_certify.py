"""The hidden command that a study starts for each certificate."""

from __future__ import annotations

import json

import pytest

from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from run_files import decided, predictions, write_run


@pytest.fixture
def run(tmp_path):
    calibration = predictions(90, 1, prefix="train")  # 42 defects
    return write_run(
        tmp_path / "run", experiment="A", seed=1, test=decided(100), calibration=calibration
    )


def words(run, recall: str, *others: str):
    asked = ("--min-recall", recall, "--confidence", "0.9", "--candidates", "2")
    return ("study", "certify", run, "--out", "kept/threshold.json", *asked, *others)


@pytest.mark.parametrize("recorded", [True, False])
def test_it_answers_with_the_outcome_and_keeps_the_figures(quick, run, tmp_path, recorded) -> None:
    point = operating_point(read_run_predictions(run), Request(0.9, 0.9, 2))
    before = (run / "evaluation.json").read_bytes()

    result = quick(*words(run, "0.9", *(("--record",) if recorded else ())))

    threshold = point.certificate.threshold
    answer = {"state": "done", "reason": f"certified at {threshold:.4g}"}
    assert (result.code, json.loads(result.stdout)) == (0, answer)
    kept = json.loads((tmp_path / "kept" / "threshold.json").read_text())
    assert kept == json.loads(json.dumps(point.to_json()))
    assert ((run / "evaluation.json").read_bytes() != before) == recorded


def test_too_few_defects_are_an_answer(quick, run) -> None:
    result = quick(*words(run, "0.999"))

    answer = json.loads(result.stdout)
    assert (result.code, answer["state"]) == (0, "done")
    assert answer["reason"].startswith("not certified: ")


def test_a_run_that_cannot_be_read_is_the_failure_of_the_task(quick, tmp_path) -> None:
    result = quick(*words(tmp_path / "nothing", "0.9"))

    answer = json.loads(result.stdout)
    assert (result.code, answer["state"]) == (0, "failed")
    assert str(tmp_path / "nothing") in answer["reason"]
    assert not (tmp_path / "kept").exists()


def test_it_is_no_command_for_people(quick) -> None:
    assert "certify" not in quick("study", "--help").stdout.partition("Commands")[2]
    assert "Certify a run for a study" in quick("study", "certify", "--help").stdout
