from __future__ import annotations

import json

import pytest
import yaml

from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.runs.evaluation_file import record_certificate
from drupe.study.definition.plan import plan
from drupe.study.execution.journal import Outcome
from drupe.study.execution.local import LocalExecutor
from drupe.study.execution.work import last_lines
from drupe.training.config import load_experiment
from run_files import predictions
from study_files import STUDY, FakeExecutor, finish, schedule, small_study, succeed, work_on

TIMED = {"criteria": {"recall": 0.99, "latency_ms": 30}}


def threads_of(work) -> int:
    file = work.folder / "A" / "seed-1.yaml"
    return yaml.safe_load(file.read_text())["training"]["threads"]


def task_of(work, name: str):
    return next(task for task in plan(work.study, work.store) if task.name == name)


def certify(work, name: str) -> Outcome:
    """Do a certify task as a scheduler would, in this process."""
    task = task_of(work, name)
    settled = work.outcome_without_job(task)
    if settled is None:
        assert succeed(work.job(task)) == 0
        settled = work.accept(task)
    return settled


def test_a_run_is_a_command_that_starts_or_continues_it(tmp_path) -> None:
    work = work_on(small_study(tmp_path), tmp_path / "store")
    task = task_of(work, "B seed 2")

    job = work.job(task)

    file = tmp_path / "store/runs/small/B/seed-2.yaml"
    assert job.words == (
        *("train", str(file), "--resume", "--out", str(task.folder)),
        *("--store", str(tmp_path / "store")),
    )
    assert load_experiment(file) == task.config
    assert (job.log, job.answer) == (file.with_suffix(".log"), None)
    assert not task.folder.exists()  # which is the run's own


def test_the_cores_are_shared_unless_the_study_says_how_many(tmp_path) -> None:
    work = work_on(small_study(tmp_path), tmp_path / "store")
    work = type(work)(work.study, work.store, work.fingerprint, tmp_path / "weights", threads=1)
    words = work.job(task_of(work, "A seed 1")).words
    assert words[-2:] == ("--weights", str(tmp_path / "weights"))
    assert threads_of(work) == 1

    defaults = {**STUDY["defaults"], "training": {"threads": 3}}
    work = type(work)(small_study(tmp_path, defaults=defaults), work.store, "f", threads=1)
    work.job(task_of(work, "A seed 1"))
    assert threads_of(work) == 3


def test_an_import_sees_images_as_the_experiment_that_it_stands_for(tmp_path) -> None:
    checkpoint = {"file": "best.pt", "architecture": "resnet50", "picked_on_test": True}
    checkpoint |= {"classes": ["no", "yes"], "key": "ema", "input": {"range": "imagenet"}}
    defaults = {**STUDY["defaults"], "data": {"root": "/crops", "defect": "no"}}
    own = {"input": {"range": "unit", "crop": 96}, "calibration": {"crossfit": 2, "holdout": 0.5}}
    experiments = [{"id": "B"}, {"id": "A", "config": own}]
    study = small_study(
        tmp_path,
        baseline={"experiment": "A", "checkpoint": checkpoint},
        defaults=defaults,
        experiments=experiments,
    )
    work = work_on(study, tmp_path / "store")

    words = work.job(task_of(work, "BASELINE")).words

    assert words[:2] == ("import", "best.pt")
    assert set(words[2:6]) == {
        *('input.range="imagenet"', "input.crop=96"),  # its own keys on top
        *('data.defect="no"', "calibration.holdout=0.5"),  # which has no folds
    }
    assert words[6:] == (
        *("--architecture", "resnet50", "--data", "/crops", "--name", "BASELINE"),
        *("--trained-on", "unknown", "--out", str(work.folder / "BASELINE" / "seed-1"), "--json"),
        *("--classes", "no,yes", "--key", "ema", "--picked-on-test"),
        *("--store", str(tmp_path / "store")),
    )


@pytest.mark.parametrize("part", ["weights", "certificate", "bundle"])
def test_an_answer_counts_as_long_as_what_it_was_made_from(tmp_path, part) -> None:
    work = work_on(small_study(tmp_path, **TIMED), tmp_path / "store")
    schedule(work, FakeExecutor())
    export, bench = task_of(work, "A export"), task_of(work, "A bench")
    assert work.is_done(export)
    assert work.is_done(bench)

    run = work.deployed("A")
    if part == "weights":
        (run / "model.safetensors").write_bytes(b"others")
    elif part == "certificate":
        document = json.loads((run / "evaluation.json").read_text())
        document["certificate"]["threshold"] /= 2
        (run / "evaluation.json").write_text(json.dumps(document))
    else:
        (work.folder / "A" / "bundle" / "bundle.json").write_text("[]")

    assert work.is_done(export) == (part == "bundle")
    assert not work.is_done(bench)
    assert work.answer("B", "bench") is not None


def test_a_smoke_test_takes_few_timings(tmp_path) -> None:
    study = small_study(tmp_path, **TIMED)
    real, smoke = (work_on(one, tmp_path / "store") for one in (study, study.smoke()))

    assert "--samples" not in real.job(task_of(real, "A bench")).words
    assert smoke.job(task_of(smoke, "A bench")).words[-3:] == ("--samples", "20", "--json")


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
    assert outcome.reason.startswith("not certified: ")
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


def test_a_certificate_is_a_command_that_says_all_that_is_asked_of_it(tmp_path) -> None:
    folded = {"id": "B", "config": {"calibration": {"crossfit": 3}}}
    threshold = {"id": "T", "kind": "threshold", "of": "A"}
    study = small_study(
        tmp_path,
        criteria={"recall": 0.995},
        confidence=0.9,
        experiments=[{"id": "A", "criteria": {"recall": 0.97}}, folded, threshold],
    )
    work = work_on(study, tmp_path / "store")
    store = ("--store", str(tmp_path / "store"))

    def words(run: str, experiment: str, recall: str, candidates: str, *others: str):
        return (
            *("study", "certify", str(work.folder / run)),
            *("--out", str(work.folder / experiment / "threshold.json")),
            *("--min-recall", recall, "--confidence", "0.9", "--candidates", candidates),
            *(*others, *store),
        )

    jobs = {name: work.job(task_of(work, name)) for name in ("A certify", "B certify", "T")}

    assert jobs["A certify"].words == words("A/seed-1", "A", "0.97", "2", "--record")
    assert jobs["B certify"].words == words(
        "B/seed-1", "B", "0.995", "2", "--record", "--cross-fit", "3"
    )
    assert jobs["T"].words == words("A/seed-1", "T", "0.97", "1")  # the only candidate
    assert jobs["T"].log == work.folder / "T" / "certify.log"


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


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("one\ntwo\n\nthree\nfour\n", "three / four"),
        ("train: 3 of 7\nerror: no such file\n", "no such file"),
        ("error: first\nerror: second\nfurther\n", "second / further"),
        ("", ""),
    ],
)
def test_the_reason_of_a_failure_is_in_its_own_words(tmp_path, log, said) -> None:
    (tmp_path / "log").write_text(log)

    assert last_lines(tmp_path / "log") == said
    assert last_lines(tmp_path / "nothing") == ""
