"""One training, written down in MLflow and TensorBoard while it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import drupe
from drupe.errors import InputError
from drupe.study.definition.loading import load_study
from drupe.training.config import validate_experiment
from drupe.training.tracking import following
from drupe.training.tracking.following import Courier, followed, open_trackers
from drupe.training.tracking.settings import Tracking
from drupe.training.tracking.tracked_run import TrackedRun
from tracked_runs import refuse_to_warn, write_finished

pytestmark = pytest.mark.thorough

TINY: dict[str, Any] = {
    "name": "tiny",
    "model": {"architecture": "test_resnet", "pretrained": False},
    "input": {"size": 64},
    "training": {
        "epochs": 3,
        "batch_size": 16,
        "precision": "fp32",
        "layout": "contiguous",
        "checkpoint_every": 1,
    },
}


def in_mlflow(uri: str, project: str) -> list[Any]:
    mlflow = pytest.importorskip("mlflow", reason="needs drupe[mlflow]")
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(project)
    return list(client.search_runs([found.experiment_id])) if found else []


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows of the one run in ``folder``: (step, value) by tag."""
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(module, reason="needs drupe[tensorboard]")
    shown = accumulator.EventAccumulator(str(folder))
    shown.Reload()
    return {
        tag: [(event.step, event.value) for event in shown.Scalars(tag)]
        for tag in shown.Tags()["scalars"]
    }


def test_a_training_is_written_down_as_it_goes_and_after_an_interruption(
    uri, small_synthetic, tmp_path
) -> None:
    given = {**TINY, "tracking": {"mlflow": uri, "tensorboard": str(tmp_path / "board")}}
    options = {"out": tmp_path / "run", "store": tmp_path / "store", "progress": False}

    def stop_after_two(result) -> None:
        if result.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drupe.train(given, small_synthetic, callbacks=[stop_after_two], **options)
    (cut,) = in_mlflow(uri, "tiny")
    assert cut.info.status == "KILLED"
    assert cut.data.params["training.epochs"] == "3"
    (board,) = (tmp_path / "board").iterdir()
    assert [step for step, _ in events(board)["epoch/loss"]] == [1, 2]

    run = drupe.train(given, small_synthetic, **options)
    again = drupe.train(given, small_synthetic, **options)

    assert again == run
    (whole,) = in_mlflow(uri, "tiny")
    assert whole.info.status == "FINISHED"
    assert whole.info.run_name == "tiny seed 42"
    assert whole.data.tags["identity"] == run.record.identity
    assert whole.data.metrics["auroc"] == run.evaluation.auroc
    (board,) = (tmp_path / "board").iterdir()
    assert board.name == f"tiny-seed-42-{run.record.identity[:8]}"
    shown = events(board)
    assert [step for step, _ in shown["epoch/loss"]] == [1, 2, 3]
    assert shown["epoch/loss"][-1][1] == pytest.approx(whole.data.metrics["epoch.loss"])
    assert shown["final/auroc"] == [(3, pytest.approx(run.evaluation.auroc))]
    assert (board / "written.txt").read_text() == run.record.identity + "\n"
    assert len(list(board.glob("events.*"))) == 2  # a finished run isn't written again

    # Where a run is written down says nothing about what it is.
    plain = drupe.train(TINY, small_synthetic, **options)
    assert plain.record.identity == run.record.identity


def test_a_run_that_fails_is_marked_as_failed(uri, small_synthetic, tmp_path) -> None:
    def fail(result) -> None:
        raise MemoryError("too much")

    given = {**TINY, "tracking": {"mlflow": uri}}
    options = {"out": tmp_path / "run", "store": tmp_path / "store", "progress": False}
    with pytest.raises(MemoryError):
        drupe.train(given, small_synthetic, callbacks=[fail], **options)
    assert [one.info.status for one in in_mlflow(uri, "tiny")] == ["FAILED"]


class Breaking:
    """A tracker whose disk is full from the second call on."""

    where = "tracking.tensorboard: board"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def advance(self, run: TrackedRun) -> None:
        self.calls.append("advance")
        if len(self.calls) == 2:
            raise OSError("No space left on device\nand more")

    def finish(self, run: TrackedRun) -> None:
        self.calls.append("finish")

    def stop(self, run: TrackedRun, interrupted: bool) -> None:
        self.calls.append("stop")


def test_a_tracker_that_fails_midway_is_one_warning_and_the_training_goes_on(
    monkeypatch, small_synthetic, tmp_path, caplog
) -> None:
    tracker = Breaking()
    monkeypatch.setattr(following, "open_trackers", lambda *_: [tracker])
    run = drupe.train(
        TINY, small_synthetic, out=tmp_path / "run", store=tmp_path / "store", progress=False
    )
    assert run.record.status == "done"
    assert tracker.calls == ["advance", "advance"]
    (warning,) = [one.message for one in caplog.records if "tracking" in one.message]
    assert warning == (
        "tracking.tensorboard: board can't be reached, so the runs are kept in the store alone "
        "(the same command writes them down later): No space left on device"
    )


def test_what_was_done_before_is_written_down_once(tmp_path) -> None:
    task = write_finished(tmp_path, "A", 1)
    run = TrackedRun(task.folder, "A", "A", task.name)
    (tracker,) = open_trackers(Tracking(tensorboard=tmp_path / "board"), refuse_to_warn)
    for _ in range(2):
        courier = Courier(tracker, refuse_to_warn)
        courier.put(("stop", run))  # it never saw it train
        courier.put(("finish", run))
        courier.close()
    (board,) = (tmp_path / "board").iterdir()
    shown = events(board)
    assert shown["epoch/loss"] == [(1, pytest.approx(0.7)), (2, pytest.approx(0.6))]
    assert shown["final/test.argmax.accuracy.rate"] == [(2, pytest.approx(0.9))]
    assert len(list(board.glob("events.*"))) == 1


def test_runs_of_a_study_lie_below_its_name(tmp_path) -> None:
    task = write_finished(tmp_path, "A", 1)
    (tracker,) = open_trackers(Tracking(tensorboard=tmp_path / "board"), refuse_to_warn)
    tracker.finish(TrackedRun(task.folder, "small", task.experiment, task.name))
    assert [one.name[:8] for one in (tmp_path / "board" / "small").iterdir()] == ["A-seed-1"]


def test_all_that_is_missing_is_said_before_anything_is_done(
    monkeypatch, tmp_path, small_synthetic
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delitem(sys.modules, "drupe.training.tracking.mlflow_runs", raising=False)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    given = {**TINY, "tracking": {"mlflow": "x", "tensorboard": str(tmp_path / "file" / "board")}}
    with pytest.raises(InputError) as error:
        drupe.train(given, small_synthetic, out=tmp_path / "run", store=tmp_path / "store")
    missing, unusable = error.value.problems
    assert missing == (
        "tracking.mlflow needs the package 'mlflow', which is not installed: "
        "pip install 'drupe[mlflow]'"
    )
    assert unusable.startswith(f"tracking.tensorboard: {tmp_path}/file/board can't be used: ")
    assert not (tmp_path / "store").exists()


def test_tensorboard_that_is_not_installed_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.delitem(sys.modules, "drupe.training.tracking.tensorboard_runs", raising=False)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'drupe\[tensorboard\]'"):
        open_trackers(Tracking(tensorboard=tmp_path), refuse_to_warn)


def test_a_server_that_is_down_is_one_warning_before_the_training(monkeypatch, tmp_path) -> None:
    pytest.importorskip("mlflow", reason="needs drupe[mlflow]")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    config = validate_experiment({**TINY, "tracking": {"mlflow": "http://127.0.0.1:1"}}, "tiny")
    warnings: list[str] = []
    with followed(config, tmp_path / "run", warnings.append) as callbacks:
        assert callbacks == ()
    (warning,) = warnings
    assert warning.startswith("tracking.mlflow: http://127.0.0.1:1 can't be reached")


def test_under_torchrun_one_process_follows(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "one")
    config = validate_experiment({**TINY, "tracking": {"tensorboard": str(tmp_path)}}, "tiny")
    monkeypatch.setenv("RANK", "1")
    with followed(config, tmp_path / "run", refuse_to_warn) as callbacks:
        assert callbacks == ()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(following, "open_trackers", lambda *_: [Breaking()])
    with followed(config, tmp_path / "run", refuse_to_warn) as callbacks:
        assert len(callbacks) == 1


def test_an_experiment_of_a_study_has_no_trackers_of_its_own(tmp_path) -> None:
    study = tmp_path / "small.yaml"
    study.write_text(
        "study: small\n"
        "defaults: {model: {architecture: test_resnet}, tracking: {mlflow: x}}\n"
        "experiments: [{id: A}]\n"
    )
    with pytest.raises(InputError, match=r"tracking: must stand in the study itself.*defaults"):
        load_study(study)
    own = load_study_with_trackers(study)
    assert (own.spec.tracking.mlflow, own.configs["A"].tracking.is_wanted) == ("y", False)


def load_study_with_trackers(study: Path):
    study.write_text(study.read_text().replace(", tracking: {mlflow: x}", ""))
    return load_study(study, {"tracking": {"mlflow": "y"}})
