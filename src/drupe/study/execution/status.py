"""The progress of each run of a study, read from its files, from any terminal, at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from drupe.locks import is_held
from drupe.runs.epoch_log import finished_epochs
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record
from drupe.study.definition.plan import Task
from drupe.study.execution.journal import Journal, Outcome, State


@dataclass(frozen=True)
class TaskStatus:
    """One row: ``loss`` and ``accuracy`` of the last epoch, on augmented training crops.

    ``seconds_left`` assumes that further epochs take as long as those so far.
    """

    task: str
    kind: str
    state: State
    reason: str = ""
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


def task_statuses(tasks: Sequence[Task], outcomes: Mapping[str, Outcome]) -> tuple[TaskStatus, ...]:
    """Return a row for each task, in order, from its outcome so far and its run directory."""
    return tuple(_status(task, outcomes.get(task.name, Outcome("waiting"))) for task in tasks)


def outcomes_from_files(tasks: Sequence[Task], folder: Path) -> dict[str, Outcome]:
    """Return what became of each task by the journal; who claims to run must be alive."""
    found = Journal(folder).outcomes()
    alive = is_running(folder)
    for task in tasks:
        outcome = found.get(task.name)
        if _has_finished(task):
            found[task.name] = Outcome("done", outcome.reason if outcome else "")
        elif outcome is not None and outcome.state == "running" and not alive:
            found[task.name] = Outcome("interrupted", "the study ended while it ran")
    return found


def _has_finished(task: Task) -> bool:
    """Return whether the task's run is there, whatever the journal says, on any data."""
    record = read_record(task.folder) if task.config else None
    if record is None or task.config is None or record.status != "done":
        return False
    return record.identity == task.config.identity(record.data.fingerprint)


def is_running(folder: Path) -> bool:
    """Return whether a process works on the study now."""
    return is_held(RunFolder(folder).lock)


def _status(task: Task, outcome: Outcome) -> TaskStatus:
    epochs = task.config.training.epochs if task.config else None
    lines = list(finished_epochs(task.folder)) if task.config else []
    row = TaskStatus(task.name, task.kind, outcome.state, outcome.reason, epochs=epochs)
    if not lines:
        return row
    last = lines[-1]
    seconds = [line.seconds for line in lines]
    left = None
    if outcome.state == "running" and epochs is not None:
        left = (epochs - len(lines)) * sum(seconds) / len(seconds)
    return TaskStatus(
        task.name,
        task.kind,
        outcome.state,
        outcome.reason,
        epoch=len(lines),
        epochs=epochs,
        loss=last.loss,
        accuracy=last.accuracy,
        images_per_second=last.images_per_second,
        seconds_left=left,
    )
