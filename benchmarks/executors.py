"""What an executor adds to each run of a study, in seconds: everything but the run's own process.

    python benchmarks/executors.py --data crops                  this machine
    python benchmarks/executors.py --data crops --address auto   a Ray cluster

Each job is the same short command, `drupe --version`, in a process that has loaded what every run
loads; such a process is also run by itself in between, and the difference of the medians is the
executor's share. It is negative where processes are copies of one that has loaded it before. Prints
one JSON row. On Ray a run also starts an actor (a Python process with Ray in it), which is timed by
itself as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from drupe import __version__
from drupe.host import cpu_name
from drupe.study.definition.plan import Task
from drupe.study.execution.executor import Executor, Job
from drupe.study.execution.local import LocalExecutor
from drupe.study.execution.process import LOADED
from drupe.training.config import ExperimentConfig
from provenance import commit

WORDS = ("--version",)
PART = 0.02
"""What orchestration may take of a run."""


class ShortProcess(LocalExecutor):
    """Starts the short process, whatever it is told to start."""

    def start(self, job: Job) -> None:
        """Start the short process in place of ``job``'s."""
        super().start(Job(job.task, WORDS, job.log))


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def run_one(executor: Executor, job: Job) -> None:
    executor.start(job)
    while not executor.ended(0.5):
        pass


def on_ray(address: str, store: Path) -> tuple[Executor, Callable[[], object]]:
    """Return the executor, and what starts an actor and hears one answer."""
    import ray

    from drupe.study.execution.ray import executor as ray_executor
    from drupe.study.execution.ray.node import NodeRun

    class ShortRun(NodeRun):
        def __init__(self) -> None:
            super().__init__()
            self.local = ShortProcess(devices=())

    ray_executor.NodeRun = ShortRun  # type: ignore[misc]

    class Nothing:
        def answer(self) -> None:
            pass

    def start_actor() -> None:
        actor = ray.remote(Nothing).options(num_cpus=1).remote()
        ray.get(actor.answer.remote())
        ray.kill(actor)

    return ray_executor.RayExecutor(address, store), start_actor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--address")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=10)
    given = parser.parse_args()
    load = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        config = ExperimentConfig.model_validate(
            {
                "model": {"architecture": "test_resnet"},
                "input": {"size": given.size},
                "data": {"root": given.data.resolve()},
            }
        )
        executor: Executor = ShortProcess(devices=())
        start_actor = None
        if given.address:
            executor, start_actor = on_ray(given.address, store)
        file = store / "run.yaml"
        file.write_text(json.dumps(config.model_dump(mode="json")))
        task = Task("A seed 1", "train", "A", "gpu", store / "run", 1, config)
        job = Job(task, ("train", str(file)), store / "log")
        loads = f"import sys, {', '.join(LOADED)}; from drupe.cli.app import main; main()"
        command = [sys.executable, "-c", loads, *WORDS]
        first = timed(lambda: run_one(executor, job))  # sends and unpacks the data
        spent, alone, actors = [], [], []
        for _ in range(given.repeats):
            alone.append(timed(lambda: subprocess.run(command, check=True, capture_output=True)))
            spent.append(timed(lambda: run_one(executor, job)))
            if start_actor is not None:
                actors.append(timed(start_actor))
        executor.stop()
    overhead = statistics.median(spent) - statistics.median(alone)
    row = {
        "command": " ".join(sys.argv),
        "executor": "ray" if given.address else "local",
        "drupe": __version__,
        "python": platform.python_version(),
        "commit": commit(),
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "load_at_start": load,
        "repeats": given.repeats,
        "first_seconds": round(first, 3),
        "process_seconds": round(statistics.median(alone), 3),
        "job_seconds": round(statistics.median(spent), 3),
        "overhead_seconds": round(overhead, 3),
        "actor_seconds": round(statistics.median(actors), 3) if actors else None,
        "below_2_percent_from_seconds": round(overhead / PART, 1),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
