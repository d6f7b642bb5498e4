"""Runs tasks one after another on this machine, each in a process of its own.

A run that dies (killed, out of memory, diverged) fails alone, and what it held is freed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from drupe.files import write_text
from drupe.study.plan import Task


@dataclass(frozen=True)
class TaskResult:
    """How a task's process ended; ``exit_code`` is negative for a signal, as in subprocess."""

    task: Task
    exit_code: int

    @property
    def failed(self) -> bool:
        """Whether the run has no result."""
        return self.exit_code != 0

    @property
    def reason(self) -> str:
        """What the exit code says."""
        if self.exit_code < 0:
            return f"killed by signal {-self.exit_code}"
        return f"exit code {self.exit_code}, its message stands above"


def run_sequentially(
    tasks: Sequence[Task],
    store: Path,
    announce: Callable[[Task, int, int], None],
    weights_folder: Path | None = None,
) -> list[TaskResult]:
    """Run each task with ``drupe train --resume``; its progress goes to this process's stderr."""
    results = []
    for number, task in enumerate(tasks, start=1):
        announce(task, number, len(tasks))
        results.append(TaskResult(task, _run(task, store, weights_folder)))
    return results


def _run(task: Task, store: Path, weights_folder: Path | None) -> int:
    # Beside the run directories: a run directory holds nothing that its own run did not write.
    file = task.folder.parent / f"{task.folder.name}.yaml"
    document = task.config.model_dump(mode="json")
    write_text(file, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    command = [sys.executable, "-m", "drupe", "train", str(file), "--resume"]
    command += ["--out", str(task.folder), "--store", str(store)]
    command += ["--weights", str(weights_folder)] if weights_folder else []
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.wait()  # the terminal has sent it the same signal; let it write its record
        raise
