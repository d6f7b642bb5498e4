"""The line's loop: an item is numbered, decided, and its answer told to every sink.

Whatever goes wrong on the way gives the lane ``on_fault``, never *accept*, and the loop goes on.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from drupe.deployment.runtime import LANES, Classifier
from drupe.line.log.lines import time_text
from drupe.line.station.answers import ACCEPT, Beat, LineAnswer
from drupe.line.station.clock import Clock
from drupe.line.station.configuration import LineConfig
from drupe.line.station.delivery import AnswerDelivery
from drupe.line.station.intake import Arrival, ItemIntake
from drupe.line.station.journal import LineJournal
from drupe.line.station.keeper import Keeper
from drupe.line.station.reasons import reason_of
from drupe.line.station.sinks.sink import Sink
from drupe.line.station.sources.source import ItemSource

LOOK_S = 0.1
STUCK_S = 1.0
"""Beyond the deadline, an item that is still worked on says that the loop hangs."""

NOT_RUNNING = "the line isn't running"
Fault = Callable[[], str | None]


@dataclass
class Tally:
    """What a line has done since its start."""

    lanes: Counter[str]
    late: int = 0
    faults: int = 0
    undelivered: int = 0
    interrupted: int = 0

    @property
    def items(self) -> int:
        """Items that were answered."""
        return self.lanes.total()


@dataclass(frozen=True)
class Decided:
    """What is known of an item: lane, what the classifier said, score, and what went wrong."""

    lane: str
    decided: str | None = None
    score: float | None = None
    fault: str | None = None


class Station:
    """One line. ``faults``: what else keeps it from accepting, such as an overdue challenge."""

    def __init__(
        self,
        config: LineConfig,
        classifier: Classifier,
        source: ItemSource,
        sinks: list[tuple[Sink, bool]],
        journal: LineJournal,
        clock: Clock,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        timing = config.timing
        self._classifier, self._journal, self._clock = classifier, journal, clock
        self._on_fault, self._deadline_s = config.on_fault, timing.deadline_ms / 1000
        self._piece = re.compile(config.source.piece) if config.source.piece else None
        self._faults = faults
        self._is_running = False
        self._busy_since: float | None = None
        self._journal_fault: str | None = None
        retry_s = timing.retry_ms / 1000
        keepers = [
            Keeper(
                sink,
                self._state,
                clock,
                is_required=is_required,
                heartbeat_s=timing.heartbeat_ms / 1000,
                retry_s=retry_s,
            )
            for sink, is_required in sinks
        ]
        self.delivery = AnswerDelivery(keepers, config.on_fault, clock)
        self.intake = ItemIntake(source, timing.queue, retry_s, clock, self._busy_with)
        self.tally = Tally(Counter(dict.fromkeys(LANES, 0)))

    def run(self, stop: threading.Event, most_items: int | None = None) -> None:
        """Answer items until the source ends, ``stop`` is set or ``most_items`` were answered."""
        try:
            for keeper in self.delivery.keepers:
                keeper.start()
            self._is_running = True
            self._withdraw_interrupted()
            self.intake.start()
            while not stop.is_set() and most_items != self.tally.items:
                arrival = self.intake.next(LOOK_S)
                if arrival is not None:
                    self._answer(arrival)
                elif self.intake.is_ended:
                    break
        finally:
            self._is_running = False
            self.intake.stop()
            self._answer_the_rest()
            for keeper in self.delivery.keepers:
                keeper.stop()

    def reasons(self) -> tuple[str, ...]:
        """Return why nothing is accepted now; nothing where all is well."""
        keepers = (one for one in self.delivery.keepers if one.is_required)
        found = [NOT_RUNNING] if not self._is_running else []
        found += filter(None, (keeper.fault() for keeper in keepers))
        found += filter(None, (self.intake.fault(), self._journal_fault, self._stuck()))
        return (*found, *filter(None, (fault() for fault in self._faults)))

    def to_json(self) -> dict[str, Any]:
        """Return what was done."""
        tally, intake = self.tally, self.intake
        return {
            "items": tally.items,
            **tally.lanes,
            "late": tally.late,
            "late_by": dict(self.delivery.late_by),
            "overruns": intake.overruns,
            "faults": tally.faults,
            "withdrawn": self.delivery.withdrawn,
            "undelivered": tally.undelivered,
            "interrupted": tally.interrupted,
            "source": {"source": intake.source.name, "failures": intake.failures},
            "sinks": [keeper.to_json() for keeper in self.delivery.keepers],
        }

    def _answer(self, arrival: Arrival, fault: str | None = None) -> None:
        """Number, decide and deliver one item; ``fault``: it isn't decided any more."""
        found, self._busy_since = arrival.item, self._clock.now()
        if fault is not None and found.fault is None:
            found = found._replace(image=None, fault=fault)
        number, refused = self._begin(found.name, found.stamp)
        until = min(arrival.at + self._deadline_s, found.until)
        piece, nameless = self._piece_of(found.name)
        known = self._decide(found.name, found.image, found.fault or refused)
        known = self._in_time(known, arrival.at, self._busy_since, until)
        if nameless is not None:
            known = replace(known, lane=self._safe(known.lane), fault=known.fault or nameless)
        if known.lane == ACCEPT and (reasons := self.reasons()):
            known = replace(known, lane=self._on_fault, fault=f"not valid: {reasons[0]}")
        answer = LineAnswer(
            number=number,
            item=found.name,
            lane=known.lane,
            time=time_text(self._clock.wall()),
            piece=piece,
            score=known.score,
            decided=known.decided,
            fault=known.fault,
        )
        sent = self.delivery.send(answer, until)
        self._end(number, sent.answer.lane)
        self.intake.source.done(found, sent.answer)
        self.tally.lanes[sent.answer.lane] += 1
        self.tally.faults += sent.answer.fault is not None
        self.tally.undelivered += bool(sent.missing)
        self._busy_since = None

    def _decide(self, name: str, image: Any, fault: str | None) -> Decided:
        """Decide by the one path of all: what can't be decided is a fault, and logged as one."""
        try:
            if fault is not None:
                self._classifier.watchers.refused([name], fault, self._on_fault)
                return Decided(self._on_fault, fault=fault)
            found = self._classifier.examine(image, items=[name])
            lane, why = str(found.decisions[0]), found.faults[0]
            score = None if why is not None else float(found.scores[0])
            return Decided(lane, lane, score, why)
        except Exception as error:  # whatever it is: a fault of one item, and the next is tried
            return Decided(self._on_fault, fault=fault or reason_of(error))

    def _in_time(self, known: Decided, came: float, began: float, until: float) -> Decided:
        """Return ``known``, or where it comes too late what holds instead, and who was late."""
        now = self._clock.now()
        if now < until:
            return known
        waited, took = 1000 * (began - came), 1000 * (now - began)
        who = "the queue" if waited > took else "the decision"
        self.tally.late += 1
        self.delivery.late_by[who] += 1
        fault = (
            f"late: {1000 * (now - came):.0f} ms, of which the queue {waited:.0f} and the decision "
            f"{took:.0f}"
        )
        return replace(known, lane=self._safe(known.lane), fault=known.fault or fault)

    def _safe(self, lane: str) -> str:
        return self._on_fault if lane == ACCEPT else lane

    def _piece_of(self, name: str) -> tuple[int, str | None]:
        """Return the PLC's number in an item's name, and why there is none where one must be."""
        if self._piece is None:
            return 0, None
        found = self._piece.search(name)
        try:
            number = int(found[1]) if found else 0
        except ValueError:
            number = 0
        if not 0 < number < 2**32:
            return 0, f"the name holds no piece's number as source.piece finds them: {name}"
        return number, None

    def _begin(self, name: str, stamp: int) -> tuple[int, str | None]:
        try:
            number = self._journal.begin(name, stamp)
        except OSError as error:
            self._journal_fault = f"the line's memory: {reason_of(error)}"
            return self._journal.last, self._journal_fault
        self._journal_fault = None
        return number, None

    def _end(self, number: int, lane: str) -> None:
        try:
            self._journal.end(number, lane)
        except OSError as error:  # at the next start the item is withdrawn: not accepted twice
            self._journal_fault = f"the line's memory: {reason_of(error)}"

    def _withdraw_interrupted(self) -> None:
        """Withdraw what a process that died had begun: nobody knows what became of it."""
        fault = "the process died before it was known whether the answer was taken"
        for number, item in self._journal.interrupted:
            piece, _ = self._piece_of(item)
            now = time_text(self._clock.wall())
            lane = self._on_fault
            answer = LineAnswer(number, item, lane, now, piece, fault=fault, is_withdrawal=True)
            self.delivery.send(answer, self._clock.now())
            self._end(number, lane)
            self.tally.interrupted += 1

    def _answer_the_rest(self) -> None:
        """Answer what waits and won't be there at the next start."""
        while (arrival := self.intake.next(0)) is not None:
            if not self.intake.source.keeps:
                self._answer(arrival, NOT_RUNNING)

    def _stuck(self) -> str | None:
        since = self._busy_since
        limit = self._deadline_s + STUCK_S
        if since is None or self._clock.now() - since < limit:
            return None
        return f"the line hangs, in {self._busy_with()}"

    def _busy_with(self) -> str:
        return self.delivery.busy_with or "the decision"

    def _state(self, count: int) -> Beat:
        return Beat(count, self._journal.last, self.reasons())
