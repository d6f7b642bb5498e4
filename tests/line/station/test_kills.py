"""Brokers and PLCs that are killed and come back, and a line that is: nothing accepted unseen.

What the receiving side was told is counted there, and held against the log.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from PIL import Image

from drupe.line.log.verify import verify_log
from drupe.line.station.answers import Beat, LineAnswer
from drupe.line.station.clock import Clock
from drupe.line.station.opening import make_sink, run_line
from drupe.line.station.sinks.sink import SinkError
from drupe.line.station.station import Station
from line_parts import ACCEPTED, REJECTED, line_config, needs, wait_for
from line_servers import ECHO, KINDS, Listener, Server, accepted_there, settings
from line_stand_in import images, stand_in

pytestmark = pytest.mark.thorough

KILLS = 2


@pytest.fixture(params=KINDS)
def server(request, tmp_path) -> Iterator[Server]:
    needs(request.param)
    made = Server(request.param, tmp_path).start()
    yield made
    made.stop()


@pytest.fixture
def receiver(server) -> Iterator[Listener | None]:
    """What hears the broker; a PLC notes what it is told itself."""
    if server.kind != "mqtt":
        yield None
        return
    listener = Listener(server.port)
    assert listener.is_there.wait(10)
    yield listener
    listener.stop()


class Belt:
    """A generator of pieces, every second one clean, until it is stopped."""

    def __init__(self) -> None:
        self.stop, self.count = threading.Event(), 0

    def __call__(self):
        while not self.stop.wait(0.01):
            self.count += 1
            score = ACCEPTED if self.count % 2 else REJECTED
            yield f"piece-{self.count}", images(score)[0]


@pytest.fixture
def belt(monkeypatch) -> Belt:
    import types

    module, made = types.ModuleType("belt"), Belt()
    module.pieces = made
    monkeypatch.setitem(sys.modules, "belt", module)
    return made


@contextmanager
def running(tmp_path, server, belt, **changes) -> Iterator[tuple[Station, list[dict]]]:
    """Run a line meanwhile; yield it, and a list that holds its summary at the end."""
    config = line_config(
        tmp_path,
        source={"generator": {"function": "belt:pieces", "order": "rgb"}, "piece": r"piece-(\d+)"},
        sinks=[{"jsonl": {"path": str(tmp_path / "answers.jsonl")}}, settings(server)],
        log={"folder": str(tmp_path / "log")},
        timing={"heartbeat_ms": 20, "retry_ms": 50, "deadline_ms": 300} | changes,
    )
    stations: list[Station] = []
    ended: list[dict] = []

    def work() -> None:
        classifier = stand_in()
        stop = threading.Event()
        opened = {"began": stations.append, "opened": lambda config, source: classifier}
        ended.append(run_line(config, stop, **opened))

    line = threading.Thread(target=work)
    line.start()
    wait_for(lambda: stations)
    try:
        yield stations[0], ended
    finally:
        belt.stop.set()
        line.join()


def go_on(server: Server, receiver: Listener | None) -> None:
    """Wait until the receiving side was told ten more accepts."""
    before = len(accepted_there(server, receiver))
    wait_for(lambda: len(accepted_there(server, receiver)) > before + 10)


def test_a_receiver_that_is_killed_and_comes_back(tmp_path, server, receiver, belt) -> None:
    with running(tmp_path, server, belt, deadline_ms=2000) as (station, ended):
        for _ in range(KILLS):
            go_on(server, receiver)
            server.kill()
            wait_for(station.reasons)
            at_death = belt.count
            wait_for(lambda at_death=at_death: belt.count > at_death + 10)
            server.start()
        go_on(server, receiver)
    (summary,) = ended
    check_counts(tmp_path, summary, accepted_there(server, receiver))
    assert summary["sinks"][1]["deaths"] == KILLS
    if receiver is not None:
        wait_for(lambda: receiver.states[-1]["state"] == "stopped")
        assert receiver.states[-1]["valid"] is False
    else:
        last = server.answers()[-1]
        assert (last["valid"], last["lane"]) == (0, 3)


def test_a_receiver_that_hangs_and_wakes_up(tmp_path, server, receiver, belt) -> None:
    with running(tmp_path, server, belt) as (station, ended):
        go_on(server, receiver)
        server.freeze()
        wait_for(station.reasons)
        time.sleep(0.5)
        server.thaw()
        go_on(server, receiver)
    (summary,) = ended
    check_counts(tmp_path, summary, accepted_there(server, receiver))
    if receiver is not None:  # an accept that hung in the broker is withdrawn there, too
        withdrawn = {one["number"] for one in receiver.answers if one["is_withdrawal"]}
        lines = [json.loads(one) for one in (tmp_path / "answers.jsonl").read_text().splitlines()]
        here = {one["number"] for one in lines if one["is_withdrawal"]}
        assert here & set(accepted_there(server, receiver)) <= withdrawn


def check_counts(tmp_path, summary: dict, accepted: list[int]) -> None:
    """Hold what the receiving side accepted against the file of answers and the log."""
    lines = [json.loads(one) for one in (tmp_path / "answers.jsonl").read_text().splitlines()]
    written = {one["number"] for one in lines if one["lane"] == "accept"}
    withdrawn = {one["number"] for one in lines if one["is_withdrawal"]}
    decided: list[dict] = []
    assert verify_log(tmp_path / "log", each=decided.append).problems == []
    logged = {one["item"] for one in decided if one.get("lane") == "accept"}
    names = {one["number"]: one["item"] for one in lines}
    assert len(set(accepted)) == len(accepted)
    assert set(accepted) <= written  # nothing is accepted that this side hasn't written down
    assert {names[one] for one in accepted} <= logged
    assert written - withdrawn <= set(accepted)  # what stands as accepted here arrived there
    assert summary["accept"] == len(written - withdrawn)
    assert summary["undelivered"] > 0
    assert summary["accept"] + summary["review"] + summary["reject"] == summary["items"]


def test_sinks_are_tried_out_without_being_told_anything(tmp_path, server) -> None:
    config = line_config(tmp_path, sinks=[settings(server)])
    sink = make_sink(config.sinks[0], config, Clock())
    said = sink.probe()
    words = {
        "mqtt": "the broker lets us in",
        "modbus": "holding registers 8 to 19 can be read",
        "opcua": "9 variables are there",
    }
    assert said == words[server.kind]
    assert server.answers() == []
    server.kill()
    with pytest.raises((SinkError, OSError)):
        sink.probe()


def refused(tmp_path, server: Server, **changes) -> str:
    """Return what a sink says of settings that the server can't meet."""
    (how,) = settings(server).values()
    config = line_config(tmp_path, sinks=[{server.kind: how | changes}])
    with pytest.raises(Exception, match=r".") as raised:
        make_sink(config.sinks[0], config, Clock()).probe()
    return str(raised.value)


@pytest.mark.parametrize("server", ["modbus"], indirect=True)
def test_registers_that_are_not_there(tmp_path, server) -> None:
    assert "the server refuses" in refused(tmp_path, server, address=60)


@pytest.mark.parametrize("server", ["modbus"], indirect=True)
def test_an_answer_that_the_program_does_not_acknowledge_is_not_taken(tmp_path, server) -> None:
    (how,) = settings(server).values()
    said = {}
    for place in (ECHO, ECHO + 10):
        sink_settings = {"modbus": how | {"acknowledged_at": place}}
        config = line_config(tmp_path, sinks=[sink_settings])
        sink = make_sink(config.sinks[0], config, Clock())
        assert sink.probe() == "holding registers 8 to 19 can be read"
        sink.open(Beat(1, 0))
        answer = LineAnswer(70_000 + place, "a", "accept", "now")
        try:
            sink.take(answer, Beat(2, 0), 0.2)
        except SinkError as error:
            said[place] = str(error)
        sink.close(None)
    assert said == {ECHO + 10: "the PLC's program didn't acknowledge the answer in time"}


@pytest.mark.parametrize("server", ["opcua"], indirect=True)
def test_variables_that_are_not_there_or_of_another_type(tmp_path, server, monkeypatch) -> None:
    assert "BadNodeIdUnknown" in refused(tmp_path, server, node="ns=2;s=Other")
    monkeypatch.setitem(
        __import__("drupe.line.station.sinks.opcua", fromlist=["VARIABLES"]).VARIABLES,
        "Lane",
        "Int32",
    )
    assert "Drupe.Lane: must be of type Int32, got UInt16" in refused(tmp_path, server)


@pytest.mark.parametrize("server", ["opcua", "mqtt"], indirect=True)
def test_who_logs_in(tmp_path, server) -> None:
    (tmp_path / "password").write_text("secret")
    login = {"user": "line", "password_file": str(tmp_path / "password")}
    (how,) = settings(server).values()
    config = line_config(tmp_path, sinks=[{server.kind: how | login}])
    if server.kind == "mqtt":  # a broker that lets anybody in
        assert make_sink(config.sinks[0], config, Clock()).probe() == "the broker lets us in"
    else:
        make_sink(config.sinks[0], config, Clock()).probe()


@pytest.mark.parametrize("server", ["mqtt"], indirect=True)
def test_an_answer_that_nobody_hears_is_not_taken(tmp_path, server) -> None:
    config = line_config(tmp_path, sinks=[settings(server)])
    sink = make_sink(config.sinks[0], config, Clock())
    with pytest.raises(SinkError, match="line/status: nobody subscribes to it"):
        sink.open(Beat(1, 0))
    sink.close(None)


@pytest.mark.parametrize("server", ["mqtt"], indirect=True)
def test_a_broker_that_says_nothing(tmp_path, server) -> None:
    (how,) = settings(server).values()
    quick = {"needs_listener": False, "timeout_ms": 200}
    config = line_config(tmp_path, sinks=[{"mqtt": how | quick}])
    sink = make_sink(config.sinks[0], config, Clock())
    sink.open(Beat(1, 0))
    server.freeze()
    with pytest.raises(SinkError, match="the broker didn't confirm within 200 ms"):
        sink.beat(Beat(2, 0))
    sink.close(None)
    with pytest.raises(SinkError, match="the broker doesn't answer"):
        sink.probe()
    server.thaw()


def test_a_broker_that_does_not_know_us(tmp_path) -> None:
    needs("mqtt")
    server = Server("mqtt", tmp_path, anybody=False).start()
    try:
        assert refused(tmp_path, server) == "the broker refuses: Not authorized"
    finally:
        server.stop()


@pytest.mark.parametrize("server", ["mqtt"], indirect=True)
def test_encryption_that_the_broker_does_not_have(tmp_path, server) -> None:
    assert refused(tmp_path, server, tls=True)


LINE = """
from line_stand_in import stand_in
import drupe.line.station.opening as opening

opening.load = lambda *given, **options: stand_in()
from drupe.cli.app import main

main()
"""


class Process:
    """``drupe run`` in a process of its own, over a folder, with a stand-in for the network."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        document = {
            "bundle": "none",
            "state": "state",
            "source": {
                "folder": {"path": "in", "settle_ms": 0, "look_ms": 5},
                "piece": r"piece-(\d+)",
            },
            "sinks": [{"jsonl": {"path": "answers.jsonl"}}, settings(server)],
            "log": {"folder": "log"},
            "timing": {"heartbeat_ms": 20, "retry_ms": 50},
        }
        (folder / "line.yaml").write_text(yaml.safe_dump(document))
        (folder / "in").mkdir()
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        tests = str(Path(__file__).parents[2])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
        self.running = subprocess.Popen(
            [sys.executable, "-c", LINE, "run", "line.yaml"], cwd=self.folder, env=environment
        )

    def end(self, number: int) -> int:
        assert self.running is not None
        self.running.send_signal(number)
        return self.running.wait(30)

    def put(self, number: int, score: float) -> None:
        temporary = self.folder / f".{number}.png"
        Image.fromarray(images(score)[0]).save(temporary)
        temporary.rename(self.folder / "in" / f"piece-{number}.png")

    def answers(self) -> list[dict]:
        file = self.folder / "answers.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(one) for one in lines if one.endswith("}")]


@pytest.mark.parametrize("server", ["modbus"], indirect=True)
def test_a_line_that_is_killed_again_and_again(tmp_path, server) -> None:
    line = Process(tmp_path, server)
    number = 0
    for kill in range(4):
        line.start()
        wait_for(lambda: any(one.get("valid") for one in server.answers()[-3:]), 60)
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            number += 1
            line.put(number, ACCEPTED)
            time.sleep(0.004)
        if kill < 3:
            assert line.end(signal.SIGKILL) == -signal.SIGKILL
    last = f"piece-{number}.png"
    wait_for(lambda: last in {one["item"] for one in line.answers()}, 60)
    assert line.end(signal.SIGTERM) == 128 + signal.SIGTERM
    told = [one for one in server.answers() if one.get("number")]
    accepted = [one["piece"] for one in told if one["lane"] == 1]
    assert len(set(accepted)) == len(accepted)  # never twice
    by_item: dict[str, list[dict]] = {}
    for one in line.answers():
        by_item.setdefault(one["item"], []).append(one)
    assert len(by_item) == number  # never lost
    for answers in by_item.values():
        assert len({one["number"] for one in answers}) == 1
        assert sum(not one["is_withdrawal"] for one in answers) <= 1
    accepts = {one["piece"] for one in line.answers() if one["lane"] == "accept"}
    assert set(accepted) <= accepts
    decided: list[dict] = []
    assert verify_log(tmp_path / "log", each=decided.append).problems == []
    logged = {one["item"] for one in decided if one.get("lane") == "accept"}
    assert {f"piece-{one}.png" for one in accepted} <= logged
    assert 0 < len(accepted) < number
    assert (server.answers()[-1]["valid"], server.answers()[-1]["lane"]) == (0, 3)


@pytest.mark.parametrize("server", ["mqtt"], indirect=True)
def test_the_broker_speaks_the_last_will_of_a_line_that_is_killed(
    tmp_path, server, receiver
) -> None:
    line = Process(tmp_path, server)
    line.start()
    wait_for(lambda: receiver.states and receiver.states[-1]["valid"], 60)
    line.end(signal.SIGKILL)
    wait_for(lambda: receiver.states[-1]["state"] == "dead")
    assert receiver.states[-1]["valid"] is False
