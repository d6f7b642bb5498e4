"""``drupe serve`` under load: latency, wrong lanes, memory, a switch of bundles, and kills.

    python benchmarks/serve.py                              # half an hour
    python benchmarks/serve.py --minutes 0.5 --kills 3

Prints a JSON row for each rate, and one for the kills. The network is an untrained EfficientNet of
the size that a line has, its thresholds set so that a third of the frames goes to each lane; the
second bundle is the same network with others. Eight clients send frames at fixed times, half of
them PNG files, half raw pixels, and one body in a hundred is broken. ``p50_ms`` and ``p99_ms``
count from the time at which a frame was due, so that a service that falls behind shows;
``service_p50_ms`` and ``service_p99_ms`` from when it was sent. Each answer is compared with what
the bundle that it names decides on the same frame in this process (``wrong_lanes``). Half-way the
second bundle is proposed and switched to. At the end the decision log is verified, and must hold
every frame that was answered once: ``lost`` and ``doubled`` count those that it doesn't, or more
often. ``processor_share``: cores that the service kept busy, the shadow's work included.

The last row: the service is killed (SIGKILL) and started again by a loop, as its unit would, while
frames come at 30 a second; ``unseen_accepts`` counts answers *accept* that the log doesn't hold.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from drupe.data.synthetic.rendering import render_crops
from drupe.deployment.runtime import Classifier, load
from drupe.line.log.verify import verify_log
from provenance import circumstances
from untrained import untrained_bundle

NETWORK, SIDE, FRAMES, CLIENTS = "efficientnet_lite0", 128, 120, 8
BROKEN = 0.01
TOKEN = "a-token-for-the-benchmark"
KILL_RATE, KILL_EVERY_S, RESTART_S = 30, 8.0, 1.0


@dataclass(frozen=True)
class Body:
    """A frame as it is sent, and its place among the frames; None: it is broken."""

    content: bytes
    headers: dict[str, str]
    frame: int | None


@dataclass
class Seen:
    """What a client has seen: answers by code, and milliseconds from due, and from sent."""

    codes: Counter[str] = field(default_factory=Counter)
    due_ms: list[float] = field(default_factory=list)
    sent_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lanes: dict[str, str] = field(default_factory=dict)
    gaps_s: list[float] = field(default_factory=list)


Expected = dict[str, list[str]]
"""The lane of each frame, by the digest of the bundle that decides."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rates", type=int, nargs="*", default=[30, 100, 300])
    parser.add_argument("--kills", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drupe-serve-") as scratch:
        folder = Path(scratch)
        images = render_crops(np.arange(FRAMES) % 2 == 1, SIDE, np.random.default_rng(0))
        expected = make_bundles(folder, images)
        bodies = make_bodies(images)
        for rate in options.rates:
            row = circumstances("serve.py", "numpy", "onnxruntime", "starlette", "uvicorn")
            print(json.dumps(row | loaded(folder, bodies, expected, rate, 60 * options.minutes)))
        if options.kills:
            row = circumstances("serve.py", "numpy", "onnxruntime", "starlette", "uvicorn")
            print(json.dumps(row | killed(folder, bodies, expected, options.kills)))


def make_bundles(folder: Path, images: np.ndarray) -> Expected:
    """Write two bundles with other thresholds; return what each decides on all images."""
    scores = open_bundle(untrained_bundle(folder / "raw", NETWORK, SIDE)).scores(images)
    expected = {}
    for name, parts in {"now": (1 / 3, 2 / 3), "next": (1 / 4, 1 / 2)}.items():
        low, high = (float(one) for one in np.quantile(scores, parts))
        bundle = untrained_bundle(folder / f"{name}.bundle", NETWORK, SIDE, low=low, high=high)
        classifier = open_bundle(bundle)
        lanes = [str(classifier.decide(image)) for image in images]
        assert set(lanes) == {"accept", "review", "reject"}
        expected[classifier.digest] = lanes
    return expected


def open_bundle(bundle: Path) -> Classifier:
    return load(bundle, order="rgb", threads=1, uncertified=True)


def make_bodies(images: np.ndarray) -> list[Body]:
    """Return each image as a PNG and as raw pixels."""
    raw = {"Drupe-Shape": f"{SIDE},{SIDE},3", "Drupe-Dtype": "uint8", "Drupe-Order": "rgb"}
    bodies = []
    for place, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        bodies += [Body(buffer.getvalue(), {}, place), Body(image.tobytes(), raw, place)]
    return bodies


def broken(body: Body, chance: random.Random) -> Body:
    """Return a body that is no image any more."""
    content = body.content
    kinds = [b"", content[: len(content) // 2], chance.randbytes(2000), b"<html>" + content]
    headers = body.headers if chance.random() < 0.5 else {"Drupe-Shape": "9,9,9"}
    return Body(chance.choice(kinds), headers, None)


class Running:
    """``drupe serve`` in a process of its own."""

    def __init__(self, folder: Path, log: Path, port: int = 0) -> None:
        words = [folder / "now.bundle", "--uncertified", "--json", "--port", port, "--log", log]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "drupe", "serve", *map(str, words)],
            env=os.environ | {"DRUPE_SERVE_ADMIN_TOKEN": TOKEN},
            stdout=subprocess.PIPE,
            text=True,
        )
        lines = []
        assert self.child.stdout is not None
        while (line := self.child.stdout.readline()) and line != "}\n":
            lines.append(line)
        self.port = int(json.loads("".join([*lines, "}"]))["address"].rpartition(":")[2])

    @property
    def resident_mb(self) -> float:
        """Megabytes that the process holds now."""
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text(encoding="ascii").split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)

    @property
    def processor_s(self) -> float:
        """Seconds of processor time that the process has taken."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text(encoding="ascii").split(")")[1]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def change(self, what: str, **asked: Any) -> dict[str, Any]:
        """Ask for a change of bundles, which must be made."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        connection.request("POST", f"/admin/now/{what}", json.dumps(asked), headers)
        response = connection.getresponse()
        said: dict[str, Any] = json.loads(response.read())
        assert response.status == 200, said
        return said

    def stop(self) -> int:
        """Tell it to end, and return its exit code."""
        self.child.terminate()
        return self.child.wait(60)


class Client(threading.Thread):
    """Sends a frame every ``pause`` seconds until ``until``, and keeps what is answered."""

    def __init__(
        self,
        number: int,
        port: int,
        bodies: Sequence[Body],
        expected: Expected,
        pause: float,
        until: float,
    ) -> None:
        super().__init__()
        self.seen, self._number, self._bodies, self._expected = Seen(), number, bodies, expected
        self._pause, self._until, self._port = pause, until, port
        self._chance = random.Random(number)
        self._connection = self._connected()

    def _connected(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)

    def run(self) -> None:
        """Send, and take note of what comes back."""
        due = time.perf_counter() + self._pause * self._chance.random()
        sent, failing_since = 0, None
        while due < self._until:
            time.sleep(max(0.0, due - time.perf_counter()))
            body = self._chance.choice(self._bodies)
            if self._chance.random() < BROKEN:
                body = broken(body, self._chance)
            try:
                self._ask(f"{self._number}-{sent}", body, due)
                if failing_since is not None:
                    self.seen.gaps_s.append(time.perf_counter() - failing_since)
                    failing_since = None
            except (OSError, http.client.HTTPException):  # no answer: never an accept
                self.seen.codes["no answer"] += 1
                failing_since = failing_since or time.perf_counter()
                self._connection.close()
                self._connection = self._connected()
            sent += 1
            due += self._pause
        self._connection.close()

    def _ask(self, item: str, body: Body, due: float) -> None:
        begun = time.perf_counter()
        headers = body.headers | {"Drupe-Item": item}
        self._connection.request("POST", "/decide", body.content, headers)
        response = self._connection.getresponse()
        said = json.loads(response.read())
        now = time.perf_counter()
        self.seen.codes[str(response.status)] += 1
        if body.frame is None:
            right = response.status != 200 and said["lane"] == "review"
        elif response.status == 200:
            right = said["lane"] == self._expected[said["bundle"]][body.frame]
            self.seen.due_ms.append(1000 * (now - due))
            self.seen.sent_ms.append(1000 * (now - begun))
            self.seen.lanes[item] = said["lane"]
        else:
            right = said["lane"] == "review"
        if not right:
            self.seen.wrong.append(item)


def loaded(
    folder: Path, bodies: Sequence[Body], expected: Expected, rate: int, seconds: float
) -> dict[str, Any]:
    """Return a row: the service under ``rate`` frames a second, with a switch half-way."""
    log = folder / f"log-{rate}"
    service = Running(folder, log)
    warm_up = time.perf_counter() + 3
    gather(service.port, bodies, expected, 30, warm_up, first=1000)
    before, worked = service.resident_mb, service.processor_s
    begun = time.perf_counter()
    clients = start(service.port, bodies, expected, rate, begun + seconds)
    time.sleep(seconds * 0.4)
    service.change("propose", bundle="next.bundle")
    time.sleep(seconds * 0.2)
    switched = service.change("switch", frames=10, turned=10**9)
    seen = ended(clients)
    wall = time.perf_counter() - begun
    after, worked = service.resident_mb, service.processor_s - worked
    code = service.stop()
    return {
        "rate": rate,
        "seconds": round(wall, 1),
        "clients": CLIENTS,
        **summary(seen),
        **judged(log / "now", seen),
        "processor_share": round(worked / wall, 2),
        "resident_mb_before": before,
        "resident_mb_after": after,
        "switched_to": Path(switched["path"]).name,
        "exit_code": code,
    }


def start(
    port: int,
    bodies: Sequence[Body],
    expected: Expected,
    rate: float,
    until: float,
    first: int = 0,
) -> list[Client]:
    pause = CLIENTS / rate
    clients = [
        Client(first + number, port, bodies, expected, pause, until) for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    return clients


def ended(clients: Sequence[Client]) -> list[Seen]:
    for client in clients:
        client.join()
    return [client.seen for client in clients]


def gather(
    port: int,
    bodies: Sequence[Body],
    expected: Expected,
    rate: float,
    until: float,
    first: int = 0,
) -> list[Seen]:
    return ended(start(port, bodies, expected, rate, until, first))


def summary(seen: Sequence[Seen]) -> dict[str, Any]:
    codes = sum((one.codes for one in seen), Counter[str]())
    due = np.concatenate([one.due_ms for one in seen])
    sent = np.concatenate([one.sent_ms for one in seen])
    figures = {
        f"{name}p{share}_ms": round(float(np.percentile(values, share)), 2)
        for name, values in (("", due), ("service_", sent))
        for share in (50, 99)
    }
    return {
        "requests": codes.total(),
        "codes": dict(sorted(codes.items())),
        **figures,
        "wrong_lanes": sum(len(one.wrong) for one in seen),
    }


def judged(log: Path, seen: Sequence[Seen]) -> dict[str, Any]:
    """Return how the log compares with what the clients were told."""
    decided: Counter[str] = Counter()
    lanes: dict[str, str] = {}

    def keep(line: dict[str, Any]) -> None:
        if line["kind"] == "decision":
            decided[line["item"]] += 1
            lanes[line["item"]] = line["lane"]

    check = verify_log(log, each=keep)
    told = {item: lane for one in seen for item, lane in one.lanes.items()}
    return {
        "decided": len(told),
        "lost": sum(decided[item] == 0 for item in told),
        "doubled": sum(count > 1 for count in decided.values()),
        "unlike_the_log": sum(lanes.get(item) != lane for item, lane in told.items()),
        "unseen_accepts": sum(
            lane == "accept" and lanes.get(item) != "accept" for item, lane in told.items()
        ),
        "log_lines": check.lines,
        "log_problems": len(check.problems),
    }


def killed(folder: Path, bodies: Sequence[Body], expected: Expected, kills: int) -> dict[str, Any]:
    """Return a row: the service killed every few seconds, and started again by a loop."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    log = folder / "log-kills"
    service = Running(folder, log, port)
    seconds = KILL_EVERY_S * (kills + 1)
    clients = start(port, bodies, expected, KILL_RATE, time.perf_counter() + seconds)
    for _ in range(kills):
        time.sleep(KILL_EVERY_S - RESTART_S)
        service.child.kill()
        service.child.wait()
        time.sleep(RESTART_S)  # as Restart=always with RestartSec=1
        service = Running(folder, log, port)
    seen = ended(clients)
    service.stop()
    gaps = [gap for one in seen for gap in one.gaps_s]
    return {
        "kills": kills,
        "rate": KILL_RATE,
        **summary(seen),
        **judged(log / "now", seen),
        "longest_gap_s": round(max(gaps), 2),
    }


if __name__ == "__main__":
    main()
