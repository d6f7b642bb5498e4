"""A run whose data was moved after training, and fixes that came along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from drupe.data.overlay import apply_fixes
from drupe.data.synthetic.generation import synthesise

EASY = ("--min-recall", "0.5", "--confidence", "0.6")


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, its store, fresh crops, and ``there/crops``, once ``crops``."""
    from drupe.training.config import validate_experiment
    from drupe.training.run import train_run

    folder = tmp_path_factory.mktemp("moved")
    synthesise(folder / "crops", images=120, size=64, seed=6)
    synthesise(folder / "fresh", images=60, size=64, seed=7)
    for name in ("crops", "fresh"):
        first = sorted((folder / name / "train/cherry_clean").iterdir())[0].name
        listed = folder / f"{name}.csv"
        listed.write_text(f"path,action,value\ntrain/cherry_clean/{first},exclude,\n")
        apply_fixes(folder / name, folder / "store", listed)
    config = validate_experiment(
        {
            "model": {"architecture": "test_resnet", "pretrained": False},
            "input": {"size": 64},
            "data": {"root": str(folder / "crops")},
            "training": {"epochs": 1, "batch_size": 16, "threads": 1, "precision": "fp32"},
        },
        "tiny.yaml",
    )
    train_run(config, folder / "run", folder / "store")
    (folder / "there").mkdir()
    (folder / "crops").rename(folder / "there" / "crops")
    return folder


@pytest.fixture(autouse=True)
def run(moved: Path, tmp_path: Path) -> None:
    """Put a copy of the run where commands are started: what they leave in it is the test's own."""
    shutil.copytree(moved / "run", tmp_path / "run")


def commands(folder: Path) -> dict[str, tuple[str | Path, ...]]:
    return {
        "cross-fit": ("threshold", "run", "--cross-fit", "2", *EASY),
        "fresh": ("threshold", "run", "--data", folder / "fresh", *EASY),
        "export": ("export", "run", "new.bundle", *EASY),
        "evaluate": ("evaluate", "run"),
    }


OPTION = {name: "--run-data" for name in ("cross-fit", "fresh", "export")} | {"evaluate": "--data"}


@pytest.mark.parametrize("name", OPTION)
def test_a_missing_folder_is_named_with_the_option_that_helps(drupe, moved, name) -> None:
    result = drupe(*commands(moved)[name], "--store", moved / "store")
    assert result.code == 2
    assert f"{moved / 'crops'}: must be the folder that" in result.stderr
    assert f"say where it lies now: {OPTION[name]} DIR" in result.stderr


@pytest.mark.parametrize("name", OPTION)
def test_data_is_read_where_it_lies_now_with_the_fixes_that_it_had(drupe, moved, name) -> None:
    where = (OPTION[name], moved / "there" / "crops", "--store", moved / "store", "--json")
    result = drupe(*commands(moved)[name], *where)
    assert result.code == 0, result.stderr
    json.loads(result.stdout)
    assert "fixes honoured: 1 excluded, 0 relabelled\n" in result.stderr
    if name == "fresh":
        assert f"{moved / 'fresh'}: fixes honoured: 1 excluded" in result.stderr


def test_other_data_is_refused(drupe, moved, tmp_path) -> None:
    other = shutil.copytree(moved / "there" / "crops", tmp_path / "other")
    next((other / "val" / "cherry_pit").iterdir()).unlink()
    for name in ("cross-fit", "fresh", "export"):
        result = drupe(*commands(moved)[name], "--run-data", other, "--store", moved / "store")
        assert result.code == 2
        assert f"{other}: must be the data of the run" in result.stderr


def test_where_nothing_is_read_the_option_is_refused(drupe, moved) -> None:
    result = drupe("threshold", "run", "--run-data", moved / "there" / "crops")
    assert result.code == 2
    assert "--run-data: only --data and --cross-fit read the run's data" in result.stderr
