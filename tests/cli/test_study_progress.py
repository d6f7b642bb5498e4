from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from drupe.cli import study_progress
from drupe.cli.study_progress import print_status
from drupe.runs.epoch_log import EpochResult, append_epoch
from drupe.study.definition.plan import plan
from drupe.study.definition.protocol import Deviation
from drupe.study.execution.journal import Outcome
from drupe.study.execution.status import task_statuses
from drupe.study.run import StudyStart
from study_files import small_study, work_on

EXPERIMENTS = [
    {"id": "BASE"},
    {"id": "EXP-002A-convnext"},
    {"id": "EXP-003A"},
    {"id": "EXP-004", "when": {"none_of": ["EXP-003A"], "meet": "accuracy"}},
]
NAN = "exit code 2: epoch 3, step 12: the loss became NaN; its last good state is that of epoch 2"
OUTCOMES = {
    "BASE seed 42": Outcome("done"),
    "EXP-002A-convnext seed 42": Outcome("running"),
    "EXP-003A seed 42": Outcome("failed", NAN),
    "EXP-004 seed 42": Outcome("skipped", "not run, because it can't be decided"),
    "BASE seed 123": Outcome("running", "changed: what it was before lies in superseded/BASE"),
}


@pytest.fixture
def start(tmp_path) -> StudyStart:
    study = small_study(
        tmp_path,
        study="phase2",
        seeds=[42, 123],
        criteria={"accuracy": 0.9},
        experiments=EXPERIMENTS,
    )
    work = work_on(study, tmp_path / "store")
    tasks = plan(study, work.store)
    (run,) = (task.folder for task in tasks if task.name == "EXP-002A-convnext seed 42")
    run.mkdir(parents=True)
    for epoch in range(12):
        append_epoch(run, EpochResult(epoch, 0.23456, 0.9712, 1e-3, images=246880, seconds=200.0))
    return StudyStart(tasks, work, [])


def all_outcomes(start: StudyStart) -> dict[str, Outcome]:
    return {task.name: OUTCOMES.get(task.name, Outcome("waiting")) for task in start.tasks}


def drawn(start: StudyStart, width: int, outcomes: dict[str, Outcome]) -> list[str]:
    """Return the lines that a terminal of ``width`` columns shows."""
    out: Any = io.StringIO()
    console = Console(
        file=out, record=True, width=width, no_color=True, force_terminal=True, highlight=False
    )
    with Live(console=console, transient=True, auto_refresh=False) as live:
        watch = study_progress._LiveTable(start, live)
        watch(outcomes)
        return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [80, 200])
def test_runs_at_work_are_a_table_below_what_has_happened(start, width) -> None:
    lines = drawn(start, width, all_outcomes(start))

    assert lines[:5] == [
        "[3 of 12] BASE seed 42: done",
        "[3 of 12] EXP-002A-convnext seed 42: running",
        f"[3 of 12] EXP-003A seed 42: failed: {NAN}",  # whole: it is what has to be mended
        "[3 of 12] EXP-004 seed 42: skipped: not run, because it can't be decided",
        "[3 of 12] BASE seed 123: running: changed: what it was before lies in superseded/BASE",
    ]
    head, columns, *rows = lines[5:]
    assert head == "phase2: 3 of 12 tasks, 1 failed, 1 skipped"
    assert columns.split() == ["epoch", "loss", "accuracy", "images/s", "left"]
    assert [" ".join(row.split()) for row in rows] == [
        "EXP-002A-convnext seed 42 12/30 0.235 97.1 % 1,234/s 1 h 00 min",
        "BASE seed 123 0/30",
    ]
    assert max(map(len, (head, columns, *rows))) <= min(width, 80)


def test_a_long_name_is_folded_and_never_cut(tmp_path, start) -> None:
    name = f"EXP-007-{'x' * 60}"
    work = work_on(small_study(tmp_path, experiments=[{"id": name}]), tmp_path / "store")
    tasks = plan(work.study, work.store)
    outcomes = {task.name: Outcome("waiting") for task in tasks}
    outcomes[f"{name} seed 1"] = Outcome("running")

    lines = drawn(StudyStart(tasks, work, []), 80, outcomes)[1:]

    assert max(map(len, lines)) <= 80
    assert "0/30" in lines[2]
    assert "".join("".join(lines[2:]).split()).replace("0/30", "") == f"{name}seed1"


def test_while_nothing_runs_there_is_no_table(start) -> None:
    lines = drawn(start, 80, {task.name: Outcome("waiting") for task in start.tasks})

    assert lines == ["phase2: 0 of 12 tasks"]


def test_without_a_terminal_each_change_is_a_line_once(start, monkeypatch, capsys) -> None:
    monkeypatch.setenv("TERM", "dumb")
    told = StudyStart(start.tasks, start.work, [Deviation(seen="now", what="seeds: [1] -> [2]")])
    outcomes = all_outcomes(start)

    with study_progress.study_watch() as on_start:
        watch = on_start(told)
        watch(outcomes)
        watch(outcomes)
        watch({**outcomes, "BASE seed 123": Outcome("waiting", "killed: to be tried again")})

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "deviation from the protocol: seeds: [1] -> [2]"
    assert len(lines) == 1 + len(OUTCOMES) + 1
    assert lines[-1] == "[3 of 12] BASE seed 123: waiting: killed: to be tried again"


@pytest.mark.parametrize("width", [80, 200])
def test_status_shows_every_run_and_why_one_has_no_result(
    start, width, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")

    print_status(task_statuses(start.tasks, all_outcomes(start)), alive=True)

    text = capsys.readouterr().out
    words = " ".join(text.split())
    assert text.startswith("3 of 12 tasks, running\n")
    for shown in (
        "EXP-002A-convnext seed 42 running 12/30 0.235 97.1 % 1,234/s 1 h 00 min",
        "BASE seed 42 done 0/30",
        "EXP-003A seed 123 waiting 0/30",
        "BASE certify waiting",
        f"EXP-003A seed 42: failed: {NAN}",
        "EXP-004 seed 42: skipped: not run, because it can't be decided",
    ):
        assert shown in words
    table = text.split("EXP-003A seed 42: failed")[0]
    assert max(map(len, table.splitlines())) <= width
