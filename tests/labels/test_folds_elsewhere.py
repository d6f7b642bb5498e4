"""Folds of a ranking trained by processes of their own, here and on the nodes of a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drupe.labels.ranking import read_ranking
from drupe.labels.run_ranking import Folds, rank_run
from drupe.training.config import validate_experiment
from drupe.training.run import train_run

pytestmark = pytest.mark.slow

DOCUMENT = {
    "name": "tiny",
    "seed": 42,
    "model": {"architecture": "test_resnet", "pretrained": False},
    "input": {"size": 64},
    "training": {"epochs": 1, "batch_size": 16, "threads": 1, "precision": "fp32"},
}


@pytest.fixture
def run(tmp_path, small_synthetic) -> Path:
    document = DOCUMENT | {"data": {"root": str(small_synthetic)}}
    train_run(validate_experiment(document, "tiny.yaml"), tmp_path / "run", tmp_path / "store")
    return tmp_path / "run"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("ray", reason="needs drupe[ray]")
    from ray_nodes import start_two_nodes

    for nodes in start_two_nodes(monkeypatch, tmp_path):
        yield nodes.address


def rank(run: Path, *options: str) -> dict[str, Any]:
    words = ("labels", "rank", "--run", str(run), "--store", str(run.parent / "store"), "--json")
    command = [sys.executable, "-m", "drupe", *words, "--folds", "2", "--seeds", "2", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)  # and nothing else there
    return found


def alone(run: Path) -> Any:
    """Return the ranking by networks that this process has trained, of a copy of the run."""
    copy = run.parent / "alone"
    copy.mkdir()
    for file in run.rglob("*"):
        if file.is_file():
            (copy / file.relative_to(run)).parent.mkdir(parents=True, exist_ok=True)
            (copy / file.relative_to(run)).write_bytes(file.read_bytes())
    return rank_run(copy, Folds(2, seeds=2), run.parent / "store").ranking


def test_processes_of_their_own_train_the_same_folds(run) -> None:
    assert rank(run, "--parallel", "2")["seeds"] == 2
    assert read_ranking(run / "labels.csv") == alone(run)


def test_the_nodes_of_a_cluster_do(run, address) -> None:
    rank(run, "--executor", "ray", "--address", address)
    assert read_ranking(run / "labels.csv") == alone(run)
    for name in ("one", "two"):
        packs = list((run.parent / name).rglob("images.npy"))
        assert len(packs) == 1, "each node has had work"
