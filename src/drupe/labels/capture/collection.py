"""Pictures that the line has kept, as a folder of crops that can be looked at.

A collection holds ``crops/CLASS/NAME.png`` (what was accepted under the clean class, all else under
the defect one: what the line took it for), ``labels.csv`` (for ``drupe labels review``) and
``capture.json``: how many decisions each picture stands for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from drupe.configuration import validate
from drupe.data.image_contract import RawPixel
from drupe.deployment.capture.segments import (
    LANES,
    THINNING_LOCK,
    WRITER_LOCK,
    CapturedItem,
    CaptureSource,
    Lane,
    Segment,
    read_segment,
    segment_folders,
)
from drupe.errors import InputError
from drupe.exclusive import hold
from drupe.files import read_json, write_json
from drupe.labels.ranking import RankedLabel, write_ranking
from drupe.labels.review.queue import ACCEPTED, LaneSize
from drupe.progress import Progress, silent

CAPTURE_FILE, RANKING_FILE, CROPS = "capture.json", "labels.csv", "crops"
SCHEMA = 1
SPLITS: dict[Lane, str] = {"accept": ACCEPTED, "review": "reviewed", "reject": "rejected"}
"""The split that a lane's pictures are in, in a ranking and a review."""
PATIENCE_SECONDS = 10.0


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CapturedLane(_Part):
    """Of ``seen`` decisions of a lane, ``kept`` pictures are there; each was drawn at ``rate``.

    ``lost``: pictures that were drawn too, and couldn't be written or read.
    """

    seen: int = Field(ge=0)
    kept: int = Field(ge=0)
    lost: int = Field(ge=0)
    rate: float = Field(gt=0, le=1)


class Collection(_Part):
    """The content of ``capture.json``.

    sample: the paths of a random sample of all decisions, whatever the lane, each drawn with
    ``sample_rate``; it is like the line, and may certify. since, until: seconds since 1970.
    unseen: decisions in a time when nothing could be kept, which no figure here speaks of.
    """

    schema_version: int = SCHEMA
    source: CaptureSource
    lanes: dict[Lane, CapturedLane]
    sample: tuple[str, ...]
    sample_rate: float
    unseen: int
    refused: int
    since: float
    until: float
    segments: tuple[str, ...]

    @property
    def sizes(self) -> dict[tuple[str, str], LaneSize]:
        """(split, label) → how many decisions the pictures there are a sample of."""
        return {
            (SPLITS[lane], self.source.classes[lane != "accept"]): LaneSize(size.seen, size.lost)
            for lane, size in self.lanes.items()
        }


def read_collection(folder: Path) -> Collection:
    """Read the ``capture.json`` of a collection.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / CAPTURE_FILE
    if not path.exists():
        raise InputError(
            f"{folder}: must be pictures that drupe capture collect has collected, got none with "
            f"{CAPTURE_FILE}"
        )
    found = validate(Collection, read_json(path), str(path))
    if found.schema_version != SCHEMA:
        raise InputError(f"{path}: schema_version must be {SCHEMA}, got {found.schema_version}")
    return found


def collect(folder: Path, out: Path, progress: Progress = silent) -> Collection:
    """Move what the line has kept in ``folder`` to ``out``; the line may run on meanwhile.

    The minutes that are being written stay, and what another bundle has decided: it is a collection
    of its own. Killed, the same command goes on; a picture is taken away once it is in ``out``.

    Raises:
        InputError: nothing to collect, an ``out`` that holds something else, or a damaged file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: must be the folder of a capture, got none there")
    if (out / CAPTURE_FILE).exists():
        return _finished(folder, out)
    if out.exists() and any(path.name not in (CROPS, RANKING_FILE) for path in out.iterdir()):
        raise InputError(f"{out}: must be a new or empty folder, got one with other files")
    lock = _wait(folder / THINNING_LOCK)
    try:
        segments = _of_one_source([read_segment(one) for one in _ended(folder)])
        if not segments:
            raise InputError(
                f"{folder}: holds nothing to collect: no minutes that are over, with a decision"
            )
        shutil.rmtree(out / CROPS, ignore_errors=True)
        found = _write(segments, out, progress)
        _remove(folder, found.segments)
    finally:
        os.close(lock)
    return found


def _finished(folder: Path, out: Path) -> Collection:
    """Return a collection that is whole, once what is left of its segments is gone too."""
    found = read_collection(out)
    if not any((folder / name).exists() for name in found.segments):
        raise InputError(f"{out}: holds a collection already; name another folder: --out DIR")
    _remove(folder, found.segments)
    return found


def _remove(folder: Path, segments: Sequence[str]) -> None:
    for name in segments:
        shutil.rmtree(folder / name)


def _wait(path: Path) -> int:
    """Lock out the writer's thinning, which takes moments."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(InputError):
            return hold(path, "")
        if time.monotonic() > end:
            raise InputError(f"{path.parent}: is being collected or thinned by another process")
        time.sleep(0.05)


def _ended(folder: Path) -> list[Path]:
    """Return the segments that nobody writes any more."""
    folders = segment_folders(folder)
    try:
        os.close(hold(folder / WRITER_LOCK, ""))
    except InputError:
        return folders[:-1]
    return folders


def _of_one_source(segments: Sequence[Segment]) -> list[Segment]:
    used = [one for one in segments if any(one.counts.seen.values()) or one.counts.unseen]
    return [one for one in used if one.counts.source == used[0].counts.source]


@dataclass(frozen=True)
class _Picture:
    segment: Path
    item: CapturedItem
    path: str


def _write(segments: Sequence[Segment], out: Path, progress: Progress) -> Collection:
    """Write crops, ranking and, last, what says that the collection is whole."""
    source = segments[0].counts.source
    rates = {lane: min(one.counts.rates[lane] for one in segments) for lane in LANES}
    lost = {lane: sum(one.counts.lost[lane] for one in segments) for lane in LANES}
    for name in source.classes:
        (out / CROPS / name).mkdir(parents=True, exist_ok=True)
    wanted = [
        _Picture(one.folder, item, _path_of(one.folder, item, source.classes))
        for one in segments
        for item in one.kept(rates)
    ]
    written: list[_Picture] = []
    with progress("collect", len(wanted), "pictures") as tracker:
        for one in wanted:
            pixels = _pixels(one)
            if pixels is None:
                lost[one.item.lane] += 1
            else:
                _save(pixels, out / CROPS / one.path, source)
                written.append(one)
            tracker.advance()
    write_ranking(out / RANKING_FILE, _ranking(written, source.classes))
    kept = {lane: sum(one.item.lane == lane for one in written) for lane in LANES}
    found = Collection(
        source=source,
        lanes={
            lane: CapturedLane(
                seen=sum(one.counts.seen[lane] for one in segments),
                kept=kept[lane],
                lost=lost[lane],
                rate=rates[lane],
            )
            for lane in LANES
        },
        sample=tuple(one.path for one in written if one.item.u < min(rates.values())),
        sample_rate=min(rates.values()),
        unseen=sum(one.counts.unseen for one in segments),
        refused=sum(one.counts.refused for one in segments),
        since=min(one.counts.since for one in segments),
        until=max(one.counts.until for one in segments),
        segments=tuple(one.folder.name for one in segments),
    )
    write_json(out / CAPTURE_FILE, found.model_dump(mode="json"))
    return found


def _path_of(segment: Path, item: CapturedItem, classes: tuple[str, str]) -> str:
    return f"{_label(item, classes)}/{segment.name}-{Path(item.file).stem}.png"


def _label(item: CapturedItem, classes: tuple[str, str]) -> str:
    return classes[item.lane != "accept"]


def _pixels(one: _Picture) -> NDArray[RawPixel] | None:
    """Return a picture's pixels, None where they aren't what was kept (the power went)."""
    try:
        pixels: NDArray[RawPixel] = np.load(one.segment / one.item.file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    digest = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
    return pixels if digest == one.item.pixels else None


def _save(pixels: NDArray[RawPixel], path: Path, source: CaptureSource) -> None:
    """Write a PNG that Drupe reads as these pixels, [H, W, C] in the order of the graph."""
    plain = pixels[..., 0] if source.channels == "mono" else pixels
    upright = plain[..., ::-1] if source.channels == "bgr" else plain
    Image.fromarray(np.ascontiguousarray(upright)).save(path, format="PNG")


def _ranking(pictures: Sequence[_Picture], classes: tuple[str, str]) -> list[RankedLabel]:
    """Return the pictures by their score, the highest first; a fault has none and comes first."""

    def score(one: _Picture) -> float:
        return 1.0 if one.item.score is None else one.item.score

    ordered = sorted(pictures, key=lambda one: (-score(one), one.path))
    return [
        RankedLabel(
            rank=rank,
            path=one.path,
            split=SPLITS[one.item.lane],
            label=_label(one.item, classes),
            score=score(one),
            self_confidence=_own(score(one), one.item.lane),
            margin=2 * _own(score(one), one.item.lane) - 1,
            reason=one.item.fault or one.item.lane,
        )
        for rank, one in enumerate(ordered, 1)
    ]


def _own(score: float, lane: Lane) -> float:
    return 1 - score if lane == "accept" else score


def lane_rows(lanes: Mapping[Lane, CapturedLane]) -> list[tuple[Any, ...]]:
    """Return a row for each lane: name, decisions, pictures, lost, probability."""
    return [
        (lane, lanes[lane].seen, lanes[lane].kept, lanes[lane].lost, f"{lanes[lane].rate:g}")
        for lane in LANES
    ]
