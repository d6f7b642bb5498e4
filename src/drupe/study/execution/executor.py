"""The contract between a scheduler and whoever runs its jobs, on this machine or on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drupe.study.definition.plan import Lane, Task


@dataclass(frozen=True)
class Job:
    """A task as a command: ``drupe WORDS…``.

    ``log`` receives what it says on stderr, ``answer`` (if any) the JSON that it prints.
    """

    task: Task
    words: tuple[str, ...]
    log: Path
    answer: Path | None = None


@dataclass(frozen=True)
class Ended:
    """The end of a job; ``exit_code`` is negative for a signal, as in :mod:`subprocess`.

    ``lost``: not the job failed but its machine.
    """

    task: Task
    exit_code: int
    lost: bool = False

    @property
    def was_killed(self) -> bool:
        """True where a signal ended it: it could say nothing, and another try may help."""
        return self.exit_code < 0

    @property
    def reason(self) -> str:
        """The meaning of the exit code, in words."""
        if self.lost:
            return "its machine was lost"
        if self.was_killed:
            return f"killed by signal {-self.exit_code}"
        return f"exit code {self.exit_code}"


class Executor(Protocol):
    """Runs jobs side by side. Used from one thread."""

    @property
    def threads(self) -> int:
        """CPU threads of a training run: what each gets of those that run at once."""

    def slots(self, lane: Lane) -> int:
        """Return how many jobs of ``lane`` may run at once."""

    def start(self, job: Job) -> None:
        """Start a job; a slot of its lane is free."""

    def ended(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended since the last call, waiting ``seconds`` at most."""

    def stop(self) -> None:
        """End what runs, cleanly where it can, and return when nothing runs any more."""
