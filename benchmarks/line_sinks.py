"""A broker or a PLC is killed again and again under a line: what is accepted unseen, and how late.

    python benchmarks/line_sinks.py mqtt --kills 100

A generator gives pieces at ``--rate`` a second to ``drupe run``'s own loop, with an untrained
network (a tiny one: what is timed is the way from decision to sink). The receiving side is a
process that notes what it is told: mosquitto with a subscriber, a Modbus TCP server (pymodbus), an
OPC UA server (asyncua), on this machine. It is killed after ``--seconds`` each time, is away as
long, and comes back on its port without what it knew. Then both sides are counted: an accept on the
receiving side is *unseen* where the decision log or the file of answers has none of that item, or
was *given twice*. ``lost``: accepts that stand in the file of answers and didn't arrive. *late
accepts*: that arrived and were withdrawn, because nobody confirmed them in time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from drupe.deployment.runtime import load
from drupe.line.log.verify import verify_log
from drupe.line.station.configuration import LineConfig
from drupe.line.station.opening import run_line
from line_servers import KINDS, Listener, Server, accepted_there, settings
from provenance import circumstances
from untrained import untrained_bundle

SIDE = 64
LIBRARIES = {"mqtt": "paho-mqtt", "modbus": "pymodbus", "opcua": "asyncua"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.5, help="up, and down, each time")
    parser.add_argument("--rate", type=float, default=50, help="pieces a second")
    options = parser.parse_args()
    row = circumstances("line_sinks.py", "numpy", "onnxruntime", LIBRARIES[options.kind])
    with tempfile.TemporaryDirectory(prefix="drupe-line-") as scratch:
        row |= measure(Path(scratch), options.kind, options.kills, options.seconds, options.rate)
    print(json.dumps(row))


def measure(folder: Path, kind: str, kills: int, seconds: float, rate: float) -> dict[str, Any]:
    server = Server(kind, folder).start()
    listener = Listener(server.port) if kind == "mqtt" else None
    if listener is not None:
        listener.is_there.wait(10)
    stop = threading.Event()
    pieces = types.ModuleType("pieces")
    vars(pieces)["give"] = lambda: give(stop, rate)
    sys.modules["pieces"] = pieces
    untrained_bundle(folder / "bundle", "test_resnet", SIDE)
    ended: list[dict[str, Any]] = []
    began = threading.Event()
    line = threading.Thread(target=lambda: ended.append(run(folder, server, began)))
    line.start()
    began.wait(60)
    time.sleep(seconds)
    for _ in range(kills):
        server.kill()
        time.sleep(seconds)
        server.start()
        time.sleep(seconds)
    stop.set()
    line.join()
    found = count(folder, ended[0], accepted_there(server, listener))
    if listener is not None:
        listener.stop()
    server.stop()
    return {"receiver": kind, "kills": kills, **found}


def give(stop: threading.Event, rate: float) -> Iterator[tuple[str, np.ndarray]]:
    """Yield a picture per piece, until it is stopped."""
    random = np.random.default_rng(0)
    number = 0
    while not stop.wait(1 / rate):
        number += 1
        yield f"piece-{number}", random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def run(folder: Path, server: Server, began: threading.Event) -> dict[str, Any]:
    document = {
        "bundle": str(folder / "bundle"),
        "state": str(folder / "state"),
        "source": {"generator": {"function": "pieces:give", "order": "rgb"}, "piece": r"-(\d+)"},
        "sinks": [{"jsonl": {"path": str(folder / "answers.jsonl")}}, settings(server)],
        "timing": {"heartbeat_ms": 50, "retry_ms": 100},
        "log": {"folder": str(folder / "log")},
    }
    return run_line(
        LineConfig.model_validate(document),
        threading.Event(),
        began=lambda station: began.set(),
        opened=half_accepted,
    )


def half_accepted(config: LineConfig, source: Any) -> Any:
    """Return the bundle's classifier with thresholds that accept about half of the noise."""
    classifier = load(config.bundle, order=source.order, threads=1, uncertified=True)
    scores = classifier.scores(np.stack([image for _, image in first(200)]))
    classifier._low = classifier._high = float(np.median(scores))
    return classifier


def first(count: int) -> list[tuple[str, np.ndarray]]:
    given = give(threading.Event(), 1e6)
    return [next(given) for _ in range(count)]


def count(folder: Path, summary: dict[str, Any], accepted: list[int]) -> dict[str, Any]:
    """Hold what the receiving side accepted against the file of answers and the decision log."""
    lines = [json.loads(one) for one in (folder / "answers.jsonl").read_text().splitlines()]
    written = {one["number"] for one in lines if one["lane"] == "accept"}
    withdrawn = {one["number"] for one in lines if one["is_withdrawal"]}
    decided: list[dict[str, Any]] = []
    problems = verify_log(folder / "log", each=decided.append).problems
    logged = {one["item"] for one in decided if one.get("lane") == "accept"}
    names = {one["number"]: one["item"] for one in lines}
    seen = {one for one in accepted if one in written and names[one] in logged}
    sink = summary["sinks"][1]
    return {
        "items": summary["items"],
        "accepted_there": len(accepted),
        "unseen_accepts": len(set(accepted) - seen),
        "given_twice": len(accepted) - len(set(accepted)),
        "lost": len(written - withdrawn - set(accepted)),
        "late_accepts": len(withdrawn & set(accepted)),
        "log_problems": len(problems),
        "deaths": sink["deaths"],
        "reviewed_because_not_valid": summary["review"],
        "decision_to_sink_ms": {"p50": sink["p50_ms"], "p99": sink["p99_ms"]},
        "to_file_ms": {"p50": summary["sinks"][0]["p50_ms"], "p99": summary["sinks"][0]["p99_ms"]},
    }


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
