from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from drupe.errors import DrupeError
from drupe.study.definition.plan import Task
from drupe.study.execution.batch import train_all
from drupe.study.execution.executor import Ended, Job
from drupe.study.execution.scheduler import LOST_TRIES
from drupe.training.config import validate_experiment
from run_files import predictions, write_run
from study_files import FakeExecutor

CONFIG = {
    "name": "one",
    "model": {"architecture": "test_resnet", "pretrained": False},
    "input": {"size": 64},
}


def tasks(folder: Path, count: int) -> list[Task]:
    found = []
    for seed in range(count):
        config = validate_experiment(CONFIG | {"seed": seed}, "one.yaml")
        place = folder / f"run-{seed}"
        found.append(Task(f"run {seed}", "train", "one", "gpu", place, seed, config))
    return found


def finish(job: Job) -> int:
    assert job.task.config is not None
    identity = job.task.config.identity("f" * 64)
    write_run(job.task.folder, test=predictions(20, 0), identity=identity)
    return 0


def test_what_is_missing_is_trained_side_by_side(tmp_path) -> None:
    wanted = tasks(tmp_path, 4)
    finish(Job(wanted[1], (), tmp_path / "log"))
    executor = FakeExecutor(finish, slots={"gpu": 2})
    train_all(wanted, "f" * 64, tmp_path / "store", executor)
    assert executor.started == ["run 0", "run 2", "run 3"]
    assert max(map(len, executor.at_once)) == 2
    assert executor.stopped
    again = FakeExecutor(finish)
    train_all(wanted, "f" * 64, tmp_path / "store", again)
    assert (again.started, again.stopped) == ([], True)
    assert all(json.loads((task.folder / "run.json").read_text()) for task in wanted)


def test_a_killed_run_has_another_try_and_a_lost_machine_more(tmp_path) -> None:
    ends = [(-9, False), *[(1, True)] * LOST_TRIES]

    def dies(job: Job) -> int | Ended:
        if not ends:
            return finish(job)
        code, lost = ends.pop(0)
        return Ended(job.task, code, lost=lost)

    executor = FakeExecutor(dies)
    train_all(tasks(tmp_path, 1), "f" * 64, tmp_path / "store", executor)
    assert executor.started == ["run 0"] * (2 + LOST_TRIES)


@pytest.mark.parametrize(
    ("code", "lost", "tries", "words"),
    [
        (-signal.SIGKILL, False, 2, "run 0: killed by signal 9"),
        (1, True, LOST_TRIES + 1, "run 0: its machine was lost"),
        (2, False, 1, "run 0: exit code 2"),
        (0, False, 1, "run 0: exit code 0"),  # and yet no run is there
    ],
)
def test_a_run_that_keeps_failing_ends_all(tmp_path, code, lost, tries, words) -> None:
    executor = FakeExecutor(lambda job: Ended(job.task, code, lost=lost))
    with pytest.raises(DrupeError, match=f"^{words}$"):
        train_all(tasks(tmp_path, 1), "f" * 64, tmp_path / "store", executor)
    assert len(executor.started) == tries
    assert executor.stopped


def test_runs_on_several_states_of_labels_are_held_against_their_own(tmp_path) -> None:
    wanted = tasks(tmp_path, 2)
    wanted[1] = replace(wanted[1], experiment="two")
    finish(Job(wanted[0], (), tmp_path / "log"))
    finish(Job(wanted[1], (), tmp_path / "log"))
    executor = FakeExecutor(lambda job: 2)
    train_all(wanted, {"one": "f" * 64, "two": "f" * 64}, tmp_path / "store", executor)
    assert executor.started == []
    with pytest.raises(DrupeError, match="run 1: exit code 2"):
        train_all(wanted, {"one": "f" * 64, "two": "e" * 64}, tmp_path / "store", executor)
