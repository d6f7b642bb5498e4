"""The examples run as they stand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import drupe
from drupe.line.station.configuration import load_line

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def line_integration():
    location = EXAMPLES / "line_integration.py"
    spec = importlib.util.spec_from_file_location("line_integration", location)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.FRAMES_PER_SECOND = 1000
    return module


class Stub:
    """A classifier without a network: what it is told to do with each frame."""

    is_certified = True

    class function:
        name = "stub"

    def __init__(self, decide) -> None:
        self.decide = decide


@pytest.fixture
def crops(tmp_path) -> Path:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "crop.png")
    return tmp_path


def test_each_frame_gets_its_decision(line_integration, crops, monkeypatch) -> None:
    monkeypatch.setattr(drupe, "load", lambda bundle, order, threads: Stub(lambda frame: "accept"))
    assert line_integration.main("bundle", str(crops), 5) == {"accept": 5}


def test_a_fault_never_accepts(line_integration, crops, monkeypatch) -> None:
    def fail(frame):
        raise drupe.InputError("no image")

    monkeypatch.setattr(drupe, "load", lambda bundle, order, threads: Stub(fail))
    assert line_integration.main("bundle", str(crops), 3) == {"reject": 3}


def test_a_frame_that_failed_is_decided_as_a_fault(line_integration, crops, monkeypatch) -> None:
    (crops / "crop.png").write_bytes(b"no image")
    frames = []

    def decide(frame):
        frames.append(frame)
        raise drupe.InputError("images: must be a path, got NoneType")

    monkeypatch.setattr(drupe, "load", lambda bundle, order, threads: Stub(decide))
    assert line_integration.main("bundle", str(crops), 2) == {"reject": 2}
    assert frames == [None, None]
    (crops / "crop.png").unlink()
    with pytest.raises(drupe.DrupeError, match="must hold PNG files"):
        line_integration.main("bundle", str(crops), 2)


def test_a_missed_deadline_never_accepts(line_integration, crops, monkeypatch) -> None:
    import time

    def slow(frame):
        time.sleep(0.1)
        return "accept"

    monkeypatch.setattr(drupe, "load", lambda bundle, order, threads: Stub(slow))
    assert line_integration.main("bundle", str(crops), 2) == {"reject": 2}


def test_the_line_loads_with_the_sink_that_moves_the_flap_last() -> None:
    config = load_line(EXAMPLES / "line.yaml")
    assert config.sinks[-1].modbus is not None
    assert config.challenge is not None


def test_the_line_that_frames_are_pushed_to_listens_on_this_machine_alone() -> None:
    http = load_line(EXAMPLES / "line_http.yaml").source.http
    assert http is not None
    assert (http.host, http.token_file) == ("127.0.0.1", None)
