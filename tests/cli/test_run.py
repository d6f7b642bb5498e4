from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from line_parts import ACCEPTED, REJECTED
from line_stand_in import LINE_PC, images, stand_in


@pytest.fixture
def line(tmp_path, monkeypatch):
    """A line's YAML over a folder of two images and one that is none."""
    monkeypatch.setattr("drupe.line.station.opening.load", lambda *given, **options: stand_in())
    (tmp_path / "crops").mkdir()
    for number, score in enumerate((ACCEPTED, REJECTED)):
        Image.fromarray(images(score)[0]).save(tmp_path / "crops" / f"{number}.png")
    (tmp_path / "crops" / "2.png").write_bytes(b"no image")

    def write(**changes) -> str:
        document = {
            "bundle": "none",
            "state": "state",
            "source": {"folder": {"path": "crops", "waiting": "decide", "settle_ms": 0}},
            "sinks": [{"jsonl": {"path": "answers.jsonl"}}],
        }
        (tmp_path / "line.yaml").write_text(yaml.safe_dump(document | changes))
        return "line.yaml"

    return write


def test_a_line_is_run_and_says_what_it_did(quick, line) -> None:
    result = quick("run", line(), "--items", "2")
    assert result.code == 0
    assert result.stdout.startswith("2 items: 1 accept, 0 review, 1 reject\n0 late, 0 overruns")
    assert "jsonl answers.jsonl" in result.stdout
    result = quick("run", line(), "--items", "1", "--json")
    assert json.loads(result.stdout)["review"] == 1


def test_a_sink_that_took_nothing_is_exit_code_1(quick, line, tmp_path) -> None:
    (tmp_path / "answers.jsonl").mkdir()
    result = quick("run", line(), "--items", "2")
    assert result.code == 1
    assert "2 items: 0 accept, 1 review, 1 reject" in result.stdout
    assert "answers.jsonl" in result.stderr


def test_progress_says_why_nothing_is_accepted(quick, line, monkeypatch) -> None:
    monkeypatch.setattr("drupe.cli.run.LOOK_S", 0.01)
    monkeypatch.setattr("drupe.line.station.station.LOOK_S", 0.05)
    from drupe.line.station.sources.folder import FolderSource

    items = FolderSource.items

    def two(self, stop):
        yield from (one for one in items(self, stop) if stop.wait(0.03) or True)

    monkeypatch.setattr(FolderSource, "items", two)
    result = quick("run", line(challenge={"records": "none.jsonl"}), "--items", "3")
    assert "nothing is accepted: challenge: none was made yet (none.jsonl)" in result.stderr


def test_a_check_decides_nothing(quick, line, tmp_path) -> None:
    result = quick("run", line(), "--check")
    assert result.code == 0
    assert "folder crops works: 3 images lie there, 3 not decided" in result.stdout
    assert not (tmp_path / "answers.jsonl").exists()
    failing = line(challenge={"records": "none.jsonl"})
    result = quick("run", failing, "--check")
    assert result.code == 1
    assert "challenge none.jsonl FAILS: challenge: none was made yet" in result.stdout
    document = json.loads(quick("run", failing, "--check", "--json").stdout)
    assert document["passed"] is False
    assert document["parts"][0]["found"] == "3 images lie there, 3 not decided"


def test_mistakes_are_one_message(quick, line) -> None:
    result = quick("run", line(tmming={}))
    assert (result.code, "tmming: unknown key (did you mean timing" in result.stderr) == (2, True)
    result = quick("run", line(source={"folder": {"path": "gone"}}))
    assert result.code == 2
    assert "source.folder.path: must be a folder, got gone" in result.stderr


@pytest.mark.parametrize(
    ("module", "part", "extra"),
    [
        ("paho", {"sinks": [{"mqtt": {"host": "a"}}]}, "mqtt"),
        ("pymodbus", {"sinks": [{"modbus": {"host": "a"}}]}, "modbus"),
        ("asyncua", {"sinks": [{"opcua": {"url": "opc.tcp://a", "node": "ns=2;s=a"}}]}, "opcua"),
        ("cv2", {"source": {"video": {"path": 0}}}, "video"),
    ],
)
def test_a_missing_extra_is_named(quick, line, monkeypatch, module, part, extra) -> None:
    import sys

    for name in [one for one in sys.modules if one.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    for options in ((), ("--check",)):
        result = quick("run", line(**part), *options)
        assert result.code == 2
        assert f"drupe run needs the package '{module}'" in result.stderr
        assert f"pip install 'drupe[{extra}]'" in result.stderr


@pytest.mark.thorough
def test_a_line_needs_neither_pytorch_nor_an_extra(drupe, tmp_path) -> None:
    from untrained import untrained_bundle

    untrained_bundle(tmp_path / "bundle", "test_resnet", 32)
    (tmp_path / "crops").mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        pixels = random.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "crops" / f"{number}.png")
    document = {
        "bundle": "bundle",
        "uncertified": True,
        "state": "state",
        "source": {"folder": {"path": "crops", "waiting": "decide"}},
        "sinks": [{"csv": {"path": "answers.csv"}}, {"jsonl": {"path": "answers.jsonl"}}],
        "log": {"folder": "decisions"},
        "monitor": {"state": "monitor.json"},
    }
    (tmp_path / "line.yaml").write_text(yaml.safe_dump(document))
    extras = ("paho", "pymodbus", "asyncua", "cv2", "prometheus_client")
    result = drupe("run", "line.yaml", "--items", "3", "--json", blocked=(*LINE_PC, *extras))
    summary = json.loads(result.stdout)
    assert (result.code, summary["items"], summary["undelivered"]) == (0, 3, 0)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 3
    assert drupe("log", "verify", "decisions").code == 0
    result = drupe("run", "line.yaml", "--check", blocked=(*LINE_PC, *extras))
    assert (result.code, "bundle bundle works: decides with onnxruntime fp32" in result.stdout) == (
        0,
        True,
    )
