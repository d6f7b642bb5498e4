"""Searches for tests: real data and files, runs that are written instead of trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from drupe.configuration import merge
from drupe.runs.record import read_record
from drupe.study.execution.executor import Ended, Job
from drupe.tuning.request import Search
from drupe.tuning.space import parse_space
from run_files import predictions
from study_files import FakeExecutor, finish

EXPERIMENT: dict[str, Any] = {
    "name": "tiny",
    "model": {"architecture": "test_resnet", "pretrained": False},
    "input": {"size": 64},
    "training": {"learning_rate": 1e-5, "epochs": 2},
}
SPACE = """
training.learning_rate: {low: 1e-6, high: 1.0, log: true}
input.views: [1, 2]
"""
BEST_RATE = 1e-2


def tiny_search(data: Path, space: str = SPACE, experiment: Any = None, **others: Any) -> Search:
    """Return a search that starts from the tiny experiment with other keys on top."""
    document = merge(EXPERIMENT, experiment or {})
    return Search(
        document=document,
        data={"root": str(data)},
        source="tiny.yaml",
        space=parse_space(yaml.safe_load(space), document, "space.yaml"),
        command="drupe tune tiny.yaml --space space.yaml --data crops",
        **others,
    )


def learns(fingerprint: str) -> Callable[[Job], int]:
    """Return what writes each job's run, the better the nearer its learning rate to the best."""

    def run(job: Job) -> int:
        config = job.task.config
        assert config is not None
        assert config.data.inner
        assert Path(job.words[1]) == job.task.folder.parent / f"{job.task.folder.name}.yaml"
        off = abs(math.log10(config.training.learning_rate / BEST_RATE))
        table = predictions(400, config.data.inner[-1].fold, quality=3 - off)
        finish(job.task, test=table, fingerprint=fingerprint, calibrated=False)
        record = read_record(job.task.folder)
        assert record is not None
        record.train_seconds = 10.0
        record.write(job.task.folder)
        return 0

    return run


class KilledExecutor(FakeExecutor):
    """Does ``jobs`` jobs, then ends the search as a signal would."""

    def __init__(self, does: Callable[[Job], int | Ended], jobs: int, at_once: int = 1) -> None:
        super().__init__(does, slots={"gpu": at_once})
        self.left = jobs

    def start(self, job: Job) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        super().start(job)
