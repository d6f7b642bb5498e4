"""A study's finished runs in its trackers: MLflow and TensorBoard."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from drupe.errors import InputError
from drupe.study.definition.plan import Task
from drupe.study.execution.journal import Outcome
from drupe.study.tracking import follow_study
from drupe.training.tracking import following
from drupe.training.tracking.following import Warn, open_trackers
from drupe.training.tracking.settings import Tracking
from tracked_runs import refuse_to_warn, write_finished

pytest.importorskip("mlflow", reason="needs drupe[mlflow]")
pytest.importorskip("alembic", reason="needs drupe[mlflow]")

import mlflow

from drupe.training.tracking.mlflow_runs import MlflowRuns

pytestmark = pytest.mark.thorough


def follow(
    uri: str, warn: Warn, tasks: list[Task], *states: dict[str, str]
) -> list[dict[str, Any]]:
    """Let MLflow follow a study through ``states``; return what the inner watch saw."""
    seen: list[dict[str, Any]] = []
    study = SimpleNamespace(spec=SimpleNamespace(study="small"))
    start: Any = SimpleNamespace(tasks=tasks, work=SimpleNamespace(study=study), deviations=[])
    trackers = open_trackers(Tracking(mlflow=uri), warn)
    watch = follow_study(trackers, lambda _: seen.append, warn)(start)
    for state in states:
        watch({name: Outcome(value) for name, value in state.items()})  # type: ignore[arg-type]
    return seen


def logged(uri: str) -> list[Any]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name("small")
    return list(client.search_runs([found.experiment_id])) if found else []


def test_a_finished_run_is_written_down_whole_and_only_once(uri, tmp_path) -> None:
    tasks = [write_finished(tmp_path, "A", 1), write_finished(tmp_path, "A", 2)]
    running = {"A seed 1": "done", "A seed 2": "running"}
    done = {"A seed 1": "done", "A seed 2": "done"}

    seen = follow(uri, refuse_to_warn, tasks, running, running, done)
    follow(uri, refuse_to_warn, tasks, done)

    assert len(seen) == 3
    runs = logged(uri)
    assert sorted(run.info.run_name for run in runs) == ["A seed 1", "A seed 2"]
    run = next(run for run in runs if run.data.tags["seed"] == "1")
    assert run.info.status == "FINISHED"
    assert run.info.end_time - run.info.start_time == 60_000
    assert run.data.params["training.learning_rate"] == "0.0001"
    assert run.data.params["calibration.crossfit"] == "null"
    assert run.data.tags["identity"] == tasks[0].config.identity("f" * 64)
    assert run.data.tags["data_fingerprint"] == "f" * 64
    assert run.data.tags["experiment"] == "A"
    assert run.data.metrics["auroc"] == 0.9
    assert run.data.metrics["test.argmax.accuracy.rate"] == 0.9
    assert "test.argmax.accuracy.trials" not in run.data.metrics
    client = mlflow.MlflowClient(tracking_uri=uri)
    loss = client.get_metric_history(run.info.run_id, "epoch.loss")
    assert [(point.step, point.value) for point in loss] == [(1, 0.7), (2, 0.6)]
    names = sorted(item.path for item in client.list_artifacts(run.info.run_id))
    assert names == ["config.yaml", "evaluation.json"]


def test_what_an_interruption_left_half_written_is_replaced(uri, tmp_path, monkeypatch) -> None:
    tasks = [write_finished(tmp_path, "A", 1)]
    warnings: list[str] = []
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise OSError("the disk is full")

        broken.setattr(mlflow.MlflowClient, "log_artifact", fail)
        follow(uri, warnings.append, tasks, {"A seed 1": "done"})
    assert [run.info.status for run in logged(uri)] == ["RUNNING"]

    follow(uri, refuse_to_warn, tasks, {"A seed 1": "done"})

    assert [run.info.status for run in logged(uri)] == ["FINISHED"]
    assert len(warnings) == 1
    assert "the disk is full" in warnings[0]


def test_a_server_that_is_down_is_one_warning_and_the_study_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tasks = [write_finished(tmp_path, "A", 1)]
    warnings: list[str] = []

    seen = follow("http://127.0.0.1:1", warnings.append, tasks, {"A seed 1": "done"})

    assert len(seen) == 1
    assert len(warnings) == 1
    assert "http://127.0.0.1:1 can't be reached" in warnings[0]


@pytest.mark.parametrize("uri", ["foo://bar", "sqlite:////proc/no/such/folder/mlflow.db"])
def test_an_unusable_uri_is_refused_before_anything_runs(uri: str) -> None:
    with pytest.raises(InputError, match=f"tracking.mlflow: {uri} can't be used"):
        open_trackers(Tracking(mlflow=uri), refuse_to_warn)


def test_a_failed_run_is_not_written_down(uri, tmp_path) -> None:
    tasks = [write_finished(tmp_path, "A", 1)]

    follow(uri, refuse_to_warn, tasks, {"A seed 1": "failed"})

    assert logged(uri) == []


def test_the_study_does_not_wait_for_a_store_that_hangs(uri, tmp_path, monkeypatch) -> None:
    tasks = [write_finished(tmp_path, "A", 1)]
    warnings: list[str] = []
    released = threading.Event()
    monkeypatch.setattr(following, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(MlflowRuns, "finish", lambda *_: released.wait(20))

    follow(uri, warnings.append, tasks, {"A seed 1": "done"})
    released.set()

    (warning,) = warnings
    assert warning.startswith(f"tracking.mlflow: {uri} is too slow")
