"""What a scheduler asks of whoever runs its tasks, on this machine or on others."""

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
    """How a job ended; ``exit_code`` is negative for a signal, as in :mod:`subprocess`.

    ``lost``: it didn't fail, its machine did.
    """

    task: Task
    exit_code: int
    lost: bool = False

    @property
    def was_killed(self) -> bool:
        """Whether it had no chance to say anything: trying again may help."""
        return self.exit_code < 0

    @property
    def reason(self) -> str:
        """What the exit code says."""
        if self.lost:
            return "its machine was lost"
        if self.was_killed:
            return f"killed by signal {-self.exit_code}"
        return f"exit code {self.exit_code}"


class Executor(Protocol):
    """Runs jobs side by side. Used from one thread."""

    def slots(self, lane: Lane) -> int:
        """Return how many jobs of ``lane`` may run at once."""

    def start(self, job: Job) -> None:
        """Start a job; a slot of its lane is free."""

    def ended(self, seconds: float) -> Sequence[Ended]:
        """Return the jobs that have ended since the last call, waiting ``seconds`` at most."""

    def stop(self) -> None:
        """End what runs, cleanly where it can, and return when nothing runs any more."""
