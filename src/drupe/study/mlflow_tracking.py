"""Finished runs, written down in MLflow as well: parameters, epochs, figures, small files.

The files in the store stay the record; MLflow gets a copy. A server that is down costs the study
nothing but a warning: what it missed is written when the same study is run again.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException

from drupe.configuration import flatten
from drupe.errors import DrupeError, InputError
from drupe.runs.epoch_log import finished_epochs
from drupe.runs.evaluation_file import read_evaluation
from drupe.runs.layout import CONFIG_FILE, EVALUATION_FILE
from drupe.runs.record import RunRecord, read_record
from drupe.study.definition.plan import Task
from drupe.study.execution.journal import Outcome
from drupe.study.execution.scheduler import Watch
from drupe.study.run import OnStart, StudyStart
from drupe.training.config import written_settings

REMOTE = ("http", "https", "databricks", "postgresql", "mysql", "mssql")
"""URIs by their scheme that name another machine: it may be down just now."""
RETRIES, TIMEOUT_SECONDS = 2, 20
"""Of a request; MLflow's own would be minutes."""
FLUSH_SECONDS = 120.0
"""Time to write what is left when the study is over."""
BATCH = 100
"""Parameters per request that MLflow allows; of metrics, ten times as many."""
ARTEFACTS = (CONFIG_FILE, EVALUATION_FILE)

Warn = Callable[[str], None]


class MlflowTracker:
    """An MLflow store that follows a study, in a thread: the study never waits for it.

    ``warn`` gets one message if the store can't be reached, and then nothing is written any more.

    Raises:
        InputError: ``uri`` is none that MLflow could use here.
    """

    def __init__(self, uri: str, warn: Warn) -> None:
        self.uri, self.warn = uri, warn
        self._waiting: SimpleQueue[Task | None] = SimpleQueue()
        self._client: MlflowClient | None = None
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        for setting, value in (
            (MLFLOW_HTTP_REQUEST_MAX_RETRIES, RETRIES),
            (MLFLOW_HTTP_REQUEST_TIMEOUT, TIMEOUT_SECONDS),
        ):
            if not setting.is_set():
                setting.set(value)
        try:
            client = MlflowClient(tracking_uri=uri)
            client.search_experiments(max_results=1)
        except Exception as error:  # each kind of store has errors of its own
            if uri.partition("+")[0].partition(":")[0] not in REMOTE or _is_unusable(error):
                raise InputError(f"tracking.mlflow: {uri} can't be used: {_first(error)}") from None
            self._give_up(error)
        else:
            self._client = client

    def follow(self, on_start: OnStart) -> OnStart:
        """Return ``on_start``, with every run that is done written down as well."""

        def followed(start: StudyStart) -> Watch:
            watch = on_start(start)
            if self._client is None:
                return watch
            name = start.work.study.spec.study
            writer = threading.Thread(target=self._write_all, args=(name,), daemon=True)
            writer.start()
            return _Following(start, watch, self._waiting, writer, self.warn)

        return followed

    def _write_all(self, study: str) -> None:
        while (task := self._waiting.get()) is not None:
            if self._client is None:
                continue
            try:
                write_run(self._client, study, task)
            except Exception as error:
                self._client = None
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.warn(
            f"tracking.mlflow: {self.uri} can't be reached, so the runs are kept in the store "
            f"alone (the same command writes them down later): {_first(error)}"
        )


class _Following:
    """Hands over each run when it is done; at the end, waits until all are written."""

    def __init__(
        self,
        start: StudyStart,
        watch: Watch,
        waiting: SimpleQueue[Task | None],
        writer: threading.Thread,
        warn: Warn,
    ) -> None:
        self.runs = {task.name: task for task in start.tasks if task.is_run}
        self.watch, self.waiting, self.writer, self.warn = watch, waiting, writer, warn

    def __call__(self, outcomes: dict[str, Outcome]) -> None:
        """Pass on what became of each task."""
        self.watch(outcomes)
        for name in [name for name in self.runs if outcomes[name].is_done]:
            self.waiting.put(self.runs.pop(name))
        if self.writer.is_alive() and all(outcome.is_settled for outcome in outcomes.values()):
            self.waiting.put(None)
            self.writer.join(FLUSH_SECONDS)
            if self.writer.is_alive():
                self.warn("tracking.mlflow: too slow; run the study again to write down the rest")


def write_run(client: MlflowClient, study: str, task: Task) -> None:
    """Write a finished run down, unless it already is; what an interruption left is replaced."""
    record = read_record(task.folder)
    if record is None:
        return
    experiment = _experiment(client, study)
    tags = {
        "study": study,
        "experiment": task.experiment,
        "seed": str(record.seed),
        "identity": record.identity,
        "data_fingerprint": record.data.fingerprint,
        "kind": task.kind,
    }
    same = " and ".join(f"tags.{key} = '{tags[key]}'" for key in ("identity", "experiment", "kind"))
    for known in client.search_runs([experiment], same):
        if known.info.status == "FINISHED":
            return
        client.delete_run(known.info.run_id)
    started, finished = _milliseconds(record.started), _milliseconds(record.finished)
    run = client.create_run(experiment, started, tags, run_name=task.name).info.run_id
    params = [Param(key, value) for key, value in _params(task.folder)]
    for start in range(0, len(params), BATCH):
        client.log_batch(run, params=params[start : start + BATCH])
    metrics = [*_series(task.folder, started), *_figures(task.folder, record, finished)]
    for start in range(0, len(metrics), 10 * BATCH):
        client.log_batch(run, metrics=metrics[start : start + 10 * BATCH])
    for name in ARTEFACTS:
        client.log_artifact(run, str(task.folder / name))
    client.set_terminated(run, RunStatus.to_string(RunStatus.FINISHED), finished)


def _experiment(client: MlflowClient, study: str) -> str:
    known = client.get_experiment_by_name(study)
    return str(known.experiment_id if known else client.create_experiment(study))


def _params(folder: Path) -> Iterator[tuple[str, str]]:
    for key, value in written_settings(folder).items():
        yield key, "null" if value is None else str(value)


def _series(folder: Path, started: int) -> Iterator[Metric]:
    """Yield every number of every epoch, at the time when the epoch was over."""
    seconds = 0.0
    for result in finished_epochs(folder):
        seconds += result.seconds
        for key, value in result.to_json().items():
            if key != "epoch" and _is_number(value):
                at = started + int(1000 * seconds)
                yield Metric(f"epoch.{key}", value, at, result.epoch + 1)


def _figures(folder: Path, record: RunRecord, at: int) -> Iterator[Metric]:
    """Yield the final figures: of a proportion, its rate and interval."""
    for key, value in flatten(_rates(read_evaluation(folder).to_json())).items():
        if _is_number(value):
            yield Metric(key, value, at, 0)
    for key, spent in (("train", record.train_seconds), ("judge", record.judge_seconds)):
        if spent is not None:
            yield Metric(f"seconds.{key}", spent, at, 0)


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


def _milliseconds(time: str | None) -> int:
    return int(1000 * datetime.fromisoformat(time).timestamp()) if time else 0


def _is_unusable(error: Exception) -> bool:
    """Return whether a later try can't help: a package is missing, or the URI not understood."""
    refused = isinstance(error, MlflowException) and "nsupported URI" in str(error)
    return refused or isinstance(error, ImportError | ValueError | DrupeError)


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
