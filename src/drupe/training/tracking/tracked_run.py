"""What a tracker is told of a run, read from its folder: tags, settings, epochs, figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from drupe.configuration import flatten
from drupe.runs.epoch_log import EpochResult, finished_epochs
from drupe.runs.evaluation_file import read_evaluation
from drupe.runs.record import RunRecord, read_record


@dataclass(frozen=True)
class TrackedRun:
    """A run under its name: ``project`` is the study's, or the experiment's where there is none."""

    folder: Path
    project: str
    experiment: str
    name: str
    kind: str = "train"

    def tags(self, record: RunRecord) -> dict[str, str]:
        """Return by what a run is found in a tracker."""
        return {
            "study": self.project,
            "experiment": self.experiment,
            "seed": str(record.seed),
            "identity": record.identity,
            "data_fingerprint": record.data.fingerprint,
            "kind": self.kind,
        }

    def record(self) -> RunRecord:
        """Return ``run.json``, which stands there from before the first epoch."""
        record = read_record(self.folder)
        assert record is not None
        return record


class RunTracker(Protocol):
    """Something that runs are written to. What it raises is caught by who calls it."""

    where: str
    """As the message says it: ``tracking.mlflow: URI``."""

    def advance(self, run: TrackedRun) -> None:
        """Write down the epochs of a run that trains."""

    def finish(self, run: TrackedRun) -> None:
        """Write a finished run down whole, unless it already is."""

    def stop(self, run: TrackedRun, interrupted: bool) -> None:
        """Write down that a run that it has seen train ended early."""


def series(folder: Path, record: RunRecord) -> Iterator[tuple[EpochResult, float]]:
    """Yield each epoch so far, and when it was over (seconds since 1970)."""
    at = seconds_of(record.started)
    for result in finished_epochs(folder):
        at += result.seconds
        yield result, at


def epoch_measures(result: EpochResult) -> Iterator[tuple[str, float]]:
    """Yield every number of an epoch."""
    for key, value in result.to_json().items():
        if key != "epoch" and _is_number(value):
            yield key, value


def figures(folder: Path, record: RunRecord) -> Iterator[tuple[str, float]]:
    """Yield the final figures: of a proportion, its rate and interval; how long it took."""
    for key, value in flatten(_rates(read_evaluation(folder).to_json())).items():
        if _is_number(value):
            yield key, value
    for key, spent in (("train", record.train_seconds), ("judge", record.judge_seconds)):
        if spent is not None:
            yield f"seconds.{key}", spent


def seconds_of(time: str | None) -> float:
    """Return an ISO time as seconds since 1970."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def first_line(error: Exception) -> str:
    """Return what an error of a tracker says first."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def _rates(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``tree`` without the certificate (made later) and a proportion's other keys."""
    kept = {key: value for key, value in tree.items() if key != "certificate"}
    if "successes" in kept and "rate" in kept:
        return {key: kept[key] for key in ("rate", "low", "high")}
    return {
        key: _rates(value) if isinstance(value, Mapping) else value for key, value in kept.items()
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
