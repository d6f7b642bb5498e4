"""Messages between a driver and a node of a Ray cluster: the data, the order, the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from drupe.data.fixes import Fix
from drupe.study.definition.plan import Task
from drupe.study.execution.ray.file_chunks import Parcel


@dataclass(frozen=True)
class Data:
    """A dataset on its way: its files, their pack, and the fixes that apply to them.

    key: of the files and fixes; table: the name of the table among the files that names the images,
    empty where none does; fingerprint: what a run on this data must have seen.
    """

    key: str
    files: Parcel
    pack: Parcel
    fixes: tuple[Fix, ...] = ()
    table: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Order:
    """A run to be done.

    ``experiment`` is its YAML (``task`` goes without its configuration, which would load PyTorch
    into a process that only waits), ``live`` names the files to be sent while it trains, in the
    order in which they are to be written, ``so_far`` is what earlier tries left.
    """

    task: Task
    version: str
    experiment: str
    data: Data
    live: tuple[str, ...] = ()
    so_far: Parcel | None = None
    weights: Parcel | None = None


@dataclass(frozen=True)
class Report:
    """The news of a run: changed ``files``, new lines of its ``log``; at its end, everything."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    log: bytes = b""
    exit_code: int | None = None
    artefacts: Parcel | None = None
