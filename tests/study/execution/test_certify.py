"""Certificates as a study makes them: by a job, whose answer is the outcome of the task."""

from __future__ import annotations

import json

from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.runs.evaluation_file import record_certificate
from drupe.study.execution.journal import Outcome
from drupe.study.execution.local import LocalExecutor
from run_files import predictions
from study_files import finish, small_study, succeed, task_of, work_on


def certify(work, name: str) -> Outcome:
    """Do a certify task as a scheduler would, in this process."""
    task = task_of(work, name)
    settled = work.outcome_without_job(task)
    if settled is None:
        assert succeed(work.job(task)) == 0
        settled = work.accept(task)
    return settled


def test_a_certificate_that_is_no_longer_granted_is_withdrawn(tmp_path) -> None:
    """Chosen from many, a model needs more defects than it has: what was certified is void."""
    few = small_study(tmp_path, criteria={"recall": 0.9})
    work = work_on(few, tmp_path / "store")
    task = task_of(work, "A seed 1")
    finish(task, calibration=predictions(90, 1, prefix="train"))  # 42 defects: enough for two
    assert certify(work, "A certify").reason.startswith("certified at ")
    evaluation = task.folder / "evaluation.json"
    assert json.loads(evaluation.read_text())["certificate"] is not None

    many = [{"id": name} for name in "ABCDEFGH"]
    work = work_on(
        small_study(tmp_path, criteria={"recall": 0.9}, experiments=many), tmp_path / "store"
    )
    outcome = certify(work, "A certify")

    assert outcome.is_done
    assert outcome.reason.startswith(
        "not certified as the one chosen of 8 (by itself it would be): "
    )
    document = json.loads(evaluation.read_text())
    assert document["certificate"] is None
    assert document["test"]["certified"] is None


def test_a_certificate_given_outside_the_study_stays_where_the_study_grants_none(tmp_path) -> None:
    study = small_study(tmp_path, criteria={"recall": 0.99})
    work = work_on(study, tmp_path / "store")
    task = task_of(work, "A seed 1")
    finish(task, calibration=predictions(90, 1, prefix="train"))  # 42 defects: for 99 % too few
    request = Request(min_recall=0.9, confidence=0.9)
    point = operating_point(read_run_predictions(task.folder), request)
    record_certificate(task.folder, point.certified_figures())
    evaluation = task.folder / "evaluation.json"
    before = json.loads(evaluation.read_text())
    assert before["certificate"]["min_recall"] == 0.9

    for _ in range(2):
        outcome = certify(work, "A certify")
        assert outcome.reason.startswith("not certified: ")
        assert outcome.reason.endswith(
            "the run keeps the certificate it was given outside the study"
        )
        assert json.loads(evaluation.read_text()) == before
    for damaged in ("{", "[]", "null"):
        (work.folder / "A" / "threshold.json").write_text(damaged)
        assert certify(work, "A certify").is_done
        assert json.loads(evaluation.read_text()) == before


def test_a_certificate_is_made_in_a_process_of_its_own(tmp_path) -> None:
    study = small_study(tmp_path, criteria={"recall": 0.9})
    work = work_on(study, tmp_path / "store")
    task = task_of(work, "A certify")
    run = finish(
        task_of(work, "A seed 1"), calibration=predictions(90, 1, prefix="train")
    )  # 42 defects
    point = work.point("A")
    executor = LocalExecutor(devices=())

    executor.start(work.job(task))
    (ended,) = executor.ended(120.0)
    outcome = work.accept(task)

    assert (ended.task.name, ended.exit_code) == ("A certify", 0)
    threshold = point.certificate.threshold
    assert outcome == Outcome("done", f"certified at {threshold:.4g}")
    kept = json.loads((work.folder / "A" / "threshold.json").read_text())
    assert kept == json.loads(json.dumps(point.to_json()))
    recorded = json.loads((run / "evaluation.json").read_text())["certificate"]
    assert recorded["threshold"] == threshold
    assert not list((work.folder / "A").glob(".*"))  # the answer is taken up


def test_a_threshold_experiment_writes_nothing_into_the_run(tmp_path) -> None:
    threshold = {"id": "T", "kind": "threshold", "of": "A"}
    study = small_study(tmp_path, criteria={"recall": 0.9}, experiments=[{"id": "A"}, threshold])
    work = work_on(study, tmp_path / "store")
    run = finish(task_of(work, "A seed 1"), calibration=predictions(90, 1, prefix="train"))
    before = (run / "evaluation.json").read_bytes()

    assert certify(work, "T").reason.startswith("certified at ")

    assert (run / "evaluation.json").read_bytes() == before
    assert (work.folder / "T" / "threshold.json").exists()
    assert not (work.folder / "A" / "threshold.json").exists()


def test_a_run_that_cannot_be_certified_fails_in_its_own_words(tmp_path) -> None:
    work = work_on(small_study(tmp_path, criteria={"recall": 0.9}), tmp_path / "store")
    run = finish(task_of(work, "A seed 1"), calibration=predictions(90, 1, prefix="train"))
    (run / "predictions" / "calibration.csv").write_text("no,such,columns\n")

    outcome = certify(work, "A certify")

    assert outcome.state == "failed"
    assert outcome.reason.startswith(f"{run / 'predictions' / 'calibration.csv'}: ")
    assert not (work.folder / "A" / "threshold.json").exists()
