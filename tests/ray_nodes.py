"""A Ray cluster of two nodes on this machine. Import it before Ray: it says how Ray is to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import drupe

# Ray reads these when it is loaded.
os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
pytest.importorskip("ray", reason="needs drupe[ray]")

import ray
from ray.cluster_utils import Cluster

STORE_MEBIBYTES = 100


class TwoNodes:
    """A head without processors, and two nodes for one run each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.cluster = Cluster()
        memory = STORE_MEBIBYTES << 20
        self.cluster.add_node(num_cpus=0, include_dashboard=False, object_store_memory=memory)
        self.nodes = []
        for name in ("one", "two"):
            (folder / name).mkdir()
            monkeypatch.setenv("TMPDIR", str(folder / name))  # a disk of its own
            self.nodes.append(self.cluster.add_node(num_cpus=1, object_store_memory=memory))
        monkeypatch.delenv("TMPDIR")

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def kill_one(self) -> None:
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


def start_two_nodes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[TwoNodes]:
    """Yield the cluster, whose nodes import this very Drupe; it ends with the test."""
    source = Path(drupe.__file__).parents[1]
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(source), inherited])))
    nodes = TwoNodes(monkeypatch, folder)
    yield nodes
    ray.shutdown()
    nodes.cluster.shutdown()
