"""Keeps one sink alive: its heartbeat, its death and return, and what it is still owed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from drupe.line.station.answers import ACCEPT, Beat, LineAnswer
from drupe.line.station.clock import Clock
from drupe.line.station.reasons import reason_of
from drupe.line.station.sinks.sink import Sink
from drupe.notices import notice

REMEMBERED = 10_000
"""Latencies of a sink, in milliseconds, that its quantiles are of."""

MOST_OWED = 1_000

State = Callable[[int], Beat]
"""Returns how the line is, for the heartbeat of this count."""


class Keeper:
    """Has a thread of its own for each sink, so that a dead one doesn't stop the others' heartbeat.

    An accept that a sink neither confirmed nor refused may have reached it: the sink is owed its
    withdrawal, and gets it as soon as it can, before a heartbeat says that all is well.
    """

    def __init__(
        self,
        sink: Sink,
        state: State,
        clock: Clock,
        *,
        is_required: bool = True,
        heartbeat_s: float = 0.25,
        retry_s: float = 0.5,
    ) -> None:
        self.sink, self.is_required = sink, is_required
        self._state, self._clock = state, clock
        self._heartbeat_s, self._retry_s = heartbeat_s, retry_s
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._fault: str | None = "isn't open yet"
        self._owed: deque[LineAnswer] = deque(maxlen=MOST_OWED)
        self._count, self._try_at = 0, clock.now()
        self.taken = self.failed = self.deaths = 0
        self.latencies_ms: deque[float] = deque(maxlen=REMEMBERED)
        self._thread = threading.Thread(target=self._run, name="drupe-sink", daemon=True)

    def start(self) -> None:
        """Open the sink, if it can be, and begin its heartbeat."""
        self.turn()
        self._thread.start()

    def fault(self) -> str | None:
        """Return why the sink is dead; None where it lives."""
        fault = self._fault
        return None if fault is None else f"{self.sink.name}: {fault}"

    def take(self, answer: LineAnswer, seconds: float, lane_if_lost: str) -> str | None:
        """Tell the sink an answer; return why it wasn't taken, None where it was.

        lane_if_lost: of the withdrawal that it is owed where nobody knows.
        """
        started = self._clock.now()
        if self._fault is not None or not self._lock.acquire(timeout=max(seconds, 0)):
            return self._untold(answer)
        try:
            if self._fault is not None:  # since we waited
                return self._untold(answer)
            left = seconds - (self._clock.now() - started)
            try:
                self.sink.take(answer, self._beat(), max(left, 0.001))
            except Exception as error:  # each library raises types of its own
                self.failed += 1
                self._die(error)
                if answer.lane == ACCEPT or answer.is_withdrawal:
                    lost = answer.fault if answer.is_withdrawal else self._fault
                    self._owed.append(answer.instead(lane_if_lost, str(lost), is_withdrawal=True))
                return self.fault()
        finally:
            self._lock.release()
        self.taken += 1
        self.latencies_ms.append(1000 * (self._clock.now() - started))
        return None

    def turn(self) -> None:
        """Give a heartbeat, or try to open the sink where it is time to."""
        with self._lock:
            try:
                if self._fault is None:
                    self._withdraw()
                    self.sink.beat(self._beat())
                elif self._clock.now() >= self._try_at:
                    self._open()
            except Exception as error:  # as above
                self._die(error)

    def stop(self) -> None:
        """Say a last time how the line is, and let go of the sink."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2 * self.sink.timeout_s)
        if not self._lock.acquire(timeout=self.sink.timeout_s):
            return  # it hangs; the process ends anyway, and its heartbeat has
        try:
            self.sink.close(self._beat() if self._fault is None else None)
        except Exception as error:  # as above
            notice(f"{self.sink.name}: couldn't be told that the line stops ({reason_of(error)})")
        finally:
            self._lock.release()

    def to_json(self) -> dict[str, Any]:
        """Return counts and latencies."""
        p50, p99 = (
            np.percentile(self.latencies_ms, (50, 99)).round(3).tolist()
            if self.latencies_ms
            else (None, None)
        )
        return {
            "sink": self.sink.name,
            "required": self.is_required,
            "taken": self.taken,
            "failed": self.failed,
            "deaths": self.deaths,
            "p50_ms": p50,
            "p99_ms": p99,
            "fault": self._fault,
        }

    def _run(self) -> None:
        while not self._stopped.wait(self._heartbeat_s):
            self.turn()

    def _beat(self) -> Beat:
        self._count += 1
        return self._state(self._count)

    def _open(self) -> None:
        self.sink.open(self._beat())
        self._withdraw()
        if self.deaths:
            notice(f"{self.sink.name}: is back")
        self._fault = None

    def _untold(self, answer: LineAnswer) -> str:
        """Note that an answer didn't reach the sink at all; of a withdrawal the sink is owed it."""
        self.failed += 1
        if answer.is_withdrawal:
            self._owed.append(answer)
        return self.fault() or f"{self.sink.name}: is busy with its heartbeat"

    def _withdraw(self) -> None:
        """Tell the sink what it is owed."""
        while self._owed:
            self.sink.take(self._owed[0], self._beat(), self.sink.timeout_s)
            self._owed.popleft()

    def _die(self, error: Exception) -> None:
        before, reason = self._fault, reason_of(error)
        self._fault = reason
        self._try_at = self._clock.now() + self._retry_s
        self.deaths += before is None
        if before != reason:
            notice(f"{self.sink.name}: {reason}")
        try:
            self.sink.close(None)
        except Exception as failure:  # it is dead already
            notice(f"{self.sink.name}: couldn't be let go of ({reason_of(failure)})")
