from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drupe.cli.stopping import Terminated, stopping_signal
from processes import all_gone, children_of

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them"),
]

TRAIN = (
    *("train", "tiny.yaml", "--data", "crops", "--out", "run", "--resume"),
    *("training.threads=1", "training.precision=fp32", "training.layout=contiguous"),
)
TINY = """
model: {architecture: test_resnet, pretrained: false}
input: {size: 64}
training: {epochs: 400, batch_size: 16, learning_rate: 1.0e-3, checkpoint_every: 1}
"""
STUDY = """
study: stopped
seeds: [1]
criteria: {accuracy: 0.5, recall: 0.8}
baseline: {experiment: BASE}
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 400, batch_size: 16, learning_rate: 1.0e-3, threads: 1, precision: fp32,
    layout: contiguous, checkpoint_every: 1}
experiments:
  - {id: BASE}
"""


UNWINDS = """
import os, signal, time
from drupe.cli.stopping import stop_signals, stopping_signal

number, cleared = signal.Signals({number}), []
signal.signal(number, signal.SIG_DFL)  # whatever the tests were started under
ended = None
try:
    with stop_signals():
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        finally:
            os.kill(os.getpid(), number)  # asked twice: what is begun is still cleared away
            cleared.append(True)
except KeyboardInterrupt as error:
    ended = error
print(cleared == [True], stopping_signal(ended) == number)
print(signal.getsignal(number) == signal.SIG_DFL)
"""
IGNORES = """
import os, signal
from drupe.cli.stopping import stop_signals

signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
with stop_signals():
    os.kill(os.getpid(), signal.SIGHUP)
print("goes on")
"""


def said_by(program: str) -> tuple[int, list[str]]:
    """Run a program as a process of its own: signals come to the main thread alone."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.split()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_as_ctrl_c_does(number: signal.Signals) -> None:
    assert said_by(UNWINDS.format(number=int(number))) == (0, ["True", "True", "True"])


def test_what_is_ignored_stays_ignored() -> None:
    assert said_by(IGNORES) == (0, ["goes", "on"])


def test_the_signal_is_found_behind_what_it_led_to() -> None:
    def end() -> None:
        try:
            raise Terminated(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise SystemExit(130) from error

    with pytest.raises(SystemExit) as ended:
        end()
    assert stopping_signal(ended.value) == signal.SIGTERM
    assert stopping_signal(SystemExit(130)) == signal.SIGINT


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "drupe", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
    )


def wait_for(file: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < until, f"{file} never came"
        time.sleep(0.05)


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.name.endswith((".tmp", ".partial"))]


def test_a_run_says_that_it_was_interrupted(tmp_path: Path, small_synthetic: Path) -> None:
    (tmp_path / "crops").symlink_to(small_synthetic)
    (tmp_path / "tiny.yaml").write_text(TINY)
    with start(tmp_path, *TRAIN) as process:
        wait_for(tmp_path / "run" / "checkpoint" / "state.safetensors")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.endswith("Interrupted by SIGTERM.\n")
    assert "Traceback" not in said
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "interrupted"
    assert left_in(tmp_path) == []
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_study_ends_its_runs_and_says_so(tmp_path: Path, small_synthetic: Path) -> None:
    (tmp_path / "crops").symlink_to(small_synthetic)
    (tmp_path / "stopped.yaml").write_text(STUDY)
    run = tmp_path / "drupe-store" / "runs" / "stopped" / "BASE" / "seed-1"
    with start(tmp_path, "study", "run", "stopped.yaml", "--data", "crops") as process:
        wait_for(run / "checkpoint" / "state.safetensors")
        started = [
            pid for child in children_of(process.pid) for pid in (child, *children_of(child))
        ]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.endswith("Interrupted by SIGTERM.\n")
    assert started
    assert all_gone(started)
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    events = (run.parents[1] / "events.jsonl").read_text().splitlines()
    assert json.loads(events[-1])["state"] == "interrupted"
    assert left_in(tmp_path) == []
