"""The bounded queue between a source and the decision: what finds it full is late, and counted."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from drupe.line.station.clock import Clock
from drupe.line.station.reasons import reason_of
from drupe.line.station.sources.source import ItemSource, LineItem

MOST_WAITING = 10_000
"""Items that wait without their images; further ones hold the source up."""


@dataclass(frozen=True)
class Arrival:
    """An item in the queue; at: when it came, by the clock that only goes on."""

    item: LineItem
    at: float


class ItemIntake:
    """Takes items from a source in a thread of its own.

    ``size``: images that may wait. An item that finds so many waiting keeps its place but not its
    image, unless the source can wait; ``busy_with`` says who is slow. A source that raises an error
    is asked again after ``retry_s``.
    """

    def __init__(
        self,
        source: ItemSource,
        size: int,
        retry_s: float,
        clock: Clock,
        busy_with: Callable[[], str],
    ) -> None:
        self.source, self._size, self._retry_s = source, size, retry_s
        self._clock, self._busy_with = clock, busy_with
        self._changed = threading.Condition()
        self._waiting: deque[Arrival] = deque()
        self._images = 0
        self._stop = threading.Event()
        self._fault: str | None = None
        self._is_held_up = False
        self._sign_at = clock.now()
        self.is_ended = False
        self.overruns = self.failures = 0
        self._thread = threading.Thread(target=self._run, name="drupe-source", daemon=True)

    def start(self) -> None:
        """Begin to ask the source."""
        self._sign_at = self._clock.now()
        self._thread.start()

    def stop(self) -> None:
        """Ask for no more; what waits stays in the queue."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def next(self, seconds: float) -> Arrival | None:
        """Return the item that waits longest, waiting for one for at most ``seconds``."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(seconds)
            if not self._waiting:
                return None
            first = self._waiting.popleft()
            self._images -= first.item.image is not None
            self._changed.notify_all()
            return first

    def fault(self) -> str | None:
        """Return why the source counts as dead; None where it lives, or has come to its end."""
        if self.is_ended:
            return None
        if self._fault is not None:
            return f"{self.source.name}: {self._fault}"
        silent = self._clock.now() - self._sign_at
        limit = self.source.silent_after_s
        if limit is not None and silent > limit and not self._is_held_up:
            return f"{self.source.name}: has been silent for {silent:.1f} s"
        return None

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                for found in self.source.items(self._stop):
                    self._fault, self._sign_at = None, self._clock.now()
                    if found is not None:
                        self._put(found)
                    if self._stop.is_set():
                        return
                break
            except Exception as error:  # whatever it is: the source is dead, and asked again
                self._fault = reason_of(error)
                self.failures += 1
                self._stop.wait(self._retry_s)
        with self._changed:
            self.is_ended = True
            self._changed.notify_all()

    def _put(self, found: LineItem) -> None:
        arrival = Arrival(found, self._clock.now())
        self.overruns += found.is_overrun
        with self._changed:
            self._is_held_up = True
            self._changed.wait_for(lambda: self._has_room() or self._stop.is_set())
            self._is_held_up, self._sign_at = False, self._clock.now()
            if self._stop.is_set() and self.source.keeps:
                return
            if found.image is not None and self._images >= self._size:
                self.overruns += 1
                late = f"late: {self._images:,} images waited already, for {self._busy_with()}"
                arrival = replace(arrival, item=found._replace(image=None, fault=late))
            self._images += arrival.item.image is not None
            self._waiting.append(arrival)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        if self.source.waits:
            return self._images < self._size and len(self._waiting) < MOST_WAITING
        return len(self._waiting) < MOST_WAITING
