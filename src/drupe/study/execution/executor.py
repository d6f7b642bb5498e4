"""The contract between a scheduler and whoever runs its jobs, on this machine or on others."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drupe.study.definition.plan import Lane, Task

ENDED_IN_ORDER = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
"""The signals after which a command clears away what it has begun, and says which it was."""


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
        """True where a signal ended it, at once or in order: another try may help."""
        return self._signal is not None

    @property
    def _signal(self) -> int | None:
        """The signal that ended it: a command that is asked to end adds 128 to its number."""
        if self.exit_code < 0:
            return -self.exit_code
        asked = self.exit_code - 128
        return asked if asked in ENDED_IN_ORDER else None

    @property
    def reason(self) -> str:
        """The meaning of the exit code, in words."""
        if self.lost:
            return "its machine was lost"
        if self.was_killed:
            return f"killed by signal {self._signal}"
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
