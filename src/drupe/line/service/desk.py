"""One bundle at work: a bounded number of requests, each decided in time or reviewed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from math import isnan
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drupe.deployment.capture.writer import Capture
from drupe.deployment.runtime import Classifier
from drupe.errors import DrupeError
from drupe.line.log.writer import DecisionLog
from drupe.line.service.answers import FAULT_LANE, MISTAKE, UNREADY, ImageAnswer, Verdict
from drupe.line.service.bodies import Body, Frame, Pixels
from drupe.line.service.shadow import Shadow
from drupe.line.service.turnstile import Turnstile
from drupe.line.watch.monitor import LineMonitor, OnAlarm

STUCK_SECONDS = 30.0
"""A decision that takes longer never ends: the process is to be started anew."""

UNREADY_SECONDS = 10.0
"""After a failure nothing is sent here for so long, and then it is tried again."""


class UndecidedError(Exception):
    """A request that was not decided; ``code`` is the HTTP code that says so.

    ``is_new``: no watcher was told yet.
    """

    def __init__(self, code: int, reason: str, *, is_new: bool = True) -> None:
        self.code, self.reason, self.is_new = code, reason, is_new
        super().__init__(reason)


class Attached(NamedTuple):
    """What watches one bundle alone, while it is in force."""

    monitor: LineMonitor
    capture: Capture | None = None

    @property
    def both(self) -> tuple[LineMonitor | Capture, ...]:
        """The one or two that there are."""
        return (self.monitor,) if self.capture is None else (self.monitor, self.capture)

    def detach(self, classifier: Classifier) -> None:
        """Watch no more, and keep what was seen."""
        for one in self.both:
            classifier.watchers.remove(one)
            one.close()


class Desk:
    """Decides for ``name`` by the bundle in force, with ``workers`` threads.

    ``places``: requests that may be here at once, from their first byte to their answer; ``log``:
    the folder of a decision log; ``states``: the folder of a monitor's states; ``pictures``: where
    a capture keeps pictures, each bundle's in a folder of its own.

    Raises:
        InputError: a log or a state that can't be taken up.
    """

    def __init__(
        self,
        name: str,
        classifier: Classifier,
        *,
        workers: int,
        places: int,
        log: Path | None = None,
        log_key: Path | None = None,
        states: Path | None = None,
        pictures: Path | None = None,
        on_alarm: OnAlarm | None = None,
    ) -> None:
        self.name, self.places = name, places
        self.taken = 0
        self._failed_at: float | None = None
        self._classifier = classifier
        self._states, self._pictures, self._on_alarm = states, pictures, on_alarm
        self.shadow: Shadow | None = None
        self.turnstile = Turnstile()
        self._log = None if log is None else DecisionLog(classifier, log, key=log_key)
        try:
            self._attached = self._attach(classifier)
        except BaseException:
            if self._log:
                self._log.close()
            raise
        self._begun: dict[object, float] = {}
        self._pool = ThreadPoolExecutor(workers, f"drupe-{name}")

    @property
    def classifier(self) -> Classifier:
        """The bundle in force."""
        return self._classifier

    @property
    def monitor(self) -> LineMonitor:
        """What counts the decisions of the bundle in force."""
        return self._attached.monitor

    @property
    def by(self) -> dict[str, str]:
        """Who decides, as each answer says it."""
        return {"bundle": self._classifier.digest, "function": self._classifier.function.name}

    @property
    def is_stuck(self) -> bool:
        """True where a decision doesn't end."""
        now = time.perf_counter()
        return any(now - begun > STUCK_SECONDS for begun in list(self._begun.values()))

    @property
    def is_ready(self) -> bool:
        """False for some seconds after a decision that could not be made, or not be logged."""
        failed = self._failed_at
        return failed is None or time.perf_counter() - failed > UNREADY_SECONDS

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place for a request.

        Raises:
            UndecidedError: all are taken.
        """
        if self.taken >= self.places:
            raise UndecidedError(UNREADY, f"all {self.places:,} places are taken: too many at once")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def decide(self, body: Body, until: float) -> Verdict:
        """Return what the bundle says of all images, before ``until`` by the loop's clock.

        Whoever is told that it took too long goes to review, also where a decision was logged just
        then: a later line of the log says so.

        Raises:
            TimeoutError: it takes longer.
            UndecidedError: it can't be decided, or not be logged.
        """
        loop = asyncio.get_running_loop()
        pending = self._pool.submit(self._decide, body)
        try:
            async with asyncio.timeout_at(until):
                verdict = await asyncio.wrap_future(pending)
            if loop.time() > until:  # the loop was too busy to look at its clock
                raise TimeoutError
            return verdict
        except (TimeoutError, asyncio.CancelledError):
            pending.cancel()  # where it wasn't begun
            pending.add_done_callback(lambda _: self.refuse(_names(body.frames), "answered late"))
            raise

    def refuse(self, items: Sequence[str], reason: str) -> None:
        """Have watchers know that images go to review undecided."""
        for one in self._attached.both:
            one.refused(items, reason, FAULT_LANE)
        if self._log:
            with suppress(DrupeError):  # it can't be written: the answer is review anyway
                self._log.refused(items, reason, FAULT_LANE)

    def change(self, classifier: Classifier) -> None:
        """Put ``classifier`` in force between two decisions, with log and monitor.

        Raises:
            DrupeError: nothing was changed, and why.
        """
        with self.turnstile.alone():
            attached = self._attach(classifier)
            try:
                if self._log:
                    self._log.follow(classifier)
            except BaseException:
                attached.detach(classifier)
                raise
            before, self._attached = (self._classifier, self._attached), attached
            self._classifier = classifier
        before[1].detach(before[0])

    def close(self) -> None:
        """Decide what was begun, and let go of log and monitor."""
        self._pool.shutdown()
        if self.shadow:
            self.shadow.stop()
        self._attached.detach(self._classifier)
        if self._log:
            self._log.close()

    def _attach(self, classifier: Classifier) -> Attached:
        digest = classifier.digest[:16]
        state = self._states and self._states / f"{self.name}-{digest}.json"
        attached = Attached(LineMonitor(classifier, state, on_alarm=self._on_alarm))
        if self._pictures is None:
            return attached
        try:
            return attached._replace(capture=Capture(classifier, self._pictures / digest))
        except BaseException:
            attached.detach(classifier)
            raise

    def _decide(self, body: Body) -> Verdict:
        with self.turnstile.among_others():
            begun = object()
            self._begun[begun] = time.perf_counter()
            try:
                verdict = self._decided(body)
                self._failed_at = None
                return verdict
            except DrupeError as error:  # a log that can't be written, a graph without a score
                self._failed_at = time.perf_counter()
                raise UndecidedError(UNREADY, str(error), is_new=False) from None
            except Exception as error:
                self._failed_at = time.perf_counter()
                self.refuse(_names(body.frames), f"{type(error).__name__}: {error}")
                raise UndecidedError(MISTAKE, "a mistake in the service", is_new=False) from error
            finally:
                del self._begun[begun]

    def _decided(self, body: Body) -> Verdict:
        """Decode the images of a request, decide those that can be read, and have them compared."""
        classifier, contract = self._classifier, self._classifier.manifest.input.contract
        read = [(frame.item, frame.pixels(contract)) for frame in body.frames]
        for item, content in read:
            if isinstance(content, str):
                classifier.watchers.refused([item], content, FAULT_LANE)
        ready = {
            place: content
            for place, (_, content) in enumerate(read)
            if not isinstance(content, str)
        }
        decided = self._examined(ready, [item for item, _ in read]) if ready else {}
        answers = [
            decided.get(place)
            or ImageAnswer(item, FAULT_LANE, fault=str(content), is_decided=False)
            for place, (item, content) in enumerate(read)
        ]
        return Verdict(answers, self.by, body.is_batch)

    def _examined(self, ready: dict[int, Pixels], items: Sequence[str]) -> dict[int, ImageAnswer]:
        """Return the answers to the images of a request that could be read, by their place."""
        batch = np.stack(list(ready.values()))
        found = self._classifier.examine_ready(batch, [items[place] for place in ready])
        if (shadow := self.shadow) is not None:  # once: it may be withdrawn meanwhile
            shadow.offer(batch, found.decisions)
        types = [None] * len(batch) if found.types is None else found.types.tolist()
        rows = zip(
            ready,
            found.scores.tolist(),
            found.decisions.tolist(),
            found.faults,
            types,
            found.told_p_values(),
            strict=True,
        )
        return {
            place: ImageAnswer(
                items[place], lane, None if isnan(score) else score, fault, of_type, p_value
            )
            for place, score, lane, fault, of_type, p_value in rows
        }


def _names(frames: Sequence[Frame]) -> list[str]:
    return [frame.item for frame in frames]
