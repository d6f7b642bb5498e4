"""Runs of equal standing, trained side by side by an executor until all are done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from drupe.errors import DrupeError
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder
from drupe.study.definition.plan import Task
from drupe.study.execution.executor import Ended, Executor
from drupe.study.execution.scheduler import LOST_TRIES, WAIT_SECONDS
from drupe.study.execution.work import is_trained, last_lines, training_job

KILLED_TRIES = 1
"""Further tries of a run that was killed by a signal."""


def train_all(
    tasks: Sequence[Task],
    fingerprint: str | Mapping[str, str],
    store: Path,
    executor: Executor,
    *,
    weights_folder: Path | None = None,
    progress: Progress = silent,
    what: str = "train",
) -> None:
    """Train those of ``tasks`` that aren't done on the data of this ``fingerprint``.

    What was begun goes on where it was. Several fingerprints are by the tasks' experiments.

    A run that is killed, or whose machine is lost, is tried again. Any other that fails ends all,
    and so does Ctrl-C: nothing that was learnt is lost.

    Raises:
        DrupeError: a run failed, in its own words.
    """

    def is_done(task: Task) -> bool:
        if isinstance(fingerprint, str):
            return is_trained(task, fingerprint)
        return is_trained(task, fingerprint[task.experiment])

    waiting = [task for task in tasks if not is_done(task)]
    tries = {task.name: [0, 0] for task in waiting}  # killed, lost
    running = 0
    try:
        if not waiting:
            return
        with progress(what, len(waiting), "runs") as tracker:
            while waiting or running:
                while waiting and running < executor.slots("gpu"):
                    job = training_job(waiting.pop(0), store, weights_folder, executor.threads)
                    executor.start(job)
                    running += 1
                for ended in executor.ended(WAIT_SECONDS):
                    running -= 1
                    if ended.exit_code == 0 and is_done(ended.task):
                        tracker.advance()
                    else:
                        _count(ended, tries[ended.task.name])
                        waiting.append(ended.task)
    finally:
        executor.stop()


def _count(ended: Ended, tries: list[int]) -> None:
    """Count a run's end among its ``tries``; ``DrupeError`` where another is no use."""
    place, most = (1, LOST_TRIES) if ended.lost else (0, KILLED_TRIES)
    tries[place] += 1
    if not (ended.lost or ended.was_killed) or tries[place] > most:
        said = last_lines(RunFolder(ended.task.folder).log)
        raise DrupeError(f"{ended.task.name}: {ended.reason}" + (f": {said}" if said else ""))
