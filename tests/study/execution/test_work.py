from __future__ import annotations

import json

import pytest
import yaml

from drupe.study.execution.work import last_lines
from drupe.training.config import load_experiment
from study_files import STUDY, FakeExecutor, schedule, small_study, task_of, work_on

TIMED = {"criteria": {"recall": 0.99, "latency_ms": 30}}


def threads_of(work) -> int:
    file = work.folder / "A" / "seed-1.yaml"
    return yaml.safe_load(file.read_text())["training"]["threads"]


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
