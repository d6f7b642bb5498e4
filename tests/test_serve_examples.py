"""What ``examples/serve`` starts is started here, as far as a machine without systemd can."""

from __future__ import annotations

import configparser
import importlib.util
import json
import shlex
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from page_blocks import mistake_in
from service_files import brightness_bundle, grey, png
from serving import Process

EXAMPLES = Path(__file__).parents[1] / "examples" / "serve"
UNIT = EXAMPLES / "drupe.service"


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=")
    parsed.optionxform = str
    parsed.read(UNIT)
    return parsed


@pytest.fixture
def client():
    spec = importlib.util.spec_from_file_location("serve_client", EXAMPLES / "client.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.DEADLINE = 5.0
    return module


def test_the_unit_starts_it_again_and_lets_it_end_in_order() -> None:
    service = unit()["Service"]
    assert service["Restart"] == "always"
    assert service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"]) > 10
    assert unit()["Unit"]["StartLimitIntervalSec"] == "0"
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "drupe"
    assert mistake_in(words) is None


@pytest.mark.thorough
def test_systemd_takes_the_unit(tmp_path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / "drupe.service"
    copy.write_text(UNIT.read_text().replace("/opt/drupe/bin/drupe", sys.executable))
    done = subprocess.run(
        [tool, "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.thorough
def test_what_the_unit_starts_serves_the_example_client(tmp_path, client, monkeypatch) -> None:
    places = {"/srv/drupe": tmp_path, "%S": tmp_path / "state", "%d": tmp_path}
    token = "a-token-of-the-client"
    (tmp_path / "token").write_text(token)
    (tmp_path / "admin-token").write_text("b" * 32)
    brightness_bundle(tmp_path / "cherries.bundle")
    words = unit()["Service"]["ExecStart"].replace("8180", "0").replace("200", "5000")
    for place, here in places.items():
        words = words.replace(place, str(here))
    process = Process(tmp_path, *shlex.split(words)[2:])
    try:
        (tmp_path / "crops").mkdir()
        for number, brightness in enumerate((0.1, 0.1, 0.5, 0.9)):
            (tmp_path / "crops" / f"{number}.png").write_bytes(png(grey(brightness)))
        (tmp_path / "crops" / "broken.png").write_bytes(b"no image")
        address = f"http://127.0.0.1:{process.port}/cherries/decide"
        monkeypatch.setenv("DRUPE_SERVE_TOKEN", token)
        found = client.main(address, str(tmp_path / "crops"))
        assert found == {"accept": 2, "review": 2, "reject": 1}
        monkeypatch.delenv("DRUPE_SERVE_TOKEN")
        assert client.main(address, str(tmp_path / "crops")) == {"review": 5}
        assert process.stop()[0] == 0
        assert client.Decider(address, token).decide("x", png(grey(0.1))) == "review"
    finally:
        process.child.kill()
        process.child.communicate()
    assert (tmp_path / "state" / "drupe" / "decisions" / "cherries" / "head.json").is_file()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, {"item": "x", "lane": "accept"}),
        (200, {"item": "of another", "lane": "accept"}),
        (200, {"item": "x", "lane": "fine"}),
        (200, {"item": "x"}),
        (200, ["accept"]),
        (204, None),
    ],
)
def test_the_client_takes_nothing_else_for_an_accept(client, status, said) -> None:
    class Odd(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = b"" if said is None else json.dumps(said).encode()
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        decider = client.Decider(f"http://127.0.0.1:{server.server_port}/decide")
        assert decider.decide("x", b"image") == "review"
        decider._connection.close()
        thread.join()


def test_the_image_starts_the_service_as_a_plain_user() -> None:
    lines = (EXAMPLES / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert {name for name, _ in steps} <= {
        *("FROM", "COPY", "RUN", "USER", "VOLUME", "EXPOSE"),
        *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }
    said = dict(steps)
    program, *words = json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"])
    assert Path(program).name == "drupe"
    assert mistake_in(words) is None
    assert said["USER"] == "drupe"
    assert said["STOPSIGNAL"] == "SIGTERM"
    compile(json.loads(said["HEALTHCHECK"].partition("CMD ")[2])[2], "HEALTHCHECK", "exec")
