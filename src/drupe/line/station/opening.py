"""A line from its configuration: bundle, source, sinks, memory and watchers, opened together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from drupe.data.image_contract import Channels
from drupe.deployment.capture.writer import Capture
from drupe.deployment.manifest import read_manifest
from drupe.deployment.runtime import Classifier, load
from drupe.errors import MissingExtraError
from drupe.line.log.writer import DecisionLog
from drupe.line.station.clock import Clock
from drupe.line.station.configuration import HttpSettings, LineConfig, SinkSettings
from drupe.line.station.journal import LineJournal
from drupe.line.station.passed_challenge import PassedChallenge
from drupe.line.station.reasons import reason_of
from drupe.line.station.sinks.files import CsvSink, JsonlSink
from drupe.line.station.sinks.modbus import ModbusSink
from drupe.line.station.sinks.mqtt import MqttSink
from drupe.line.station.sinks.opcua import OpcuaSink
from drupe.line.station.sinks.sink import Sink
from drupe.line.station.sources.folder import FolderSource
from drupe.line.station.sources.generator import GeneratorSource
from drupe.line.station.sources.source import ItemSource
from drupe.line.station.sources.video import VideoSource
from drupe.line.station.station import Station
from drupe.line.watch.monitor import LineMonitor
from drupe.notices import notice


def open_source(config: LineConfig, clock: Clock, journal: LineJournal | None = None) -> ItemSource:
    """Return the source; ``journal`` knows what was decided before.

    Raises:
        InputError: no such folder, module or function.
        ModuleNotFoundError: an extra that isn't installed.
    """
    settings = config.source
    started = datetime.fromtimestamp(clock.wall(), UTC).strftime("%Y%m%dT%H%M%S")
    if settings.folder is not None:
        known, forget = (journal.decided, journal.forget) if journal else (None, None)
        return FolderSource(settings.folder, clock.now, known, forget)
    if settings.video is not None:
        return VideoSource(settings.video, started)
    if settings.http is not None:
        return _http_source(settings.http, config, clock, started)
    assert settings.generator is not None
    return GeneratorSource(settings.generator, started)


def _http_source(
    settings: HttpSettings, config: LineConfig, clock: Clock, started: str
) -> ItemSource:
    try:
        from drupe.line.station.sources.http import HttpSource
    except ModuleNotFoundError as error:
        raise MissingExtraError("source.http", "serve", str(error.name)) from error
    contract = read_manifest(config.bundle).input.contract
    return HttpSource(settings, contract, config.timing, config.on_fault, started, clock.now)


def make_sink(settings: SinkSettings, config: LineConfig, clock: Clock) -> Sink:
    """Return a sink that isn't open yet.

    Raises:
        ModuleNotFoundError: an extra that isn't installed.
    """
    if settings.jsonl is not None:
        return JsonlSink(settings.jsonl.path)
    if settings.csv is not None:
        return CsvSink(settings.csv.path)
    if settings.mqtt is not None:
        return MqttSink(settings.mqtt, config.timing.deadline_ms / 1000)
    if settings.modbus is not None:
        return ModbusSink(settings.modbus, clock.now)
    assert settings.opcua is not None
    return OpcuaSink(settings.opcua)


def open_bundle(config: LineConfig, source: ItemSource) -> Classifier:
    """Return the classifier, told the order of the source's arrays."""
    return _load(config, source.order, config.threads)


def _load(config: LineConfig, order: Channels | None, threads: int | None) -> Classifier:
    return load(
        config.bundle,
        order=order,
        backend=config.backend,
        precision=config.precision,
        threads=threads,
        uncertified=config.uncertified,
    )


def run_line(
    config: LineConfig,
    stop: threading.Event,
    *,
    most_items: int | None = None,
    began: Callable[[Station], None] = lambda station: None,
    clock: Clock | None = None,
    opened: Callable[[LineConfig, ItemSource], Classifier] = open_bundle,
) -> dict[str, Any]:
    """Run a line until its source ends or ``stop`` is set; return what it did.

    ``began`` is given the station before its first item; ``opened`` returns the classifier.

    Raises:
        InputError: a bundle, folder or file that can't be used, or a state that is in use.
    """
    clock = clock or Clock()
    with ExitStack() as stack:
        keeps = config.source.folder is not None
        journal = LineJournal(config.state, remembers=keeps)
        stack.callback(journal.close)
        source = open_source(config, clock, journal)
        stack.callback(source.close)
        sinks = [(make_sink(one, config, clock), one.required) for one in config.sinks]
        classifier = opened(config, source)
        _watch(stack, config, classifier)
        faults = [PassedChallenge(config.challenge, clock).fault] if config.challenge else []
        station = Station(config, classifier, source, sinks, journal, clock, tuple(faults))
        began(station)
        station.run(stop, most_items)
        return station.to_json()


def _watch(stack: ExitStack, config: LineConfig, classifier: Classifier) -> None:
    """Have every decision logged and watched, as far as it is asked for."""
    if config.log is not None:
        stack.enter_context(DecisionLog(classifier, config.log.folder, key=config.log.key))
    if (kept := config.capture) is not None:
        stack.enter_context(Capture(classifier, kept.folder, sample=kept.sample))
    if config.monitor is None:
        return
    monitor = LineMonitor(classifier, config.monitor.state, on_alarm=_tell)
    stack.enter_context(monitor)
    if config.monitor.prometheus_port is not None:
        from drupe.line.watch.prometheus import prometheus_registry

        registry = prometheus_registry(monitor)
        from prometheus_client import start_http_server

        server, _ = start_http_server(
            config.monitor.prometheus_port, addr="127.0.0.1", registry=registry
        )
        stack.callback(server.shutdown)


def _tell(kind: str, what: str) -> None:
    notice(f"alarm: {kind}: {what}")


@dataclass(frozen=True)
class TriedPart:
    """A part of a line that was tried out: what it is, and what was found; fault: what is wrong."""

    part: str
    found: str | None
    fault: str | None = None


def try_line(config: LineConfig, clock: Clock | None = None) -> list[TriedPart]:
    """Try out each part of a line; nothing is decided, and no sink is told anything.

    Raises:
        ModuleNotFoundError: an extra that isn't installed.
    """
    clock = clock or Clock()
    source: ItemSource | None = None

    def of_source() -> tuple[str, str]:
        nonlocal source
        source = open_source(config, clock)
        return source.name, source.probe()

    def of_bundle() -> tuple[str, str]:
        found = _load(config, source.order if source else None, threads=1)
        return f"bundle {config.bundle}", f"decides with {found.function.name}"

    def of_sink(settings: SinkSettings) -> tuple[str, str]:
        sink = make_sink(settings, config, clock)
        try:
            return sink.name, sink.probe()
        except Exception as error:
            raise _Failed(sink.name, reason_of(error)) from None

    tried = [_try("source", of_source), _try(f"bundle {config.bundle}", of_bundle)]
    tried += [_try("sink", partial(of_sink, one)) for one in config.sinks]
    if config.challenge is not None:
        fault = PassedChallenge(config.challenge, clock).fault()
        found = None if fault else "passed lately enough"
        tried.append(TriedPart(f"challenge {config.challenge.records}", found, fault))
    return tried


class _Failed(Exception):
    """A part, and what is wrong with it."""


def _try(part: str, of_part: Callable[[], tuple[str, str]]) -> TriedPart:
    try:
        return TriedPart(*of_part())
    except _Failed as failed:
        return TriedPart(failed.args[0], None, failed.args[1])
    except ModuleNotFoundError:
        raise
    except Exception as error:  # each library raises types of its own
        return TriedPart(part, None, reason_of(error))
