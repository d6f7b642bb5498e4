from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drupe.errors import InputError
from drupe.runs.record import DataRecord, RunRecord
from drupe.study.definition.plan import Task
from drupe.study.execution.ray.file_chunks import Parcel, files_below, pack
from drupe.study.execution.ray.returned_run import install, show_progress, state_so_far
from drupe.training.config import ExperimentConfig, read_config, write_config

FINGERPRINT = "f" * 64


@pytest.fixture
def task(tmp_path: Path) -> Task:
    config = ExperimentConfig.model_validate(
        {"model": {"architecture": "test_resnet"}, "data": {"root": str(tmp_path / "here")}}
    )
    return Task("A seed 42", "train", "A", "gpu", tmp_path / "runs" / "seed-42", 42, config)


def written(task: Task, folder: Path, status: Any = "done", fingerprint: str = FINGERPRINT) -> None:
    """Write what a node has written of a run, the data lying elsewhere there."""
    folder.mkdir(parents=True)
    assert task.config is not None
    data = task.config.data.model_copy(update={"root": Path("/node/data")})
    write_config(folder, task.config.model_copy(update={"data": data}))
    RunRecord(
        status=status,
        experiment="A",
        seed=42,
        identity=task.config.identity(fingerprint),
        data=DataRecord(
            fingerprint=fingerprint,
            classes=("a", "b"),
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
    ).write(folder)
    (folder / "model.safetensors").write_bytes(b"weights")


def sent(folder: Path) -> Parcel:
    return pack(files_below(folder), bytes)


def test_a_run_takes_its_place_and_names_the_data_here(task, tmp_path) -> None:
    written(task, tmp_path / "node")
    task.folder.mkdir(parents=True)
    (task.folder / "metrics.jsonl").write_text("what was shown while it ran")

    install(task, sent(tmp_path / "node"), bytes, FINGERPRINT)

    assert read_config(task.folder) == task.config
    names = [name for name, _ in files_below(task.folder)]
    assert names == ["config.yaml", "model.safetensors", "run.json"]
    assert [item.name for item in task.folder.parent.iterdir()] == ["seed-42"]


def test_a_run_on_other_data_is_refused_and_leaves_nothing(task, tmp_path) -> None:
    written(task, tmp_path / "node", fingerprint="e" * 64)

    with pytest.raises(InputError, match="A seed 42: the node trained on other data"):
        install(task, sent(tmp_path / "node"), bytes, FINGERPRINT)

    assert list(task.folder.parent.iterdir()) == []


def test_a_run_that_never_began_changes_nothing(task, tmp_path) -> None:
    install(task, Parcel("", 0, ()), bytes, FINGERPRINT)

    assert not task.folder.exists()


def test_an_interrupted_run_comes_back_and_can_be_sent_again(task, tmp_path) -> None:
    written(task, tmp_path / "node", status="interrupted")
    (tmp_path / "node" / "checkpoint").mkdir()
    (tmp_path / "node" / "checkpoint" / "state.safetensors").write_bytes(b"state")
    assert state_so_far(task) == []

    install(task, sent(tmp_path / "node"), bytes, FINGERPRINT)

    assert "checkpoint/state.safetensors" in dict(state_so_far(task))


def test_progress_is_shown_as_a_run_that_any_executor_could_take_up(task, tmp_path) -> None:
    written(task, tmp_path / "node", status="running")
    files = {name: path.read_bytes() for name, path in files_below(tmp_path / "node")}

    show_progress(task, files)

    assert read_config(task.folder) == task.config
    assert json.loads((task.folder / "run.json").read_text())["status"] == "running"
