from __future__ import annotations

import pytest
from filelock import FileLock

from drupe.runs.epoch_log import EpochResult, append_epoch
from drupe.study.definition.plan import plan
from drupe.study.execution.journal import Journal, Outcome
from drupe.study.execution.status import is_running, outcomes_from_files, task_statuses
from study_files import finish, small_study, work_on


@pytest.fixture
def work(tmp_path):
    return work_on(small_study(tmp_path), tmp_path / "store")


@pytest.fixture
def tasks(work):
    return {task.name: task for task in plan(work.study, work.store)}


def states(work, tasks) -> dict[str, str]:
    found = outcomes_from_files(list(tasks.values()), work.folder)
    return {name: outcome.state for name, outcome in found.items()}


def test_who_claims_to_run_must_be_alive(work, tasks) -> None:
    journal = Journal(work.folder)
    journal.write("A seed 1", Outcome("running"))
    journal.write("B seed 1", Outcome("failed", "exit code 2"))
    assert not is_running(work.folder)
    assert states(work, tasks) == {"A seed 1": "interrupted", "B seed 1": "failed"}

    with FileLock(work.folder / ".lock"):
        assert is_running(work.folder)
        assert states(work, tasks)["A seed 1"] == "running"

    # A lock whose holder has died is left behind, and free.
    (work.folder / ".lock").touch()
    assert states(work, tasks)["A seed 1"] == "interrupted"


def test_a_run_that_finished_before_the_journal_heard_of_it_is_done(work, tasks) -> None:
    Journal(work.folder).write("A seed 1", Outcome("running"))
    finish(tasks["A seed 1"])

    assert states(work, tasks)["A seed 1"] == "done"


def test_the_run_of_another_configuration_is_not(tmp_path, work, tasks) -> None:
    finish(tasks["A seed 1"])
    other = small_study(tmp_path, experiments=[{"id": "A", "config": {"training": {"epochs": 7}}}])

    assert outcomes_from_files(plan(other, work.store), work.folder) == {}


def test_a_row_shows_how_far_its_run_is(work, tasks) -> None:
    folder = tasks["A seed 1"].folder
    folder.mkdir(parents=True)
    append_epoch(folder, EpochResult(0, 0.7, 0.6, 1e-3, images=400, seconds=4.0))
    append_epoch(folder, EpochResult(1, 0.5, 0.6, 1e-3, images=400, seconds=2.0))
    with (folder / "metrics.jsonl").open("a") as half:
        half.write('{"epoch": 2, "lo')

    first, second, *_ = task_statuses(list(tasks.values()), {"A seed 1": Outcome("running")})

    assert (first.epoch, first.epochs, first.loss, first.accuracy) == (2, 30, 0.5, 0.6)
    assert first.seconds_left == 28 * 3
    assert first.images_per_second == 200
    assert (second.state, second.epoch, second.seconds_left) == ("waiting", None, None)
    (done, *_) = task_statuses(list(tasks.values()), {"A seed 1": Outcome("interrupted")})
    assert done.seconds_left is None
