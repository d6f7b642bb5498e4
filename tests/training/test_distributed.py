from __future__ import annotations

import socket

import torch.distributed as dist

from drupe.training.distributed import World, join_world


def test_one_process_is_a_world_of_its_own() -> None:
    with join_world() as world:
        assert world == World(rank=0, size=1, local_rank=0, local_size=1)
        assert world.is_main
        value = object()
        assert world.from_main(value) is value
        world.wait()
    assert not dist.is_initialized()


def test_under_torchrun_the_place_is_its_and_the_group_ends_with_the_block(monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    place = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 3, "LOCAL_WORLD_SIZE": 4}
    place |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
    for name, value in place.items():
        monkeypatch.setenv(name, str(value))

    with join_world() as world:
        assert world == World(rank=0, size=1, local_rank=3, local_size=4)
        assert dist.is_initialized()

    assert not dist.is_initialized()


def test_others_take_the_value_of_rank_0_and_wait_for_all(monkeypatch) -> None:
    calls = []

    def broadcast(box: list[object], src: int) -> None:
        calls.append((list(box), src))
        box[0] = "of rank 0"

    monkeypatch.setattr(dist, "broadcast_object_list", broadcast)
    monkeypatch.setattr(dist, "barrier", lambda: calls.append("barrier"))
    world = World(rank=1, size=2)

    assert not world.is_main
    assert world.from_main("of rank 1") == "of rank 0"
    world.wait()

    assert calls == [(["of rank 1"], 0), "barrier"]
