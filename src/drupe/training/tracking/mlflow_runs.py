"""Runs in MLflow: parameters, epochs while they train, figures, small files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException

from drupe.errors import DrupeError, InputError
from drupe.runs.layout import CONFIG_FILE, EVALUATION_FILE
from drupe.runs.record import RunRecord
from drupe.training.config import written_settings
from drupe.training.tracking.tracked_run import (
    TrackedRun,
    epoch_measures,
    figures,
    first_line,
    seconds_of,
    series,
)

REMOTE = ("http", "https", "databricks", "postgresql", "mysql", "mssql")
"""URIs by their scheme that name another machine: it may be down just now."""
RETRIES, TIMEOUT_SECONDS = 2, 20
"""Of a request; MLflow's own would be minutes."""
BATCH = 100
"""Parameters per request that MLflow allows; of metrics, ten times as many."""
ARTEFACTS = (CONFIG_FILE, EVALUATION_FILE)


@dataclass
class _Open:
    """A run that is being written: its id in MLflow, and the epochs that stand there."""

    id: str
    epochs: int = 0


class MlflowRuns:
    """An MLflow store.

    Raises:
        InputError: ``uri`` is none that MLflow could use here.
        ConnectionError: it names a server that doesn't answer.
    """

    def __init__(self, uri: str) -> None:
        self.where = f"tracking.mlflow: {uri}"
        self._open: dict[Path, _Open] = {}
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        for setting, value in (
            (MLFLOW_HTTP_REQUEST_MAX_RETRIES, RETRIES),
            (MLFLOW_HTTP_REQUEST_TIMEOUT, TIMEOUT_SECONDS),
        ):
            if not setting.is_set():
                setting.set(value)
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._client.search_experiments(max_results=1)
        except Exception as error:  # each kind of store has errors of its own
            if uri.partition("+")[0].partition(":")[0] not in REMOTE or _is_unusable(error):
                raise InputError(f"{self.where} can't be used: {first_line(error)}") from None
            raise ConnectionError(str(error)) from error

    def advance(self, run: TrackedRun) -> None:
        """Write down the epochs of a run that trains."""
        record = run.record()
        if run.folder not in self._open and not self._begin(run, record):
            return
        self._write_epochs(run, record)

    def finish(self, run: TrackedRun) -> None:
        """Write a finished run down whole, unless it already is."""
        record = run.record()
        if run.folder not in self._open and not self._begin(run, record):
            return
        self._write_epochs(run, record)
        client, id = self._client, self._open.pop(run.folder).id
        at = _milliseconds(seconds_of(record.finished))
        self._log([Metric(key, value, at, 0) for key, value in figures(run.folder, record)], id)
        for name in ARTEFACTS:
            client.log_artifact(id, str(run.folder / name))
        client.set_terminated(id, RunStatus.to_string(RunStatus.FINISHED), at)

    def stop(self, run: TrackedRun, interrupted: bool) -> None:
        """Write down that a run that it has seen train ended early."""
        if run.folder in self._open:
            status = RunStatus.KILLED if interrupted else RunStatus.FAILED
            id = self._open.pop(run.folder).id
            self._client.set_terminated(id, RunStatus.to_string(status))

    def _begin(self, run: TrackedRun, record: RunRecord) -> bool:
        """Open a run in place of what an interruption left; False if it stands there whole."""
        client = self._client
        known = client.get_experiment_by_name(run.project)
        project = known.experiment_id if known else client.create_experiment(run.project)
        tags = run.tags(record)
        same = " and ".join(
            f"tags.{key} = '{tags[key]}'" for key in ("identity", "experiment", "kind")
        )
        for found in client.search_runs([project], same):
            if found.info.status == RunStatus.to_string(RunStatus.FINISHED):
                return False
            client.delete_run(found.info.run_id)
        started = _milliseconds(seconds_of(record.started))
        id = client.create_run(project, started, tags, run_name=run.name).info.run_id
        params = [
            Param(key, "null" if value is None else str(value))
            for key, value in written_settings(run.folder).items()
        ]
        for start in range(0, len(params), BATCH):
            client.log_batch(id, params=params[start : start + BATCH])
        self._open[run.folder] = _Open(id)
        return True

    def _write_epochs(self, run: TrackedRun, record: RunRecord) -> None:
        """Write every number of every new epoch, at the time when the epoch was over."""
        opened = self._open[run.folder]
        new = list(series(run.folder, record))[opened.epochs :]
        metrics = [
            Metric(f"epoch.{key}", value, _milliseconds(at), result.epoch + 1)
            for result, at in new
            for key, value in epoch_measures(result)
        ]
        self._log(metrics, opened.id)
        opened.epochs += len(new)

    def _log(self, metrics: list[Metric], id: str) -> None:
        for start in range(0, len(metrics), 10 * BATCH):
            self._client.log_batch(id, metrics=metrics[start : start + 10 * BATCH])


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)


def _is_unusable(error: Exception) -> bool:
    """Return whether a later try can't help: a package is missing, or the URI not understood."""
    refused = isinstance(error, MlflowException) and "nsupported URI" in str(error)
    return refused or isinstance(error, ImportError | ValueError | DrupeError)
