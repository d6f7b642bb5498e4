"""Types of defects and groups, from a folder through training to every kind of calibration."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from drupe.data.synthetic.generation import synthesise
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.predictions import Predictions
from drupe.training.config import validate_experiment
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.fresh import calibrate_on_fresh
from drupe.training.run import train_run


@pytest.fixture(scope="module")
def module_store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def run(tmp_path_factory, module_store) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    synthesise(folder / "crops", images=160, size=64, seed=5, types=3, groups=3)
    config = validate_experiment(
        {
            "model": {"architecture": "test_efficientnet", "pretrained": False},
            "input": {"size": 64},
            "data": {
                "root": str(folder / "crops"),
                "good": "clean",
                "group": r"camera-(\d)",
            },
            "training": {"epochs": 1, "batch_size": 16, "threads": 1},
        },
        "typed.yaml",
    )
    train_run(config, folder / "run", module_store)
    return folder / "run"


def told_by(paths: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the types and groups that paths of the synthetic set tell."""
    parts = [path.split("/") for path in paths]
    types = tuple("" if one[1] == "clean" else one[1] for one in parts)
    return types, tuple(one[2].removeprefix("camera-") for one in parts)


def check(table: Predictions) -> None:
    assert (table.types, table.groups) == told_by(table.paths)
    assert table.classes == ("clean", "defect")
    assert table.is_defect.tolist() == [bool(name) for name in table.types]


def test_calibration_and_test_know_them(run) -> None:
    model = read_run_predictions(run)
    check(model.calibration.table)
    check(model.test.table)
    check(model.test.distinct)


def test_the_folds_of_a_cross_fit_pool_them(run, module_store) -> None:
    fitted = calibrate_on_folds(read_run_predictions(run), run, 2, module_store)
    check(fitted.calibration.table)
    asked = Request(0.5, 0.8, recall_of_types=(("stem", 0.6),), per_group=True)
    point = operating_point(fitted, asked)
    assert [one.name for one in point.certificate.slices] == ["stem", "1", "2", "3"]


def test_new_crops_may_lack_types_and_bring_another(run, module_store, tmp_path) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=80, size=64, seed=6, types=3, groups=3)
    shutil.rmtree(fresh / "train/split")
    shutil.rmtree(fresh / "val")
    (fresh / "train/stem").rename(fresh / "train/bruise")
    table = calibrate_on_fresh(
        read_run_predictions(run), run, fresh, module_store
    ).calibration.table
    check(table)
    assert set(table.types) == {"", "pit", "bruise"}
    (fresh / "train/clean").rename(fresh / "train/ok")
    with pytest.raises(InputError, match="must hold the class clean, got none of that name"):
        calibrate_on_fresh(read_run_predictions(run), run, fresh, module_store)
