"""What a sink is."""

from __future__ import annotations

from typing import Protocol

from drupe.errors import DrupeError
from drupe.line.station.answers import Beat, LineAnswer


class SinkError(DrupeError):
    """A sink that didn't take what it was told."""


class Sink(Protocol):
    """Takes answers. Whatever it raises says that it is dead until it could be opened again.

    Calls come one at a time. timeout_s: what it waits at most for the other side's word.
    """

    name: str
    timeout_s: float

    def probe(self) -> str:
        """Try it out, tell it nothing, and say what there is."""

    def open(self, beat: Beat) -> None:
        """Connect, and state how the line is; no answer holds."""

    def take(self, answer: LineAnswer, beat: Beat, seconds: float) -> None:
        """Return once the other side has confirmed the answer; raise within about ``seconds``."""

    def beat(self, beat: Beat) -> None:
        """State how the line is."""

    def close(self, beat: Beat | None) -> None:
        """State a last time how the line is (None: the sink is dead), and disconnect."""
