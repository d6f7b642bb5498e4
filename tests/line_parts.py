"""Stand-ins for what surrounds a line: sinks that can die, sources of a list, a clock to be set."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from drupe.line.station.answers import Beat, LineAnswer
from drupe.line.station.clock import Clock
from drupe.line.station.configuration import LineConfig
from drupe.line.station.journal import LineJournal
from drupe.line.station.sinks.sink import SinkError
from drupe.line.station.sources.source import LineItem, Unremembered
from drupe.line.station.station import Station
from line_servers import MOSQUITTO
from line_stand_in import images, stand_in

ACCEPTED, REJECTED = 0.1, 0.9


def needs(kind: str) -> None:
    """Skip where a part is missing."""
    if kind == "mqtt":
        if MOSQUITTO is None:
            pytest.skip("mosquitto not found: apt install mosquitto")
        pytest.importorskip("paho.mqtt", reason="needs drupe[mqtt]")
    elif kind == "modbus":
        pytest.importorskip("pymodbus", reason="needs drupe[modbus]")
    else:
        pytest.importorskip("asyncua", reason="needs drupe[opcua]")


class Hands:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 1000.0

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, wall=lambda: 1_795_000_000 + self.at)


class ToldSink:
    """Notes what it is told; raises ``fault`` while there is one, after noting where ``heard``."""

    def __init__(self, name: str = "told", timeout_s: float = 0.2) -> None:
        self.name, self.timeout_s = name, timeout_s
        self.answers: list[LineAnswer] = []
        self.beats: list[Beat] = []
        self.opened = self.closed = 0
        self.fault: str | None = None
        self.heard = False
        self.slow = lambda: None

    def probe(self) -> str:
        self._fail()
        return "is there"

    def open(self, beat: Beat) -> None:
        self._fail()
        self.opened += 1
        self.beats.append(beat)

    def take(self, answer: LineAnswer, beat: Beat, seconds: float) -> None:
        self.slow()
        if self.heard:
            self.answers.append(answer)
        self._fail()
        if not self.heard:
            self.answers.append(answer)

    def beat(self, beat: Beat) -> None:
        self._fail()
        self.beats.append(beat)

    def close(self, beat: Beat | None) -> None:
        self.closed += 1
        if beat is not None:
            self.beats.append(beat)

    def _fail(self) -> None:
        if self.fault is not None:
            raise SinkError(self.fault)

    @property
    def lanes(self) -> list[str]:
        return [one.lane for one in self.answers]


class ListSource(Unremembered):
    """Gives the items of a list, then ends."""

    name, waits, order, silent_after_s = "list", True, None, None

    def __init__(self, items: list[LineItem]) -> None:
        self.given = items

    def probe(self) -> str:
        return f"{len(self.given)} items"

    def items(self, stop: threading.Event):
        yield None
        yield from self.given


def found(*scores: float) -> list[LineItem]:
    """Return an item per score, ``piece-1`` and so on."""
    return [LineItem(f"piece-{n}", images(score)[0]) for n, score in enumerate(scores, 1)]


def line_config(folder: Path, **changes: Any) -> LineConfig:
    """Return a line's configuration; its source and sinks are replaced by stand-ins."""
    document: dict[str, Any] = {
        "bundle": "none",
        "state": str(folder / "state"),
        "source": {"generator": {"function": "a:b"}},
        "sinks": [{"jsonl": {"path": str(folder / "answers.jsonl")}}],
        "timing": {"heartbeat_ms": 10, "retry_ms": 20},
    }
    return LineConfig.model_validate({**document, **changes})


def station(
    folder: Path, origin: Any, *sinks: ToldSink, clock: Clock | None = None, **options: Any
) -> Station:
    """Return a line of stand-ins; ``optional``: sinks that aren't required."""
    optional, faults = options.pop("optional", ()), options.pop("faults", ())
    classifier = options.pop("classifier", None) or stand_in()
    config = line_config(folder, **options)
    journal = LineJournal(config.state, remembers=origin.keeps)
    pairs = [(sink, sink not in optional) for sink in sinks]
    return Station(config, classifier, origin, pairs, journal, clock or Clock(), faults)


def wait_for(true: Any, seconds: float = 10.0) -> None:
    """Wait until ``true()`` is."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.005)
