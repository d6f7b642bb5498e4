"""Frames that are pushed to a line: a real bundle, server and client; the sinks hear the same."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from drupe.deployment.manifest import read_manifest
from drupe.deployment.runtime import Classifier
from drupe.errors import InputError, MissingExtraError
from drupe.line.log.verify import verify_log
from drupe.line.station.clock import Clock
from drupe.line.station.configuration import HttpSettings, LineConfig, TimingSettings
from drupe.line.station.opening import open_bundle, open_source, run_line, try_line
from drupe.line.station.sources.http import HttpSource, Waiting
from drupe.line.station.sources.source import SourceError
from drupe.line.station.station import Station
from line_parts import line_config, wait_for
from line_servers import free_port
from service_files import brightness_bundle, grey, png, raw_headers

ACCEPTED, REVIEWED, REJECTED = (png(grey(one)) for one in (0.1, 0.5, 0.9))
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return brightness_bundle(tmp_path_factory.mktemp("pushed") / "bundle")


class Reply:
    """What came back: code, document, and the lane of the header."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.code, self.headers = response.status, response.headers
        self.said: dict[str, Any] = json.loads(response.read())
        self.lane = self.said["lane"]
        assert self.headers["Drupe-Lane"] == self.lane

    def is_refused(self, code: int, words: str = "", lane: str = "review") -> bool:
        return (self.code, self.lane) == (code, lane) and words in (self.said["fault"] or "")


def push(port: int, body: bytes = ACCEPTED, path: str = "/decide", method="POST", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    reply = Reply(connection.getresponse())
    connection.close()
    return reply


class Running:
    """A line that is run in a thread: its port, station, classifier, and what it did."""

    def __init__(self, folder: Path, config: LineConfig) -> None:
        assert config.source.http is not None
        self.folder, self.config, self.port = folder, config, config.source.http.port
        self.stop, self.stations, self.ended = threading.Event(), [], []
        self.classifier = open_bundle(config, open_source(config, Clock()))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        def opened(config: LineConfig, source: Any) -> Classifier:
            return self.classifier

        self.ended.append(
            run_line(self.config, self.stop, began=self.stations.append, opened=opened)
        )

    @property
    def station(self) -> Station:
        return self.stations[0]

    def start(self) -> Running:
        self._thread.start()
        wait_for(lambda: self.stations and listens(self.port) and not self.station.reasons())
        return self

    def end(self) -> dict[str, Any]:
        self.stop.set()
        self._thread.join(30)
        return self.ended[0]

    def push(self, body: bytes = ACCEPTED, **headers: str) -> Reply:
        return push(self.port, body, **headers)

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(one) for one in (self.folder / "answers.jsonl").read_text().splitlines()]


def pushed_line(folder: Path, bundle: Path, http: dict | None = None, **changes) -> LineConfig:
    listens = {"port": free_port()} | (http or {})
    source = {"http": listens} | changes.pop("source", {})
    common = {"bundle": str(bundle), "uncertified": True, "log": {"folder": str(folder / "log")}}
    return line_config(folder, **{**common, "source": source, **changes})


@contextmanager
def running(folder: Path, bundle: Path, **changes) -> Iterator[Running]:
    line = Running(folder, pushed_line(folder, bundle, **changes)).start()
    try:
        yield line
    finally:
        if not line.ended:
            line.end()


def slowed(line: Running, monkeypatch) -> threading.Event:
    """Have decisions wait; return what lets them go on."""
    outputs, go = line.classifier._session.outputs, threading.Event()

    class Slow:
        def outputs(self, batch):
            go.wait(20)
            return outputs(batch)

    monkeypatch.setattr(line.classifier, "_session", Slow())
    return go


def at_once(*calls) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_a_frame_is_answered_with_what_the_sinks_were_told(tmp_path, bundle) -> None:
    with running(tmp_path, bundle, source={"piece": r"piece-(\d+)"}) as line:
        file = line.push(ACCEPTED, Drupe_Item="piece-7")
        raw = grey(0.9)
        bgr = {"Drupe_" + name[6:]: value for name, value in raw_headers(raw, "bgr").items()}
        pixels = line.push(raw.tobytes(), Drupe_Item="piece-8", **bgr)
        nameless = line.push(REVIEWED)
        summary = line.end()
    assert [(one.code, one.lane) for one in (file, pixels, nameless)] == [
        (200, "accept"),
        (200, "reject"),
        (200, "review"),
    ]
    assert file.said["piece"] == 7
    assert file.said["score"] == pytest.approx(0.1, abs=0.01)
    assert [one.said for one in (file, pixels, nameless)] == line.answers()
    assert nameless.said["item"].startswith("frame-")
    assert (summary["accept"], summary["items"], summary["undelivered"]) == (1, 3, 0)
    logged: list[dict] = []
    assert verify_log(tmp_path / "log", each=logged.append).problems == []
    assert [one["item"] for one in logged if one["kind"] == "decision"][:2] == [
        "piece-7",
        "piece-8",
    ]


FORM = b'--b\r\nContent-Disposition: form-data; filename="x"\r\n\r\n' + ACCEPTED + b"\r\n--b--"
IS_FORM = {"Content_Type": "multipart/form-data; boundary=b"}
TWO = {"Drupe_Shape": "2,16,16,3", "Drupe_Dtype": "uint8", "Drupe_Order": "rgb"}


@pytest.mark.parametrize(
    ("body", "headers", "code", "words"),
    [
        (b"", {}, 400, "empty"),
        (b"no image", {}, 422, "not a PNG"),
        (ACCEPTED[:-20], {}, 422, "truncated"),
        (png(np.zeros((8, 8, 3), np.uint8)), {}, 422, "must be 16 x 16 pixels"),
        (b"x" * 768, {"Drupe_Shape": "16,16,3"}, 400, "Drupe-Dtype"),
        (b"x" * 1536, TWO, 413, "at most 1 images"),
        (b"x" * 768, TWO | {"Drupe_Shape": "1,16,16,3"}, 400, "must be one image"),
        (FORM, IS_FORM, 400, "must be one image"),
        (b"x" * ((1 << 20) + 1), {}, 413, "1,048,576 bytes at most"),
        (ACCEPTED, {"Content_Encoding": "gzip"}, 415, "Content-Encoding"),
        (ACCEPTED, {"Drupe_Item": "x" * 300}, 400, "Drupe-Item"),
        (ACCEPTED, {"Drupe_Deadline_Ms": "soon"}, 400, "Drupe-Deadline-Ms"),
    ],
)
def test_what_is_no_image_is_an_item_that_is_never_accepted(
    tmp_path, bundle, body, headers, code, words
) -> None:
    with running(tmp_path, bundle, http={"max_body_mb": 1}, on_fault="reject") as line:
        reply = line.push(body, **headers)
        assert reply.is_refused(code, words, "reject")
        assert line.push(ACCEPTED).lane == "accept"
        line.end()
    assert [one["lane"] for one in line.answers()] == ["reject", "accept"]
    assert line.answers()[0] == reply.said
    lines: list[dict] = []
    verify_log(tmp_path / "log", each=lines.append)
    assert [one["kind"] for one in lines[1:-1]] == ["refused", "decision"]


def test_other_addresses_and_methods_are_no_items(tmp_path, bundle) -> None:
    with running(tmp_path, bundle) as line:
        assert push(line.port, path="/").is_refused(404, "must be POST /decide")
        assert push(line.port, path="/decide/").is_refused(404)
        assert push(line.port, method="GET").is_refused(405, "must be POST /decide")
        assert line.push(Origin="http://evil.example").is_refused(403)
        assert line.push(Host="evil.example").is_refused(421)
        assert line.end()["items"] == 0


def test_the_token_is_needed(tmp_path, bundle) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with running(tmp_path, bundle, http={"token_file": str(tmp_path / "token")}) as line:
        assert line.push().is_refused(401, "a token is needed")
        assert line.push(Authorization=f"Bearer {TOKEN[:-1]}S").is_refused(401)
        assert line.push(Authorization=f"Bearer {TOKEN}").lane == "accept"
        assert line.end()["items"] == 1


def test_one_frame_too_many_is_said_counted_and_told_to_the_sinks(
    tmp_path, bundle, monkeypatch
) -> None:
    timing = {"queue": 2, "deadline_ms": 5000, "heartbeat_ms": 10, "retry_ms": 20}
    with running(tmp_path, bundle, timing=timing) as line:
        go, replies = slowed(line, monkeypatch), {}
        calls = [
            lambda one=one: replies.update({one: line.push(Drupe_Item=one)}) for one in ("a", "b")
        ]
        threads = at_once(*calls)
        wait_for(lambda: len(line.station.intake.source._waiting) == 2)
        threads += at_once(lambda: replies.update(c=line.push(b"never read", Drupe_Item="c")))
        wait_for(lambda: len(line.station.intake.source._waiting) == 3)
        go.set()
        for thread in threads:
            thread.join()
        assert replies["c"].is_refused(503, "late: 2 images waited already")
        assert replies["c"].headers["Retry-After"] == "1"
        assert [replies[one].lane for one in ("a", "b")] == ["accept", "accept"]
        assert line.push().lane == "accept"  # there is room again
        assert line.end()["overruns"] == 1
    assert {one["item"]: one["lane"] for one in line.answers()}["c"] == "review"


def test_a_late_frame_is_review_here_and_at_the_sinks(tmp_path, bundle, monkeypatch) -> None:
    with running(tmp_path, bundle) as line:
        go = slowed(line, monkeypatch)
        threading.Timer(0.3, go.set).start()
        reply = line.push(Drupe_Item="late", Drupe_Deadline_Ms="100")
        assert reply.is_refused(504, "didn't come in time")
        wait_for(lambda: line.answers())
        assert line.end()["late"] == 1
    (answer,) = line.answers()
    assert (answer["item"], answer["lane"], answer["decided"]) == ("late", "review", "accept")


def test_an_answer_is_late_also_where_the_loop_had_no_time_to_look(
    tmp_path, bundle, monkeypatch
) -> None:
    settle = Waiting.settle

    def slowly(self, answer) -> None:
        settle(self, answer)
        time.sleep(0.6)  # on the loop, until after the deadline

    monkeypatch.setattr(Waiting, "settle", slowly)
    with running(tmp_path, bundle) as line:
        reply = line.push(Drupe_Deadline_Ms="500")
        assert reply.is_refused(504, "didn't come in time")


def test_a_body_that_does_not_arrive_is_review(tmp_path, bundle) -> None:
    with (
        running(tmp_path, bundle) as line,
        socket.create_connection(("127.0.0.1", line.port)) as slow,
    ):
        head = f"POST /decide HTTP/1.1\r\nHost: 127.0.0.1:{line.port}\r\nDrupe-Deadline-Ms: 100\r\n"
        slow.sendall(f"{head}Content-Length: 500\r\n\r\nabc".encode())
        assert slow.recv(20).startswith(b"HTTP/1.1 408")
        wait_for(lambda: line.answers())
        assert line.answers()[0]["lane"] == "review"


def test_without_a_required_sink_the_answer_is_not_accept(tmp_path, bundle) -> None:
    broken = tmp_path / "broken.jsonl"
    sinks = [{"jsonl": {"path": str(tmp_path / name)}} for name in ("answers.jsonl", broken.name)]
    with running(tmp_path, bundle, sinks=sinks) as line:
        assert line.push().lane == "accept"
        broken.unlink()
        broken.mkdir()
        wait_for(line.station.reasons)
        assert line.push().is_refused(503, "broken.jsonl")


def test_a_mistake_of_ours_is_an_item_too(tmp_path, bundle, monkeypatch, caplog) -> None:
    with running(tmp_path, bundle) as line:
        with monkeypatch.context() as patched:
            name = "drupe.line.station.sources.http.read_frames_of"
            patched.setattr(name, lambda *given: 1 / 0)
            assert line.push().is_refused(500, "a mistake of ours")
        assert line.push().lane == "accept"
        assert line.end()["faults"] == 1
    assert "ZeroDivisionError" in caplog.text


def test_what_waits_at_the_stop_is_answered(tmp_path, bundle, monkeypatch) -> None:
    with running(tmp_path, bundle, timing={"deadline_ms": 20_000}) as line:
        go, replies = slowed(line, monkeypatch), []
        threads = at_once(*[lambda: replies.append(line.push())] * 3)
        wait_for(lambda: line.station.intake._images == 2)  # the third is being decided
        line.stop.set()
        go.set()
        for thread in threads:
            thread.join()
        summary = line.end()
    assert sorted(one.lane for one in replies) == ["accept", "review", "review"]
    assert sorted(one.code for one in replies) == [200, 503, 503]
    assert (summary["items"], summary["accept"]) == (3, 1)
    with pytest.raises(OSError, match="refused"):
        line.push()


def test_a_port_that_is_taken_is_tried_again(tmp_path, bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = pushed_line(tmp_path, bundle, http={"port": port})
        tried = try_line(config)[0]
        assert (tried.part, tried.found) == ("source", None)
        assert f"source.http.port: must be free, got {port}" in str(tried.fault)
        line = Running(tmp_path, config)
        line._thread.start()
        wait_for(lambda: line.stations and "must be free" in str(line.station.reasons()))
    wait_for(lambda: not line.station.reasons())
    assert line.push().lane == "accept"
    line.end()
    assert try_line(config)[0].found == "can be listened at"


def unserved(bundle: Path, **timing: int) -> HttpSource:
    """Return a source that nobody takes items from."""
    contract = read_manifest(bundle).input.contract
    times = TimingSettings(**timing)
    return HttpSource(HttpSettings(), contract, times, "reject", "now", time.monotonic)


def test_what_the_line_does_not_take_is_answered_at_the_deadline(bundle, monkeypatch) -> None:
    monkeypatch.setattr("drupe.line.station.sources.http.MOST_CONNECTIONS", 1)
    source = unserved(bundle, deadline_ms=50)
    client = TestClient(source.application(), base_url="http://127.0.0.1:8181")
    late, one_too_many = (client.post("/decide", content=ACCEPTED) for _ in range(2))
    assert (late.status_code, late.json()["lane"]) == (504, "reject")
    assert (one_too_many.status_code, one_too_many.json()["lane"]) == (503, "reject")
    assert "late: 1 items wait" in one_too_many.json()["fault"]
    unread = client.post("/decide", content=b"")
    assert (unread.status_code, unread.headers["drupe-lane"]) == (503, "reject")
    source.close()  # it never listened


def test_a_web_server_that_ends_is_a_dead_source(bundle, monkeypatch) -> None:
    class Ended:
        should_exit = False

        def run(self, sockets) -> None:
            sockets[0].close()

    monkeypatch.setattr("drupe.line.station.sources.http.web_server", lambda *given: Ended())
    monkeypatch.setattr(HttpSource, "_listener", lambda self: socket.socket())
    items = unserved(bundle).items(threading.Event())
    assert next(items) is None
    with pytest.raises(SourceError, match="the web server has ended"):
        next(items)


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ({"host": "0.0.0.0"}, "without a token_file: anybody could ask, got 0.0.0.0"),
        ({"port": 0}, "greater than or equal to 1"),
    ],
)
def test_who_listens_beyond_this_machine_asks_for_a_token(tmp_path, bundle, http, said) -> None:
    with pytest.raises(ValueError, match=said):
        pushed_line(tmp_path, bundle, http=http)


def test_a_token_that_could_be_guessed_is_refused(tmp_path, bundle) -> None:
    (tmp_path / "token").write_text("short")
    config = pushed_line(tmp_path, bundle, http={"token_file": str(tmp_path / "token")})
    with pytest.raises(InputError, match=r"source.http.token_file .*: a token must have at least"):
        open_source(config, Clock())


def test_a_missing_package_is_named(tmp_path, bundle, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "drupe.line.station.sources.http", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingExtraError, match=r"source.http needs .*drupe\[serve\]"):
        open_source(pushed_line(tmp_path, bundle), Clock())


@pytest.fixture(scope="module")
def shared(bundle, tmp_path_factory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("shared"), bundle) as line:
        yield line


WORDS = st.sampled_from(["uint8", "uint16", "rgb", "bgr", "mono", "", "16", "x"])
SHAPES = st.none() | st.sampled_from(["16,16,3", "1,16,16,3", "9" * 30, "-1,16,3", "0,0,3"])
CUT = st.tuples(st.integers(0, len(ACCEPTED) - 1), st.integers(1, 255)).map(
    lambda pair: (
        ACCEPTED[: pair[0]] + bytes([ACCEPTED[pair[0]] ^ pair[1]]) + ACCEPTED[pair[0] + 1 :]
    )
)


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(body=st.binary(max_size=900) | CUT, shape=SHAPES, dtype=WORDS, order=WORDS)
def test_no_broken_body_is_accepted_and_each_is_told_to_the_sinks(
    shared, body, shape, dtype, order
) -> None:
    headers = {"Drupe_Dtype": dtype, "Drupe_Order": order}
    headers |= {} if shape is None else {"Drupe_Shape": shape}
    reply = shared.push(body, **headers)
    assert shared.answers()[-1] == reply.said
    assert reply.code in (200, 400, 413, 422)
    if reply.code != 200:
        assert reply.lane == "review"
    elif shape is None:  # a changed bit that Pillow reads is the same picture: its metadata
        assert reply.lane == "accept"


LINE = """
import sys
for name in ("torch", "torchvision", "scipy", "polars", "onnx", "timm", "safetensors"):
    sys.modules[name] = None
from drupe.cli.app import main

main()
"""


@pytest.mark.thorough
def test_a_line_that_is_killed_again_and_again(tmp_path, bundle) -> None:
    """What was answered with accept is in the file of answers and in the log; nothing twice."""
    config = pushed_line(tmp_path, bundle)
    document = json.loads(config.model_dump_json(exclude_none=True))
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(document))
    port, accepted, number, broken = config.source.http.port, [], 0, 0
    for kill in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", LINE, "run", "line.yaml"], cwd=tmp_path, env=os.environ
        )
        wait_for(lambda: listens(port), 60)
        at, is_killed = time.monotonic() + 0.3 + 0.1 * kill, False
        while True:
            number += 1
            try:
                reply = push(port, ACCEPTED if number % 2 else REJECTED, Drupe_Item=f"p{number}")
            except (OSError, http.client.HTTPException):
                broken += 1
                break
            accepted += [f"p{number}"] if (reply.code, reply.lane) == (200, "accept") else []
            if time.monotonic() > at and not is_killed:
                threading.Timer(0.01, process.send_signal, [signal.SIGKILL]).start()
                is_killed = True
        assert process.wait(30) == -signal.SIGKILL
    run_line(config, stop := threading.Event(), began=lambda station: stop.set())
    lines = [json.loads(one) for one in (tmp_path / "answers.jsonl").read_text().splitlines()]
    told = [one["item"] for one in lines if one["lane"] == "accept"]
    assert len(set(told)) == len(told)
    assert set(accepted) <= set(told)
    assert len(told) - len(accepted) <= broken == 4
    logged: list[dict] = []
    assert verify_log(tmp_path / "log", each=logged.append).problems == []
    assert set(told) <= {one["item"] for one in logged if one.get("lane") == "accept"}
    assert len(accepted) > 20


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
