"""A monitor of the line: counters, drift, recall and alarms, for a year and over restarts."""

from __future__ import annotations

import bisect
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.closing import Closing
from drupe.data.image_contract import RawPixel
from drupe.deployment.runtime import Classifier
from drupe.deployment.watcher import Examined
from drupe.errors import DrupeError, InputError
from drupe.files import read_json, write_json
from drupe.line.watch.drift import DriftWatch, Intervals
from drupe.line.watch.recall import RecallWatch
from drupe.periodic import Periodic

SCHEMA_VERSION = 1
LOOK_SECONDS = 1.0
SAVE_SECONDS = 60.0
NO_LANE = "none"
LATENCIES_MS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)
"""Upper ends of the latency's counts, in milliseconds; what is above them is counted too."""

OnAlarm = Callable[[str, str], None]


class LineMonitor(Closing):
    """Watches what ``classifier`` decides from now on; looks at it every second.

    ``state``: a file that is written every minute and at the end, atomically, and taken up again
    after a restart. ``on_alarm`` is called once an alarm, with its kind (``drift``, ``recall``,
    ``monitor``: the state can't be written) and a sentence, in a thread of the monitor's own;
    :meth:`acknowledge` arms it anew. ``clock``: seconds since 1970.

    Raises:
        InputError: the state is of another bundle, or damaged.
    """

    def __init__(
        self,
        classifier: Classifier,
        state: str | Path | None = None,
        *,
        on_alarm: OnAlarm | None = None,
        look_seconds: float = LOOK_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = None if state is None else Path(state).absolute()
        self._on_alarm, self._clock = on_alarm, clock
        self._source = {"bundle": classifier.digest, "function": classifier.function.name}
        self._mutex = threading.Lock()
        self.lanes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.latency = [0] * (len(LATENCIES_MS) + 1)
        self.latency_sum_s = 0.0
        self.alarms: dict[str, str] = {}
        self._waiting: list[NDArray[np.float32]] = []
        self._hour, self._saved_at = -1, clock()
        certificate = classifier.function.certificate or {}
        self._min_recall = certificate.get("min_recall")
        self._intervals = Intervals.of(classifier.calibration) if classifier.calibration else None
        self._arm()
        if self._state is not None and self._state.exists():
            self._restore(self._state)
        self._timer = Periodic(look_seconds, self.look)
        classifier.watch(self)

    def _arm(self) -> None:
        self.recall = RecallWatch(self._min_recall)
        self.drift = DriftWatch(self._intervals) if self._intervals else None

    def saw(
        self,
        batch: NDArray[RawPixel],
        found: Examined,
        items: Sequence[str] | None,
        seconds: float,
    ) -> None:
        """Count N decisions; see :class:`drupe.deployment.watcher.Watcher`."""
        faults = [fault for fault in found.faults if fault is not None]
        with self._mutex:
            self.lanes.update(found.decisions.tolist())
            self.faults.update(faults)
            self._waiting.append(found.scores)
            self.latency[bisect.bisect_left(LATENCIES_MS, 1000 * seconds)] += 1
            self.latency_sum_s += seconds

    def refused(self, items: Sequence[str] | None, reason: str, lane: str | None) -> None:
        """Count images without a score."""
        with self._mutex:
            count = 1 if items is None else len(items)
            self.lanes[lane or NO_LANE] += count
            self.faults["unreadable or refused"] += count

    def label(self, decision: str, is_defect: bool) -> None:
        """Take note of a person's judgement of an item that was decided.

        Recall is about defects that the network didn't choose: label all of some time, or marked
        pieces, never the rejected items alone.
        """
        if is_defect:
            with self._mutex:
                self.recall.see(decision == "accept")

    def look(self) -> None:
        """Take in what was decided since the last look; alarm, and save, where it is time."""
        with self._mutex:
            now = self._clock()
            if (hour := int(now // 3600)) > self._hour:
                self._hour = hour
                self.recall.begin_hour()
                if self.drift:
                    self.drift.begin_hour()
            waiting, self._waiting = self._waiting, []
            if waiting and self.drift:
                scores = np.concatenate(waiting)
                scores = scores[~np.isnan(scores)]
                if len(scores):
                    self.drift.see(scores)
            found = {"drift": self.drift and self.drift.alarm, "recall": self.recall.alarm}
            is_late = now - self._saved_at >= SAVE_SECONDS
        for kind, alarm in found.items():
            if alarm:
                self._alarm(kind, str(alarm))
        if is_late:
            self.save()

    def save(self) -> None:
        """Write the state, atomically; where it can't be, that is an alarm."""
        if self._state is None:
            return
        with self._mutex:
            document, self._saved_at = self._document(), self._clock()
        try:
            write_json(self._state, document)
        except OSError as error:
            self._alarm("monitor", f"{self._state}: can't be written ({error.strerror})")

    def acknowledge(self) -> None:
        """Take alarms as dealt with: their evidence is forgotten, and watching begins anew."""
        with self._mutex:
            self.alarms, self._waiting, self._hour = {}, [], -1
            self._arm()

    def close(self) -> None:
        """Look and save a last time."""
        self._timer.stop()
        self.look()
        self.save()

    def _alarm(self, kind: str, what: str) -> None:
        with self._mutex:
            is_new = kind not in self.alarms
            self.alarms.setdefault(kind, what)
        if is_new and self._on_alarm:
            self._on_alarm(kind, what)

    def snapshot(self) -> dict[str, Any]:
        """Return all that is known, of one moment, which is also what the state's file holds."""
        with self._mutex:
            return self._document()

    def _document(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            **self._source,
            "lanes": dict(self.lanes),
            "faults": dict(self.faults),
            "latency_counts": list(self.latency),
            "latency_sum_s": self.latency_sum_s,
            "hour": self._hour,
            "drift": self.drift and self.drift.to_json(),
            "recall": self.recall.to_json(),
            "alarms": dict(self.alarms),
        }

    def _restore(self, path: Path) -> None:
        document = read_json(path)
        if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
            raise InputError(f"{path}: must be the state of a monitor, as this Drupe writes it")
        for name, here in self._source.items():
            if document.get(name) != here:
                raise InputError(
                    f"{path}: {name}: the state of another one, {document.get(name)!r}, got "
                    f"{here!r}: name a new file, or move this one away"
                )
        try:
            self.lanes, self.faults = Counter(document["lanes"]), Counter(document["faults"])
            counts = [int(one) for one in document["latency_counts"]]
            if len(counts) != len(self.latency):
                raise ValueError("latency_counts")
            self.latency, self.latency_sum_s = counts, float(document["latency_sum_s"])
            self._hour, self.alarms = int(document["hour"]), dict(document["alarms"])
            self.recall.restore(document["recall"], str(path))
            if self.drift:
                self.drift.restore(document["drift"], str(path))
        except DrupeError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: damaged ({type(error).__name__}: {error})") from None
