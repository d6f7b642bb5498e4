"""Two states of labels on one cluster: each node run sees the labels that are meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="needs drupe[ray]")

from drupe.data.fixes import Fix
from drupe.data.overlay import restore_fixes
from drupe.labels.effect import EffectRequest, open_state, train_effect
from drupe.study.execution.local import LocalExecutor
from drupe.study.execution.ray.executor import RayExecutor
from drupe.training.config import ExperimentConfig
from ray_nodes import TwoNodes, start_two_nodes

pytestmark = pytest.mark.slow
REQUEST = EffectRequest(seeds=2, min_recall=0.8, confidence=0.8)


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TwoNodes]:
    yield from start_two_nodes(monkeypatch, tmp_path)


def test_a_cluster_finds_what_this_machine_finds(two_nodes, small_synthetic, tmp_path) -> None:
    config = ExperimentConfig.model_validate(
        {
            "name": "tiny",
            "model": {"architecture": "test_resnet", "pretrained": False},
            "input": {"size": 64},
            "data": {"root": small_synthetic},
            "training": {
                "epochs": 1,
                "batch_size": 16,
                "threads": 1,
                "precision": "fp32",
                "layout": "contiguous",
            },
        }
    )
    found = []
    for name in ("far", "near"):
        store = tmp_path / name
        before = open_state(config, "original", store)
        dataset = before.prepared.dataset
        fixes = [
            Fix(
                dataset.paths[index],
                "relabel",
                dataset.classes[int(not dataset.is_defect[index])],
                sha256=dataset.digests[index],
            )
            for index in before.prepared.split.fit[:20].tolist()
        ]
        restore_fixes(small_synthetic, store, fixes, "turned round")
        after = open_state(config, "1", store)
        executor = RayExecutor(two_nodes.address, store) if name == "far" else LocalExecutor()
        found.append(train_effect(before, after, REQUEST, store, executor))
    far, near = found
    assert far.effect == near.effect
    for here, there in zip(
        (*far.before.runs, *far.after.runs), (*near.before.runs, *near.after.runs), strict=True
    ):
        tables = [run / "predictions" / "test.csv" for run in (here, there)]
        assert tables[0].read_bytes() == tables[1].read_bytes()
