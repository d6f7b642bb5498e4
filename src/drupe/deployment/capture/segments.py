"""The files of a capture: folders of some minutes each, whole in themselves.

A segment holds ``items.jsonl`` (a line for each picture that was kept), the pictures as NumPy
files, and ``counts.json``: how many decisions of each lane the line made, and with which
probability each was kept. Every item draws a number u in [0, 1) and is kept where u is below its
lane's rate; a rate that is lowered later takes away those above it, so that each segment is at any
time a random sample of known probability.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from drupe.configuration import validate
from drupe.errors import InputError
from drupe.files import read_json

COUNTS, ITEMS = "counts.json", "items.jsonl"
WRITER_LOCK, THINNING_LOCK = ".writer.lock", ".thinning.lock"
SCHEMA = 1

Lane = Literal["accept", "review", "reject"]
LANES: tuple[Lane, ...] = ("accept", "review", "reject")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CaptureSource(_Part):
    """What decided: the bundle's digest, its function and thresholds, and its pictures' format.

    ``min_recall`` is what the function was certified for, None without a certificate.
    """

    bundle: str
    function: str
    certificate: str | None
    min_recall: float | None
    low: float
    high: float
    classes: tuple[str, str]
    channels: Literal["rgb", "bgr", "mono"]
    white_level: int


class SegmentCounts(_Part):
    """The content of ``counts.json``.

    seen: decisions of each lane while pictures could be kept; lost: pictures among them that should
    have been kept and couldn't be; unseen: decisions while nothing could be kept; refused: images
    without pixels, or with pixels that no graph takes; lines: of ``items.jsonl`` when these counts
    were taken. since, until: seconds since 1970.
    """

    schema_version: int = SCHEMA
    source: CaptureSource
    rates: dict[Lane, float]
    seen: dict[Lane, int]
    lost: dict[Lane, int]
    unseen: int = Field(ge=0)
    refused: int = Field(ge=0)
    lines: int = Field(ge=0)
    since: float
    until: float


class CapturedItem(_Part):
    """A line of ``items.jsonl``: ``u`` decides whether it is kept, ``pixels`` is their SHA-256."""

    file: str
    lane: Lane
    u: float = Field(ge=0, lt=1)
    score: float | None
    fault: str | None
    item: str | None
    at: float
    pixels: str


@dataclass(frozen=True)
class Segment:
    """A segment on the disk, without what ``counts`` don't know of."""

    folder: Path
    counts: SegmentCounts
    items: tuple[CapturedItem, ...]

    def kept(self, rates: Mapping[Lane, float]) -> tuple[CapturedItem, ...]:
        """Return the items that belong to a sample with these ``rates``."""
        return tuple(one for one in self.items if one.u < rates[one.lane])


def segment_folders(folder: Path) -> list[Path]:
    """Return the segments in a capture's ``folder``, the oldest first."""
    return sorted(path.parent for path in folder.glob(f"*/{COUNTS}"))


def read_counts(folder: Path) -> SegmentCounts:
    """Read a segment's ``counts.json``.

    Raises:
        InputError: it is damaged.
    """
    path = folder / COUNTS
    counts = validate(SegmentCounts, read_json(path), str(path))
    if counts.schema_version != SCHEMA:
        raise InputError(f"{path}: schema_version must be {SCHEMA}, got {counts.schema_version}")
    return counts


def read_segment(folder: Path) -> Segment:
    """Read a segment, also one whose writer was killed.

    What was kept after the counts were taken, a second at most, belongs to no sample of known
    probability. Where a lane keeps everything it needs none: those count as seen.

    Raises:
        InputError: a damaged file.
    """
    counts = read_counts(folder)
    lines = list(_lines(folder / ITEMS))
    if len(lines) < counts.lines:
        raise InputError(
            f"{folder / ITEMS}: must have the {counts.lines:,} lines that {COUNTS} counts, got "
            f"{len(lines):,}"
        )
    items = [_item(line, f"{folder / ITEMS}, line {n}") for n, line in enumerate(lines, 1)]
    seen = dict(counts.seen)
    belonging = items[: counts.lines]
    for one in items[counts.lines :]:
        if counts.rates[one.lane] == 1:
            seen[one.lane] += 1
            belonging.append(one)
    return Segment(folder, counts.model_copy(update={"seen": seen}), tuple(belonging))


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the whole lines of a file that only grows; half of a last one isn't one."""
    if not path.exists():
        return
    *whole, _ = path.read_bytes().split(b"\n")
    yield from whole


def _item(line: bytes, where: str) -> CapturedItem:
    try:
        document: Any = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON ({error})") from None
    return validate(CapturedItem, document, where)
