from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from drupe.study.definition.loading import load_study
from drupe.study.definition.plan import plan
from drupe.study.execution import scheduler as scheduling
from drupe.study.execution.conditions import ConditionDecision
from drupe.study.execution.journal import Journal, Outcome
from drupe.study.execution.local import LocalExecutor
from drupe.study.execution.scheduler import Scheduler
from drupe.study.execution.work import Work
from drupe.study.verdict.smoke_checks import smoke_checks
from study_files import checkpoint_in

STUDY = {
    "study": "small",
    "criteria": {"accuracy": 0.9, "latency_ms": 30},
    "defaults": {"model": {"architecture": "test_resnet", "pretrained": False}},
    "experiments": [
        {"id": "PLAIN"},
        {"id": "SMOOTH", "config": {"training": {"label_smoothing": 0.1}}},
        {
            "id": "LATER",
            "when": {"none_of": ["PLAIN"], "meet": "accuracy"},
            "config": {"model": {"architecture": "test_convnext"}},
        },
    ],
    "comparisons": [{"a": "SMOOTH", "b": "PLAIN"}],
}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(STUDY))
    return Work(load_study(tmp_path / "small.yaml").smoke(), tmp_path / "store", "f" * 64)


def outcomes_of(work: Work, outcome: Outcome, *only: str) -> dict[str, Outcome]:
    return {task.name: outcome for task in plan(work.study, work.store, set(only))}


def test_only_what_was_chosen_is_checked(work) -> None:
    checks = smoke_checks(work, outcomes_of(work, Outcome("done"), "PLAIN"))
    found = {check.name: check for check in checks}
    assert found["networks built and batches run"].detail == "test_resnet"
    assert found["graphs exported and gated"].passed
    assert not any("smoothed loss" in name for name in found)
    assert [check.name for check in smoke_checks(work, {})] == ["configurations parsed"]


def test_a_smoothed_pair_is_checked_though_a_checkpoint_takes_ones_place(work, tmp_path) -> None:
    baseline = {"experiment": "PLAIN", "checkpoint": checkpoint_in(tmp_path)}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**STUDY, "baseline": baseline}))
    replaced = replace(work, study=load_study(tmp_path / "small.yaml").smoke())

    checks = smoke_checks(replaced, outcomes_of(replaced, Outcome("done"), "PLAIN", "SMOOTH"))

    assert "smoothed loss differs: SMOOTH, PLAIN" in {check.name for check in checks}


def test_a_smoothed_pair_that_was_chosen_is_checked(work) -> None:
    checks = smoke_checks(work, outcomes_of(work, Outcome("done"), "PLAIN", "SMOOTH"))
    assert "smoothed loss differs: SMOOTH, PLAIN" in {check.name for check in checks}


def test_a_task_that_failed_fails_its_check(work) -> None:
    outcomes = outcomes_of(work, Outcome("done"), "PLAIN")
    outcomes["PLAIN export"] = Outcome("failed", "exit code 2")
    bad = [check for check in smoke_checks(work, outcomes) if not check.passed]
    assert ("graphs exported and gated", "PLAIN export: exit code 2") in [
        (check.name, check.detail) for check in bad
    ]


def test_what_is_not_run_by_its_condition_fails_nothing(work, monkeypatch) -> None:
    decision = ConditionDecision(False, "not run, because at least one reaches 90 %")
    monkeypatch.setattr(scheduling, "decide", lambda *given: decision)
    tasks = plan(work.study, work.store, {"LATER"})
    journal = Journal(work.folder)

    outcomes = Scheduler(
        tasks, work, LocalExecutor(devices=()), journal, lambda outcomes: None
    ).run()

    assert set(outcomes.values()) == {Outcome("skipped", decision.reason)}
    assert len(outcomes) > 3
    failed = {check.name for check in smoke_checks(work, outcomes) if not check.passed}
    assert failed <= {"images counted"}  # there is no run that has counted any
