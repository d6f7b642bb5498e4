from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from drupe.data.synthetic.generation import synthesise
from drupe.deployment.export import Exported, export_run
from drupe.evaluation.operating_point import Request
from drupe.training.config import validate_experiment
from drupe.training.run import train_run


@pytest.fixture(scope="session")
def deployed(tmp_path_factory) -> tuple[Path, Path, Path]:
    """A tiny trained run, its store, and the bundle exported from it."""
    folder = tmp_path_factory.mktemp("deployed")
    synthesise(folder / "crops", images=400, size=64, seed=5)
    config = validate_experiment(
        {
            "model": {"architecture": "test_efficientnet", "pretrained": False},
            "input": {"size": 64, "range": "imagenet", "crop": 48},
            "data": {"root": str(folder / "crops")},
            "training": {"epochs": 4, "batch_size": 16, "learning_rate": 1e-3, "threads": 1},
        },
        "tiny.yaml",
    )
    train_run(config, folder / "run", folder / "store")
    request = Request(min_recall=0.9, confidence=0.9)
    export_run(folder / "run", folder / "bundle", folder / "store", request=request)
    return folder / "run", folder / "store", folder / "bundle"


@pytest.fixture(scope="session")
def bundle(deployed) -> Path:
    return deployed[2]


@pytest.fixture(scope="session")
def quantised(deployed, tmp_path_factory) -> Exported:
    """What an export of everything that this machine offers found, and wrote."""
    run, store, _ = deployed
    folder = tmp_path_factory.mktemp("quantised") / "bundle"
    request = Request(min_recall=0.8, confidence=0.8)
    return export_run(run, folder, store, precision="auto", request=request, threads=1)


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def copied(bundle, tmp_path) -> Path:
    return shutil.copytree(bundle, tmp_path / "copied")
