"""A recipe that trains in seconds, for tests of what comes after training."""

from __future__ import annotations

from typing import Any

TINY_RECIPE: dict[str, Any] = {
    "model": {"architecture": "test_resnet", "pretrained": False},
    "input": {"size": 48},
    "calibration": {"holdout": 0.4},
    "training": {"epochs": 2, "batch_size": 32, "threads": 1, "precision": "fp32"},
}
