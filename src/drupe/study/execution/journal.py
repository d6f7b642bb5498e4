"""``events.jsonl``: what happened to each task of a study, in order, whatever becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from drupe.files import naming
from drupe.runs.record import now

State = Literal["waiting", "running", "done", "failed", "skipped", "interrupted"]
JOURNAL = "events.jsonl"


class Event(BaseModel):
    """A line: at this time (UTC, ISO 8601) a task came into a state, and why."""

    at: str
    task: str
    state: State
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """The state of a task; ``reason`` says why it has no result, or how it was decided."""

    state: State
    reason: str = ""

    @property
    def is_done(self) -> bool:
        """True where its result is there."""
        return self.state == "done"

    @property
    def is_settled(self) -> bool:
        """True where nothing will change it any more."""
        return self.state in ("done", "failed", "skipped")


class Journal:
    """Appends events; a line torn by a crash is skipped when reading."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL

    def begin(self) -> None:
        """End a line that a crash has torn, so that the next one stands by itself."""
        if self.path.exists() and not self.path.read_bytes().endswith(b"\n"):
            with naming(self.path), self.path.open("ab") as lines:
                lines.write(b"\n")

    def write(self, task: str, outcome: Outcome) -> None:
        """Append what became of ``task`` now."""
        reason = outcome.reason.encode("utf-8", "backslashreplace").decode()
        event = Event(at=now(), task=task, state=outcome.state, reason=reason)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with naming(self.path), self.path.open("ab") as lines:
            lines.write(json.dumps(event.model_dump(), ensure_ascii=False).encode() + b"\n")

    def outcomes(self) -> dict[str, Outcome]:
        """Return the last state of each task that ever had one."""
        return {event.task: Outcome(event.state, event.reason) for event in self.events()}

    def events(self) -> Iterator[Event]:
        """Yield all events, oldest first."""
        if not self.path.exists():
            return
        # By "\n" alone: messages hold what else str.splitlines() takes for the end of a line.
        for line in self.path.read_bytes().split(b"\n"):
            try:
                yield Event.model_validate_json(line)
            except ValidationError:
                continue
