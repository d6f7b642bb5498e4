"""An answer on its way: the sinks are told one after another, and an accept needs all of them.

Where a required sink doesn't take an accept, those told before it are told that it no longer holds,
and those behind it never hear of it. So the sink that moves the flap stands last in the YAML: what
it is told, all others have taken. Of two sinks that both act, the first can act too soon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from drupe.line.station.answers import ACCEPT, LineAnswer
from drupe.line.station.clock import Clock
from drupe.line.station.keeper import Keeper


@dataclass(frozen=True)
class Sent:
    """What went out at last: the answer, and which required sinks didn't take it."""

    answer: LineAnswer
    missing: tuple[str, ...]


class AnswerDelivery:
    """Tells sinks; ``busy_with`` names the one that is being told."""

    def __init__(self, keepers: Sequence[Keeper], on_fault: str, clock: Clock) -> None:
        self.keepers = tuple(keepers)
        self._on_fault, self._clock = on_fault, clock
        self.busy_with: str | None = None
        self.withdrawn = 0
        self.late_by: Counter[str] = Counter()

    def send(self, answer: LineAnswer, until: float) -> Sent:
        """Tell all sinks; an accept must be taken by the time ``until``."""
        told: list[Keeper] = []
        missing: list[str] = []
        try:
            for keeper in self.keepers:
                self.busy_with = keeper.sink.name
                if answer.lane == ACCEPT and self._clock.now() >= until:
                    slow = told[-1].sink.name if told else "the decision"
                    self.late_by[slow] += 1
                    answer = self._withdraw(answer, f"late: {slow} took too long", told)
                fault = self._tell(keeper, answer, until)
                if fault is None:
                    told.append(keeper)
                elif keeper.is_required:
                    missing.append(keeper.sink.name)
                    if answer.lane == ACCEPT:
                        answer = self._withdraw(answer, f"not taken by {fault}", told)
        finally:
            self.busy_with = None
        return Sent(answer, tuple(missing))

    def _tell(self, keeper: Keeper, answer: LineAnswer, until: float) -> str | None:
        seconds = keeper.sink.timeout_s
        if answer.lane == ACCEPT:
            seconds = min(seconds, until - self._clock.now())
        return keeper.take(answer, seconds, self._on_fault)

    def _withdraw(self, answer: LineAnswer, fault: str, told: Sequence[Keeper]) -> LineAnswer:
        """Return the answer that holds instead of an accept, once all that took it were told."""
        self.withdrawn += bool(told)
        withdrawal = answer.instead(self._on_fault, fault, is_withdrawal=True)
        for keeper in told:
            self._tell(keeper, withdrawal, 0.0)
        return answer.instead(self._on_fault, fault)
