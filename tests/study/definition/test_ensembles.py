"""Ensembles in a study: with fakes here, whole in ``tests/cli``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drupe.errors import InputError
from drupe.reporting.notebook import _arguments, _sentences
from drupe.reporting.specification import describe
from drupe.reporting.verdict import verdict_markdown
from drupe.study.definition.loading import load_study
from drupe.study.definition.plan import plan
from drupe.study.definition.protocol import freeze
from drupe.study.execution.journal import Journal
from drupe.study.verdict.assess import assess
from drupe.study.verdict.document import StudyVerdict
from drupe.study.verdict.smoke_checks import smoke_checks
from run_files import decided
from study_files import (
    FakeExecutor,
    average,
    finish,
    schedule,
    small_study,
    succeed,
    task_of,
    work_on,
)

GOOD = decided(1000, prefix="train")
BOTH = {"id": "AB", "kind": "ensemble", "of": ["A", "B"]}
SEEDS = {"id": "AA", "kind": "ensemble", "of": "A"}
TRAINED = [{"id": "A"}, {"id": "B", "config": {"training": {"label_smoothing": 0.1}}}]


def study_of(folder: Path, *items: dict[str, Any], **changes: Any):
    return small_study(folder, experiments=[*TRAINED, *items], **changes)


def does(**wrong: int):
    """Return who does jobs: each experiment gets so many of 400 test items wrong."""

    def do(job):
        if not job.task.is_run:
            return succeed(job)
        count = wrong[job.task.experiment]
        test = decided(400, range(400 - count, 400))
        if job.task.kind == "ensemble":
            return average(job, test, GOOD)
        finish(job.task, test, GOOD)
        return 0

    return do


def ran(folder: Path, *items: dict[str, Any], executor: FakeExecutor | None = None, **changes: Any):
    """Run a study to its end; return its work and its verdict."""
    work = work_on(study_of(folder, *items, **changes), folder / "store")
    schedule(work, executor or FakeExecutor(does(A=20, B=40, AB=4, AA=8)))
    return work, assess(work, Journal(work.folder).outcomes())


@pytest.mark.parametrize(
    ("item", "changes", "message"),
    [
        ({**BOTH, "of": None}, {}, "AB: an ensemble needs of"),
        ({**BOTH, "of": ["A", "X"]}, {}, r"AB.of: must name experiments that train .*, got X"),
        ({**BOTH, "of": ["A", "A"]}, {}, "AB.of: must name each experiment once, got A again"),
        ({**BOTH, "of": ["A", "AB"]}, {}, r"AB.of: must name experiments that train .*, got AB"),
        ({**BOTH, "of": 7}, {}, r"of: must be text or a list, got 7"),
        ({**BOTH, "config": {"seed": 1}}, {}, "AB: an ensemble takes no config"),
        (
            {**BOTH, "comparisons": [{"a": "A", "b": "B"}]},
            {},
            "AB: an ensemble takes no comparisons",
        ),
        (SEEDS, {"seeds": [3]}, r"AA.of: .* averages its seeds, .* at least two, got 3"),
        ({"id": "T", "kind": "threshold", "of": ["A"]}, {}, "T.of: a threshold certifies one"),
        ({"id": "T", "kind": "threshold", "of": "X"}, {}, r"train \(A, B\), got X"),
    ],
)
def test_a_wrong_ensemble_is_one_message(tmp_path, item, changes, message) -> None:
    with pytest.raises(InputError, match=message) as refused:
        study_of(tmp_path, item, **changes)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("own", "differs"),
    [
        ({"input": {"size": 64}}, r"input.size \(64, 128\)"),
        ({"data": {"split_seed": 5}}, r"data.split_seed \(5, 0\)"),
        ({"data": {"root": "/other"}}, r"data.root \(/other, None\)"),
        ({"calibration": {"holdout": 0.5}}, r"calibration.holdout \(0.5, 0.25\)"),
    ],
)
def test_an_ensemble_over_different_data_is_refused_before_anything_is_trained(
    tmp_path, own, differs
) -> None:
    odd = {"id": "C", "config": own}
    with pytest.raises(InputError) as refused:
        study_of(tmp_path, odd, {**BOTH, "of": ["A", "B", "C"]})
    (message,) = refused.value.problems
    assert "AB.of: its members must share data, split and input.size, but C differs" in message
    with pytest.raises(InputError, match=differs):
        study_of(tmp_path, odd, {**BOTH, "of": ["A", "C"]})
    study_of(tmp_path, odd, BOTH)  # who isn't averaged may differ


def test_cross_fitted_experiments_are_refused_by_name(tmp_path) -> None:
    folded = {"id": "C", "config": {"calibration": {"crossfit": 3}}}
    with pytest.raises(InputError, match=r"AB.of: can't average C: calibration.crossfit"):
        study_of(tmp_path, folded, {**BOTH, "of": ["A", "C"]})


def test_it_is_made_when_its_members_are_there_and_judged_like_any_model(tmp_path) -> None:
    threshold = {"id": "T", "kind": "threshold", "of": "AB"}
    study = study_of(tmp_path, BOTH, SEEDS, threshold, criteria={"latency_ms": 30})
    tasks = {task.name: task for task in plan(study, tmp_path / "store")}

    assert tasks["AB ensemble"].needs == ("A seed 1", "B seed 1")
    assert tasks["AA ensemble"].needs == ("A seed 1", "A seed 2")
    assert tasks["AB ensemble"].lane == "cpu"
    assert tasks["AB ensemble"].folder == tmp_path / "store/runs/small/AB/seed-1"
    assert tasks["AB certify"].needs == ("AB ensemble",)
    assert tasks["AB export"].needs == ("AB certify",)
    assert tasks["AB bench"].needs == ("AB export",)
    assert tasks["T"].needs == ("AB certify",)


def test_only_brings_along_what_it_averages(tmp_path) -> None:
    pair = {"id": "X", "kind": "comparison", "comparisons": [{"a": "AB", "b": "B"}]}
    study = study_of(tmp_path, BOTH, SEEDS, pair)

    def names(**choice) -> list[str]:
        return [task.name for task in plan(study, tmp_path / "store", **choice)]

    assert names(only={"AA"}) == ["A seed 1", "A seed 2", "AA ensemble", "AA certify"]
    assert names(only={"AB"}, skip={"B"}) == []
    assert names(only={"X"}) == ["A seed 1", "B seed 1", "B seed 2", "AB ensemble"]


def test_the_job_is_a_command(tmp_path) -> None:
    defaults = {"model": {"architecture": "test_resnet"}, "data": {"root": "/crops"}}
    work = work_on(study_of(tmp_path, BOTH, defaults=defaults), tmp_path / "store")
    task = task_of(work, "AB ensemble")
    job = work.job(task)
    assert job.words == (
        *("ensemble", str(work.folder / "A/seed-1"), str(work.folder / "B/seed-1")),
        *("--name", "AB", "--data", "/crops", "--out", str(task.folder)),
        *("--store", str(tmp_path / "store")),
    )
    assert (job.log, job.answer) == (work.folder / "AB" / "seed-1.log", None)


def test_the_verdict_counts_it_as_one_more_model_to_choose_from(tmp_path) -> None:
    pairs = [{"a": "AB", "b": "A"}, {"a": "AA", "b": "AB"}]
    criteria = {"accuracy": 0.9, "recall": 0.99, "latency_ms": 30, "size_mb": 150}
    _, found = ran(
        tmp_path, BOTH, SEEDS, criteria=criteria, comparisons=pairs, baseline={"experiment": "B"}
    )
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert StudyVerdict.model_validate(document).to_json() == document

    rows = {item["id"]: item for item in document["experiments"]}
    both = rows["AB"]
    assert (both["kind"], both["state"]) == ("ensemble", "done")
    assert both["members"] == ["A/seed-1", "B/seed-1"]
    assert rows["AA"]["members"] == ["A/seed-1", "A/seed-2"]
    assert rows["A"]["members"] == []
    assert (both["runs"], both["deployed"], both["seeds"]) == (["AB/seed-1"], "AB/seed-1", [])
    assert both["reason"] == "the mean of A/seed-1, B/seed-1"
    assert both["accuracy"]["mean"] == pytest.approx(0.99)
    assert {one["criterion"]: one["verdict"] for one in both["criteria"]} == dict.fromkeys(
        ("accuracy", "recall", "latency", "size"), "pass"
    )
    # Certificates hold for the one chosen of all four, ensembles included.
    assert document["candidates"] == 4
    assert both["joint_certificate"]["confidence"] == pytest.approx(1 - 0.05 / 4)
    assert both["certificate"]["confidence"] == 0.95
    assert document["recommendation"]["experiment"] in {"AB", "AA", "A", "B"}
    text = verdict_markdown(found)
    assert "| AB | done | the mean of A/seed-1, B/seed-1 |" in text
    assert "certificates hold for one of 4 candidates" in text


def test_every_seed_counts_against_it(tmp_path) -> None:
    def uneven(job):
        if job.task.kind == "train" and job.task.experiment == "A":
            finish(job.task, decided(400, range(40 * job.task.seed)), GOOD)  # 40 and 80 wrong
            return 0
        return does(B=0, AB=20, AA=20)(job)

    pairs = [{"a": "AB", "b": "A"}, {"a": "A", "b": "AB"}, {"a": "AB", "b": "AA"}]
    _, found = ran(tmp_path, BOTH, SEEDS, executor=FakeExecutor(uneven), comparisons=pairs)
    forth, back, alike = found.comparisons
    assert forth.paired.difference == pytest.approx(60 / 400 - 20 / 400)
    assert back.paired.difference == pytest.approx(-0.1)
    assert forth.seeds == back.seeds == (1, 2)
    assert alike.paired.difference == 0


def test_nothing_is_made_twice_until_a_member_changes(tmp_path) -> None:
    work, _ = ran(tmp_path, BOTH, SEEDS)
    again = FakeExecutor(does(A=20, B=40, AB=4, AA=8))
    schedule(work, again)
    assert again.started == []

    (work.folder / "B/seed-1/model.safetensors").write_bytes(b"trained anew")
    schedule(work, again)

    assert again.started == ["AB ensemble"]
    (old,) = (work.folder / "superseded").iterdir()
    assert old.name.startswith("AB-ensemble-")


def test_an_ensemble_of_a_changed_experiment_does_not_count(tmp_path) -> None:
    ran(tmp_path, BOTH, SEEDS)
    changed = [{"id": "A"}, {"id": "B", "config": {"training": {"label_smoothing": 0.2}}}]
    study = small_study(tmp_path, experiments=[*changed, BOTH, SEEDS])
    work = work_on(study, tmp_path / "store")

    assert [len(runs) for runs in work.finished_runs().values()] == [2, 0, 0, 1]
    found = assess(work, Journal(work.folder).outcomes())
    assert {item.id: item.state for item in found.experiments}["AB"] == "missing"


def test_without_a_member_there_is_no_ensemble(tmp_path) -> None:
    def without_b(job):
        return 2 if job.task.name == "B seed 1" else does(A=20, B=40, AB=4, AA=8)(job)

    work, found = ran(tmp_path, BOTH, SEEDS, executor=FakeExecutor(without_b))
    outcome = Journal(work.folder).outcomes()["AB ensemble"]
    assert (outcome.state, outcome.reason) == ("skipped", "B seed 1 has no result")
    rows = {item.id: item for item in found.experiments}
    assert (rows["AB"].state, rows["AB"].reason) == ("skipped", "B seed 1 has no result")
    assert rows["AA"].state == "done"


def test_of_a_member_that_a_condition_leaves_out_no_smoke_test_complains(tmp_path) -> None:
    waits = {"id": "C", "when": {"none_of": ["A"], "meet": "accuracy"}}
    averaged = {**BOTH, "of": ["A", "C"]}
    study = study_of(tmp_path, waits, averaged, criteria={"accuracy": 0.9}).smoke()
    work = work_on(study, tmp_path / "store")
    outcomes = schedule(work, FakeExecutor(does(A=20, B=40)))

    reason = "not run, because C seed 1 is not"
    assert outcomes["AB ensemble"].reason == reason
    assert all(check.passed for check in smoke_checks(work, outcomes) if "made" in check.name)
    found = assess(work, outcomes)
    row = {item.id: item for item in found.experiments}["AB"]
    assert (row.state, row.reason) == ("skipped", reason)


def test_it_may_wait_for_a_condition(tmp_path) -> None:
    waits = {**BOTH, "when": {"none_of": ["A"], "meet": "accuracy"}}
    _, found = ran(tmp_path, waits, criteria={"accuracy": 0.9})
    row = {item.id: item for item in found.experiments}["AB"]
    assert row.state == "skipped"
    assert row.reason is not None
    assert row.reason.startswith("not run, because at least one reaches 90.00 %: A")
    assert found.decisions["AB"].runs is False


def test_a_collapsed_one_is_named_without_a_seed(tmp_path) -> None:
    _, found = ran(tmp_path, BOTH, executor=FakeExecutor(does(A=20, B=40, AB=200)))
    row = {item.id: item for item in found.experiments}["AB"]
    assert row.note == "collapsed to one decision for every item"


def test_one_that_is_added_later_is_a_deviation(tmp_path) -> None:
    freeze(study_of(tmp_path), tmp_path, "d" * 64)
    added = [item.what for item in freeze(study_of(tmp_path, BOTH), tmp_path, "d" * 64)]
    assert added == ["AB: added after the protocol was frozen"]


def test_other_members_are_a_deviation(tmp_path) -> None:
    freeze(study_of(tmp_path, BOTH), tmp_path, "d" * 64)
    other = study_of(tmp_path, {**BOTH, "of": "A"})
    assert [item.what for item in freeze(other, tmp_path, "d" * 64)] == [
        "AB.of: ['A', 'B'] -> A",
    ]


def test_a_smoke_test_has_the_seeds_that_it_takes(tmp_path) -> None:
    assert study_of(tmp_path, BOTH).smoke().spec.seeds == (1,)
    study = study_of(tmp_path, BOTH, SEEDS, seeds=[1, 2, 3]).smoke()
    assert study.spec.seeds == (1, 2)

    work = work_on(study, tmp_path / "store")
    outcomes = schedule(work, FakeExecutor())
    checks = {check.name: check for check in smoke_checks(work, outcomes)}
    assert checks["ensembles made"].passed
    assert checks["ensembles made"].detail == "2 tasks"


def test_the_specification_and_the_notebook_say_what_it_averages(tmp_path) -> None:
    study = study_of(tmp_path, BOTH, SEEDS, {"id": "T", "kind": "threshold", "of": "AB"})
    text = describe(study)
    assert "Averages the calibrated logits of A seed 1, B seed 1; nothing is trained." in text
    assert "Averages the calibrated logits of A seed 1, A seed 2; nothing is trained." in text
    assert "One of 4 models is chosen" in text
    assert "| AB |  | ensemble | cpu |" in text
    both, seeds, threshold = study.spec.experiments[2:]
    assert list(_sentences(both))[-1] == "The mean of the first seeds of A, B; nothing is trained."
    assert list(_sentences(seeds))[-1] == "The mean of A's seeds; nothing is trained."
    assert list(_sentences(threshold))[-1] == "On the run of AB; nothing is trained."
    assert _arguments([both, threshold]) == '"AB", "T", needs=("A", "B")'


def test_overrides_may_leave_too_few_seeds(tmp_path) -> None:
    study_of(tmp_path, SEEDS)
    with pytest.raises(InputError, match=r"AA.of: .* at least two, got 9"):
        load_study(tmp_path / "study.yaml", {"seeds": [9]})


def test_a_run_that_is_no_ensemble_of_these_members_is_not_taken_for_one(tmp_path) -> None:
    work, _ = ran(tmp_path, BOTH)
    task = task_of(work, "AB ensemble")
    assert work.is_done(task)
    assert not replace(work, fingerprint="0" * 64).is_done(task)
