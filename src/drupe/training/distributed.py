"""One process or several under ``torchrun``; training code asks only for its rank and the size.

``torchrun`` passes a process's place through the environment, which torch's own launcher check
reads; nothing else in this layer looks at the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

Anything = TypeVar("Anything")


@dataclass(frozen=True)
class World:
    """This process's place: ``rank`` of ``size`` processes, ``local_rank`` on this host."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """True in the process that writes the run directory."""
        return self.rank == 0

    def from_main(self, value: Anything) -> Anything:
        """Return rank 0's ``value`` on every rank."""
        if self.size == 1:
            return value
        box: list[object] = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


def is_first_process() -> bool:
    """Return whether this process is alone or ``torchrun``'s first, which writes the run."""
    return not dist.is_torchelastic_launched() or os.environ["RANK"] == "0"


@contextmanager
def join_world() -> Iterator[World]:
    """Join the processes that ``torchrun`` started, or be a world of one.

    Who has joined already stays in: processes find each other only once.
    """
    if not dist.is_torchelastic_launched():
        yield World()
        return
    joins = not dist.is_initialized()
    if joins:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(
            rank=dist.get_rank(),
            size=dist.get_world_size(),
            local_rank=int(os.environ["LOCAL_RANK"]),
            local_size=int(os.environ["LOCAL_WORLD_SIZE"]),
        )
    finally:
        if joins:
            dist.destroy_process_group()
