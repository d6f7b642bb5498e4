from __future__ import annotations

import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drupe.errors import InputError
from drupe.evaluation.document import evaluation_document
from drupe.runs.epoch_log import EpochResult, append_epoch
from drupe.runs.evaluation_file import Evaluation
from drupe.runs.record import DataRecord, RunRecord
from drupe.study.definition.plan import Task
from drupe.study.execution.journal import Outcome
from drupe.training.config import ExperimentConfig, write_config
from run_files import decided

pytest.importorskip("mlflow", reason="needs drupe[mlflow]")
pytest.importorskip("alembic", reason="needs drupe[mlflow]")

import mlflow

from drupe.study import mlflow_tracking as tracking
from drupe.study.mlflow_tracking import MlflowTracker


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a local MLflow store: its tables take seconds to make."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A local MLflow store; its artefacts go below the working folder."""
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{shutil.copy(empty_store, tmp_path)}"


def finished(folder: Path, experiment: str, seed: int) -> Task:
    """Write a finished run and return its task."""
    run = folder / experiment / f"seed-{seed}"
    run.mkdir(parents=True)
    config = ExperimentConfig.model_validate(
        {"name": experiment, "seed": seed, "model": {"architecture": "test_resnet"}}
    )
    write_config(run, config)
    RunRecord(
        status="done",
        experiment=experiment,
        seed=seed,
        identity=config.identity("f" * 64),
        data=DataRecord(
            fingerprint="f" * 64,
            classes=("clean", "pit"),
            fit=1,
            calibration=1,
            test=1,
            dropped=0,
            skipped=[],
        ),
        crop=None,
        weights=None,
        device="cpu",
        processes=1,
        versions={},
        host={},
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        train_seconds=50.0,
    ).write(run)
    for epoch, loss in enumerate((0.7, 0.6)):
        append_epoch(run, EpochResult(epoch, loss, 0.5, 1e-3, images=64, seconds=25.0))
    document = evaluation_document(
        calibration=None, test=decided(10, wrong=[0]), temperature=1.0, test_groups=range(10)
    )
    Evaluation.model_validate(document).write(run)
    return Task(f"{experiment} seed {seed}", "train", experiment, "gpu", run, seed, config)


def follow(
    tracker: MlflowTracker, tasks: list[Task], *states: dict[str, str]
) -> list[dict[str, Any]]:
    """Let ``tracker`` follow a study through ``states``; return what the inner watch saw."""
    seen: list[dict[str, Any]] = []
    study = SimpleNamespace(spec=SimpleNamespace(study="small"))
    start: Any = SimpleNamespace(tasks=tasks, work=SimpleNamespace(study=study), deviations=[])
    watch = tracker.follow(lambda _: seen.append)(start)
    for state in states:
        watch({name: Outcome(value) for name, value in state.items()})  # type: ignore[arg-type]
    return seen


def logged(uri: str) -> list[Any]:
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name("small")
    return list(client.search_runs([found.experiment_id])) if found else []


def refuse_to_warn(message: str) -> None:
    raise AssertionError(message)


def test_a_finished_run_is_written_down_whole_and_only_once(uri, tmp_path) -> None:
    tasks = [finished(tmp_path, "A", 1), finished(tmp_path, "A", 2)]
    running = {"A seed 1": "done", "A seed 2": "running"}
    done = {"A seed 1": "done", "A seed 2": "done"}

    seen = follow(MlflowTracker(uri, refuse_to_warn), tasks, running, running, done)
    follow(MlflowTracker(uri, refuse_to_warn), tasks, done)

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
    tasks = [finished(tmp_path, "A", 1)]
    warnings: list[str] = []
    with monkeypatch.context() as broken:

        def fail(*_: object) -> None:
            raise OSError("the disk is full")

        broken.setattr(mlflow.MlflowClient, "log_artifact", fail)
        follow(MlflowTracker(uri, warnings.append), tasks, {"A seed 1": "done"})
    assert [run.info.status for run in logged(uri)] == ["RUNNING"]

    follow(MlflowTracker(uri, refuse_to_warn), tasks, {"A seed 1": "done"})

    assert [run.info.status for run in logged(uri)] == ["FINISHED"]
    assert len(warnings) == 1
    assert "the disk is full" in warnings[0]


def test_a_server_that_is_down_is_one_warning_and_the_study_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tasks = [finished(tmp_path, "A", 1)]
    warnings: list[str] = []

    seen = follow(MlflowTracker("http://127.0.0.1:1", warnings.append), tasks, {"A seed 1": "done"})

    assert len(seen) == 1
    assert len(warnings) == 1
    assert "http://127.0.0.1:1 can't be reached" in warnings[0]


@pytest.mark.parametrize("uri", ["foo://bar", "sqlite:////proc/no/such/folder/mlflow.db"])
def test_an_unusable_uri_is_refused_before_anything_runs(uri: str) -> None:
    with pytest.raises(InputError, match=f"tracking.mlflow: {uri} can't be used"):
        MlflowTracker(uri, refuse_to_warn)


def test_a_failed_run_is_not_written_down(uri, tmp_path) -> None:
    tasks = [finished(tmp_path, "A", 1)]

    follow(MlflowTracker(uri, refuse_to_warn), tasks, {"A seed 1": "failed"})

    assert logged(uri) == []


def test_the_study_does_not_wait_for_a_store_that_hangs(uri, tmp_path, monkeypatch) -> None:
    tasks = [finished(tmp_path, "A", 1)]
    warnings: list[str] = []
    released = threading.Event()
    monkeypatch.setattr(tracking, "FLUSH_SECONDS", 0.1)
    monkeypatch.setattr(tracking, "write_run", lambda *_: released.wait(20))

    follow(MlflowTracker(uri, warnings.append), tasks, {"A seed 1": "done"})
    released.set()

    assert warnings == ["tracking.mlflow: too slow; run the study again to write down the rest"]
