from __future__ import annotations

from pathlib import Path

import pytest

from drupe.data.synthetic.generation import synthesise
from drupe.training.config import ExperimentConfig, validate_experiment


@pytest.fixture(scope="session")
def crops(tmp_path_factory) -> Path:
    """120 synthetic crops of 64 pixels, with copies across splits and within."""
    root = tmp_path_factory.mktemp("crops") / "set"
    synthesise(root, images=120, size=64, seed=3, leaks=2, duplicates=2)
    return root


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def tiny(crops):
    """Build a configuration that trains in about a second; keywords are sections."""

    def build(**sections) -> ExperimentConfig:
        document = {
            "name": "tiny",
            "seed": 42,
            "model": {"architecture": "test_efficientnet", "pretrained": False},
            "input": {"size": 64},
            "data": {"root": str(crops)},
            "training": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "threads": 1},
        }
        for name, value in sections.items():
            old = document.get(name)
            document[name] = {**old, **value} if isinstance(old, dict) else value
        return validate_experiment(document, "tiny.yaml")

    return build
