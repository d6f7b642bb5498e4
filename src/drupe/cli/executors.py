"""Where the runs of a study or a search happen: the options that say so, and what they choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from drupe.study.execution.executor import Executor

ExecutorName = Annotated[
    Literal["local", "ray"], typer.Option(help="Where runs happen: here, or on a Ray cluster.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Of the Ray cluster; else the one on this machine."),
]


def choose_executor(
    name: str, address: str | None, runs: int | None, store: Path, weights: Path | None
) -> Executor:
    """Return the executor of that name; ``runs``: at once without a GPU, 0: as many as cores.

    Raises:
        InputError: an address without Ray, or a cluster that can't be used.
    """
    from drupe.errors import InputError
    from drupe.host import available_cores
    from drupe.study.execution.local import LocalExecutor

    if name == "ray":
        from drupe.study.execution.ray.executor import RayExecutor

        return RayExecutor(address or "auto", store, runs=runs or 1, weights_folder=weights)
    if address is not None:
        raise InputError("--address: needs --executor ray")
    return LocalExecutor(available_cores() if runs == 0 else runs or 1)
