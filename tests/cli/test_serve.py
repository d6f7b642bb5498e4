from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from drupe.line.log.verify import verify_log
from service_files import brightness_bundle, grey, png
from serving import Process


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    brightness_bundle(folder / "now.bundle")
    brightness_bundle(folder / "next.bundle", gain=1.5)
    return folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none"], "none: must be a bundle"),
        (["BUNDLE"], "holds no exact certificate"),
        (["BUNDLE", "--host", "0.0.0.0"], "must be 127.0.0.1 without --token-file"),
        (["a=BUNDLE", "a=BUNDLE"], "two bundles are called a"),
        (["BUNDLE", "--token-file", "none"], "can't be read"),
        (["BUNDLE", "--uncertified", "--log", "BUNDLE/bundle.json"], "bundle.json"),
        (["BUNDLE", "--deadline", "0"], "--deadline"),
    ],
)
def test_what_can_not_be_served_is_refused(quick, bundles, words, said) -> None:
    place = [word.replace("BUNDLE", str(bundles / "now.bundle")) for word in words]
    result = quick("serve", *place, "--port", "0")
    assert result.code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_package_is_named_with_its_extra(drupe, bundles) -> None:
    result = drupe("serve", bundles / "now.bundle", blocked=("uvicorn",))
    assert result.code == 2
    assert "pip install 'drupe[serve]'" in result.stderr


def test_it_is_served_until_it_is_told_to_stop(quick, bundles, monkeypatch) -> None:
    import uvicorn

    asked = []

    def run(server, sockets) -> None:
        asked.append((server.config.timeout_graceful_shutdown, sockets[0].getsockname()[0]))
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", run)
    bundle = bundles / "now.bundle"
    said = quick("serve", bundle, "--uncertified", "--port", "0")
    assert said.code == 0
    assert "/now/decide" in said.stdout
    assert "onnxruntime fp32" in said.stdout
    found = quick("serve", bundle, "--uncertified", "--port", "0", "--json", "--deadline", "2000")
    document = json.loads(found.stdout)
    assert document["address"].startswith("http://127.0.0.1:")
    assert document["bundles"][0]["path"] == str(bundle)
    assert asked == [(6, "127.0.0.1"), (7, "127.0.0.1")]


@pytest.fixture
def start(tmp_path) -> Iterator:
    started: list[Process] = []

    def begin(*words: str | Path) -> Process:
        started.append(Process(tmp_path, *words, "--port", "0"))
        return started[-1]

    yield begin
    for one in started:
        one.child.kill()
        one.child.communicate()


@pytest.mark.thorough
def test_a_stop_answers_what_has_begun(start, bundles) -> None:
    one = start(bundles / "now.bundle", "--log", "log", "--deadline", "20000")
    image, answers = png(grey(0.1)), []

    def slowly() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=30)
        connection.putrequest("POST", "/decide")
        connection.putheader("Content-Length", str(len(image)))
        connection.endheaders(image[:10])
        time.sleep(1.5)
        connection.send(image[10:])
        answers.append(json.loads(connection.getresponse().read())["lane"])

    threads = [threading.Thread(target=slowly) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    code, said = one.stop()
    for thread in threads:
        thread.join()
    assert answers == ["accept"] * 3
    assert code == 0
    assert "Traceback" not in said
    check = verify_log(one.folder / "log" / "now")
    assert (check.problems, check.notes) == ([], [])


@pytest.mark.thorough
def test_a_killed_service_goes_on_with_the_bundle_that_was_switched_to(start, bundles) -> None:
    words = (bundles / "now.bundle", "--log", "log", "--state", "state.json")
    one = start(*words)
    assert one.ask("POST", "/decide", png(grey(0.25)))[1]["lane"] == "accept"
    assert one.change("propose", bundle="next.bundle")[0] == 200
    assert one.change("switch", frames=0)[0] == 200
    assert one.ask("POST", "/decide", png(grey(0.25)))[1]["lane"] == "review"
    one.child.kill()
    one.child.communicate()
    again = start(*words)
    assert again.ask("POST", "/decide", png(grey(0.25)))[1]["lane"] == "review"
    assert again.change("bring-back")[0] == 200
    assert again.ask("POST", "/decide", png(grey(0.25)))[1]["lane"] == "accept"
    assert again.stop()[0] == 0


@pytest.mark.thorough
def test_odd_requests_leave_it_answering(start, bundles) -> None:
    one = start(bundles / "now.bundle", "--deadline", "300")
    for content in (
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /decide HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 5\r\n\r\nab" % one.port,
        b"POST /decide HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: -5\r\n\r\nab" % one.port,
        b"POST /decide HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        % one.port,
        b"POST /decide HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
    ):
        with socket.create_connection(("127.0.0.1", one.port), timeout=20) as connection:
            try:
                connection.sendall(content)
                said = connection.recv(65536)
            except OSError:  # it was closed while we were writing
                said = b""
        assert b"accept" not in said
        assert b" 200 " not in said
    status, said = one.ask("POST", "/decide", png(grey(0.1)))
    assert (status, said["lane"]) == (200, "accept")
    code, warned = one.stop()
    assert code == 0
    assert "Traceback" not in warned


@pytest.mark.thorough
def test_answers_on_one_connection_do_not_wait_for_acknowledgements(start, bundles) -> None:
    one = start(bundles / "now.bundle")
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=30)
    image, times = png(grey(0.1)), []
    for _ in range(200):
        begun = time.perf_counter()
        connection.request("POST", "/decide", image)
        connection.getresponse().read()
        times.append(time.perf_counter() - begun)
    connection.close()
    assert min(times[100:]) < 0.03  # 40 ms each, where a packet waits for the one before
