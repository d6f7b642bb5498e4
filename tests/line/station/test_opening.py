"""A line from its YAML, by a folder or a generator into files; its process killed is elsewhere."""

from __future__ import annotations

import json
import sys
import threading
import types
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from drupe.errors import InputError
from drupe.line.log.verify import verify_log
from drupe.line.station.clock import Clock
from drupe.line.station.configuration import LineConfig
from drupe.line.station.opening import make_sink, open_source, run_line, try_line
from line_parts import ACCEPTED, REJECTED, Hands, line_config, needs
from line_servers import free_port
from line_stand_in import images, stand_in


@pytest.fixture
def crops(tmp_path) -> Path:
    folder = tmp_path / "crops"
    folder.mkdir()
    for number, score in enumerate((ACCEPTED, REJECTED, 0.5)):
        Image.fromarray(images(score)[0]).save(folder / f"piece-{number}.png")
    (folder / "piece-3.png").write_bytes(b"no image")
    return folder


def folder_line(tmp_path, crops, **changes) -> LineConfig:
    folder = {"path": str(crops), "waiting": "decide", "settle_ms": 0, "look_ms": 1}
    return line_config(tmp_path, **{"source": {"folder": folder}} | changes)


def run(config: LineConfig, most_items: int | None = None, **options) -> dict:
    return run_line(
        config,
        threading.Event(),
        most_items=most_items,
        opened=lambda config, source: stand_in(),
        **options,
    )


def answers(tmp_path) -> dict[str, str]:
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    return {one["item"]: one["lane"] for one in map(json.loads, lines)}


def test_a_folder_into_a_file_and_on_after_a_restart(tmp_path, crops) -> None:
    config = folder_line(tmp_path, crops)
    assert run(config, most_items=2)["items"] == 2
    assert run(config, most_items=2)["items"] == 2
    assert answers(tmp_path) == {
        "piece-0.png": "accept",
        "piece-1.png": "reject",
        "piece-2.png": "review",
        "piece-3.png": "review",
    }
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4


def test_log_monitor_capture_and_challenge_are_switched_on(tmp_path, crops) -> None:
    records, port = tmp_path / "challenges.jsonl", free_port()
    config = folder_line(
        tmp_path,
        crops,
        log={"folder": str(tmp_path / "log")},
        monitor={"state": str(tmp_path / "monitor.json"), "prometheus_port": port},
        challenge={"records": str(records)},
        capture={"folder": str(tmp_path / "captured"), "sample": 1},
        on_fault="reject",
    )
    scraped = []

    def scrape(station) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            scraped.append(page.read().decode())

    summary = run(config, most_items=4, began=scrape)
    assert (summary["accept"], summary["reject"]) == (0, 3)
    assert "drupe" in scraped[0]
    lines = []
    check = verify_log(tmp_path / "log", each=lines.append)
    assert check.problems == []
    lanes = {one["item"]: one["lane"] for one in lines if "item" in one}
    assert lanes["piece-0.png"] == "accept"  # what was decided; the line had no challenge
    assert lanes["piece-3.png"] is None
    assert len(list((tmp_path / "captured").rglob("*.npy"))) == 3
    assert json.loads((tmp_path / "monitor.json").read_text())["lanes"]["accept"] == 1


def test_a_state_in_use_is_refused(tmp_path, crops) -> None:
    config = folder_line(tmp_path, crops)

    def again(station) -> None:
        with pytest.raises(InputError, match="another process runs the line"):
            run(config, most_items=1)

    run(config, most_items=1, began=again)


def test_a_generator_is_a_source(tmp_path, monkeypatch) -> None:
    module = types.ModuleType("my_camera")
    module.frames = lambda: iter([("a", images(ACCEPTED)[0]), ("b", None)])
    monkeypatch.setitem(sys.modules, "my_camera", module)
    source = {"generator": {"function": "my_camera:frames", "order": "rgb"}}
    assert run(line_config(tmp_path, source=source))["items"] == 2
    assert answers(tmp_path) == {"a": "accept", "b": "review"}


def test_each_part_is_tried_out(tmp_path, crops, monkeypatch) -> None:
    monkeypatch.setattr("drupe.line.station.opening.load", lambda *given, **options: stand_in())
    (tmp_path / "answers.csv").mkdir()
    config = folder_line(
        tmp_path,
        crops,
        sinks=[
            {"jsonl": {"path": str(tmp_path / "answers.jsonl")}},
            {"csv": {"path": str(tmp_path / "answers.csv")}},
        ],
        challenge={"records": str(tmp_path / "challenges.jsonl")},
    )
    source, bundle, jsonl, csv, challenge = try_line(config)
    assert source.found == "4 images lie there, 4 not decided"
    assert bundle.found == "decides with onnxruntime fp32"
    assert jsonl.found == "can be written"
    assert (csv.part, csv.found) == (f"csv {tmp_path / 'answers.csv'}", None)
    assert "Is a directory" in csv.fault
    assert "none was made yet" in challenge.fault
    assert not (tmp_path / "answers.jsonl").exists()
    assert not (tmp_path / "state").exists()


def test_a_bundle_and_a_source_that_do_not_work(tmp_path) -> None:
    source = {"folder": {"path": str(tmp_path / "gone")}}
    tried = try_line(line_config(tmp_path, source=source))
    assert "must be a folder" in tried[0].fault
    assert "no such folder" in tried[1].fault


def test_the_bundle_is_told_the_order_of_the_sources_arrays(tmp_path, monkeypatch) -> None:
    from drupe.line.station.opening import open_bundle

    told = {}
    monkeypatch.setattr(
        "drupe.line.station.opening.load", lambda path, **options: told.update(options)
    )
    pytest.importorskip("cv2", reason="needs drupe[video]")
    config = line_config(tmp_path, source={"video": {"path": 0}}, threads=3)
    open_bundle(config, open_source(config, Hands().clock))
    function = {"backend": None, "precision": None}
    assert told == {"order": "bgr", "threads": 3, "uncertified": False, **function}
    named = {"backend": "openvino", "precision": "fp32"}
    config = line_config(tmp_path, source={"video": {"path": 0}}, **named)
    open_bundle(config, open_source(config, Hands().clock))
    assert {name: told[name] for name in named} == named


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        ("mqtt", {"host": "broker"}, "mqtt broker:1883 drupe"),
        ("modbus", {"host": "plc"}, "modbus plc:502 unit 1"),
        (
            "opcua",
            {"url": "opc.tcp://plc:4840", "node": "ns=2;s=D"},
            "opcua opc.tcp://plc:4840 ns=2;s=D",
        ),
    ],
)
def test_sinks_over_the_network_are_made_without_one(tmp_path, kind, settings, name) -> None:
    needs(kind)
    config = line_config(tmp_path, sinks=[{kind: settings}])
    assert make_sink(config.sinks[0], config, Clock()).name == name
