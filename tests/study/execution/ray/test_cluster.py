from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from drupe.errors import InputError

pytest.importorskip("ray", reason="needs drupe[ray]")

from drupe.study.execution.ray import cluster as ray_cluster
from drupe.study.execution.ray.cluster import Share, connect, total_runs

pytestmark = pytest.mark.thorough


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where somebody listens and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:port", "host:99999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=r"must be auto, HOST:PORT or ray://HOST:PORT"):
        connect(address)


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_where_nobody_listens_is_refused_at_once(prefix: str) -> None:
    with pytest.raises(InputError, match="no Ray cluster can be reached there: connection refused"):
        connect(f"{prefix}127.0.0.1:1")


def test_a_port_that_never_answers_is_given_up(silent_port, monkeypatch) -> None:
    monkeypatch.setattr(ray_cluster, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(
        ray_cluster.ray,
        "init",
        lambda *_, **__: socket.create_connection(("127.0.0.1", silent_port)).recv(1),
    )

    with pytest.raises(InputError, match="must be a running Ray cluster, got no answer"):
        connect(f"127.0.0.1:{silent_port}")


def test_nodes_are_shared_by_processors_and_by_parts_of_a_gpu() -> None:
    nodes = [{"Resources": {"CPU": 8.0, "GPU": 2.0}}, {"Resources": {"CPU": 5.0}}]

    assert total_runs(Share(2, 0.0), nodes, with_gpu=True) == 4 + 2
    assert total_runs(Share(2, 0.5), nodes, with_gpu=True) == 4
    assert total_runs(Share(1, 1 / 3), nodes, with_gpu=True) == 6
    assert total_runs(Share(2, 0.5), nodes, with_gpu=False) == 4 + 2
