"""Runs jobs on this machine, each in a process of its own.

A job that dies (killed, out of memory, diverged) fails alone, and what it held is freed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drupe.host import available_cores
from drupe.study.definition.plan import Lane
from drupe.study.execution.executor import Ended, Job
from drupe.study.execution.process import CommandProcess

STOP_SECONDS = 20.0
"""Time for a run to write its record after Ctrl-C, before it is killed."""
RUN_MEBIBYTES = 10_000
"""GPU memory that a run of this kind of study may need: what a device's share is counted by."""


@dataclass(frozen=True)
class Device:
    """A GPU by the name that ``CUDA_VISIBLE_DEVICES`` takes, and how many runs it takes at once."""

    name: str
    runs: int


def find_devices() -> tuple[Device, ...]:
    """Return the GPUs that ``nvidia-smi`` lists, each with the runs that its free memory holds.

    Of these, those that ``CUDA_VISIBLE_DEVICES`` leaves to this process, where it is set.
    """
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits"]
    found = subprocess.run(query, capture_output=True, text=True, check=False)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    allowed = None if visible is None else {name.strip() for name in visible.split(",")}
    devices = []
    for line in found.stdout.splitlines() if found.returncode == 0 else ():
        index, uuid, free = (part.strip() for part in line.split(","))
        if free.isdigit() and (allowed is None or allowed & {index, uuid}):
            devices.append(Device(index, max(1, int(free) // RUN_MEBIBYTES)))
    return tuple(devices)


class LocalExecutor:
    """Processes on this machine: ``runs`` training runs at once where there is no GPU."""

    def __init__(self, runs: int = 1, devices: Sequence[Device] | None = None) -> None:
        self.devices = find_devices() if devices is None else tuple(devices)
        self.runs = runs
        self._running: dict[str, _Child] = {}

    def slots(self, lane: Lane) -> int:
        """Return how many jobs of ``lane`` may run at once."""
        if lane == "exclusive":
            return 1
        if lane == "gpu" and self.devices:
            return sum(device.runs for device in self.devices)
        return self.runs

    @property
    def threads(self) -> int:
        """CPU threads of a run: the cores shared among those that run at once."""
        return max(1, available_cores() // max(self.slots("gpu"), 1))

    def start(self, job: Job) -> None:
        """Start a job, on the device that has the fewest."""
        device = self._free_device() if job.task.lane == "gpu" else None
        self._running[job.task.name] = _Child.started(job, device)

    def _free_device(self) -> str | None:
        taken = [child.device for child in self._running.values()]
        free = [device for device in self.devices if taken.count(device.name) < device.runs]
        return min(free, key=lambda one: taken.count(one.name)).name if free else None

    def ended(self, seconds: float) -> list[Ended]:
        """Return the jobs that have ended since the last call, waiting ``seconds`` at most."""
        if not self._running:
            time.sleep(seconds)
        CommandProcess.wait_for_any([one.process for one in self._running.values()], seconds)
        ended = [name for name, child in self._running.items() if child.has_ended]
        return [self._running.pop(name).result() for name in ended]

    def stop(self) -> None:
        """Interrupt what runs, as Ctrl-C would; kill what hasn't ended after 20 seconds."""
        for child in self._running.values():
            child.process.interrupt()
        until = time.monotonic() + STOP_SECONDS
        while self._running and time.monotonic() < until:
            self.ended(1.0)
        for child in self._running.values():
            child.process.kill()
        self._running.clear()


@dataclass
class _Child:
    job: Job
    device: str | None
    process: CommandProcess

    @classmethod
    def started(cls, job: Job, device: str | None) -> _Child:
        """Start the process; its stderr goes to the log, its stdout to a file beside the answer."""
        job.log.parent.mkdir(parents=True, exist_ok=True)
        answer = _partial(job.answer) if job.answer else Path(os.devnull)
        return cls(job, device, CommandProcess(job.words, _environment(device), job.log, answer))

    @property
    def has_ended(self) -> bool:
        return self.process.exit_code is not None

    def result(self) -> Ended:
        """Return how it ended; an answer takes its place if it is whole."""
        code = self.process.exit_code
        assert code is not None
        if self.job.answer:
            partial = _partial(self.job.answer)
            if code in (0, 1) and partial.exists() and partial.stat().st_size:
                partial.replace(self.job.answer)
            else:
                partial.unlink(missing_ok=True)
        return Ended(self.job.task, code)


def _partial(answer: Path) -> Path:
    return answer.with_name(f".{answer.name}.partial")


def _environment(device: str | None) -> Mapping[str, str]:
    """Return this process's environment, with one GPU to be seen."""
    return {**os.environ, **({"CUDA_VISIBLE_DEVICES": device} if device is not None else {})}
