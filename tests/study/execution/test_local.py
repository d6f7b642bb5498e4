from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from drupe.study.definition.plan import Task
from drupe.study.execution.executor import Job
from drupe.study.execution.local import Device, LocalExecutor, find_devices

LIST = """
import os, sys
if sys.argv[1:] != ["{query}", "--format=csv,noheader,nounits"]: sys.exit("unexpected")
print("0, GPU-aa, 24000")
print("1, GPU-bb, 15000")
print("2, GPU-cc, [N/A]")
"""


def job(folder: Path, *words: str, name: str = "A", lane="cpu", answers: bool = False) -> Job:
    task = Task(name, "train", name, lane, folder / name, 1)
    return Job(task, words, folder / f"{name}.log", folder / "answer.json" if answers else None)


def wait(executor: LocalExecutor):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if ended := executor.ended(1.0):
            return ended
    raise AssertionError("nothing ended")


def test_a_job_answers_in_its_file_and_speaks_in_its_log(tmp_path) -> None:
    executor = LocalExecutor(devices=())
    executor.start(job(tmp_path, "--version", answers=True))
    (ended,) = wait(executor)

    assert (ended.exit_code, ended.task.name) == (0, "A")
    assert (tmp_path / "answer.json").read_text().startswith("drupe ")

    (tmp_path / "answer.json").unlink()
    executor.start(job(tmp_path, "no-such-command", answers=True))
    (ended,) = wait(executor)
    assert ended.exit_code == 2
    assert not (tmp_path / "answer.json").exists()
    assert "no-such-command" in (tmp_path / "A.log").read_text()
    assert executor.ended(0.0) == []


def test_a_killed_job_fails_alone(tmp_path) -> None:
    executor = LocalExecutor(devices=())
    executor.start(job(tmp_path, "--version"))
    os.kill(executor._running["A"].process.pid, signal.SIGKILL)

    (ended,) = wait(executor)

    assert ended.was_killed
    assert ended.reason == "killed by signal 9"


def test_stopping_leaves_nothing_running(tmp_path) -> None:
    executor = LocalExecutor(devices=())
    executor.start(job(tmp_path, "--version"))
    process = executor._running["A"].process

    executor.stop()

    assert process.exit_code is not None
    assert executor.ended(0.0) == []


@pytest.fixture
def two_gpus(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    query = "--query-gpu=index,uuid,memory.free"
    tool.write_text(f"#!{sys.executable}\n" + LIST.format(query=query))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, (Device("0", 2), Device("1", 1))),
        ("1", (Device("1", 1),)),
        ("GPU-aa, 1", (Device("0", 2), Device("1", 1))),
        ("", ()),
        ("-1", ()),
    ],
)
def test_the_gpus_that_are_left_to_this_process(two_gpus, monkeypatch, visible, found) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert find_devices() == found


def test_each_run_gets_the_device_that_has_the_fewest(tmp_path, monkeypatch) -> None:
    seen = []

    def pretend(one: Job, device: str | None):
        seen.append(device)
        return type("Child", (), {"device": device, "has_ended": False})()

    monkeypatch.setattr("drupe.study.execution.local._Child.started", pretend)
    executor = LocalExecutor(4, (Device("0", 2), Device("1", 1)))

    for name in "ABC":
        executor.start(job(tmp_path, name=name, lane="gpu"))
    executor.start(job(tmp_path, name="D", lane="cpu"))

    assert seen == ["0", "1", "0", None]
    assert (executor.slots("gpu"), executor.slots("cpu"), executor.slots("exclusive")) == (3, 4, 1)
    assert executor.threads >= 1
