"""Keeping pictures of the line while it runs: every review, and a sample of known probability.

What this costs a decision is a random number; a picture that is kept is one file written. Nothing
here stops the line: a picture that can't be written is counted as lost, and nothing is kept for a
minute. Counts are on the disk once a second, by a thread of its own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from drupe.closing import Closing
from drupe.data.image_contract import RawPixel
from drupe.deployment.capture.segments import (
    COUNTS,
    ITEMS,
    LANES,
    THINNING_LOCK,
    WRITER_LOCK,
    CapturedItem,
    CaptureSource,
    Lane,
    Segment,
    SegmentCounts,
    read_counts,
    read_segment,
    segment_folders,
)
from drupe.deployment.manifest import Function, Manifest
from drupe.deployment.watcher import Examined, Watcher
from drupe.errors import InputError
from drupe.exclusive import hold
from drupe.files import write_json
from drupe.notices import notice
from drupe.periodic import Periodic

if TYPE_CHECKING:
    from collections.abc import Iterator


SAMPLE = 0.001
LIMIT = 20_000
SEGMENT_SECONDS = 600.0
FLUSH_SECONDS = 1.0
PAUSE_SECONDS = 60.0
"""For how long nothing is kept after a picture couldn't be written."""


class Decider(Protocol):
    """What a capture has to know of the classifier whose decisions it sees."""

    @property
    def digest(self) -> str:
        """The hash in ``bundle.json``."""

    @property
    def classes(self) -> tuple[str, str]:
        """(clean, defect)."""

    @property
    def function(self) -> Function:
        """What decides, with its thresholds and certificate."""

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of its pictures."""

    def watch(self, watcher: Watcher) -> None:
        """Have ``watcher`` told of every decision."""


class Capture(Closing):
    """Keeps pictures of what ``classifier`` decides, in ``folder``, until :meth:`close`.

    Every *review* is kept, faults included, and each other item with probability ``sample``. Where
    more than ``limit`` pictures lie in the folder, the lane that has most of them is thinned to
    half, at random: what is left is a sample of half the probability. ``drupe capture
    collect`` takes the pictures away while the line runs on. ``clock``: seconds since 1970. One
    process at a time.

    Raises:
        InputError: another process captures there, or a sample or limit that can't be.
    """

    def __init__(
        self,
        classifier: Decider,
        folder: str | Path,
        *,
        sample: float = SAMPLE,
        limit: int = LIMIT,
        seed: int | None = None,
        segment_seconds: float = SEGMENT_SECONDS,
        flush_seconds: float = FLUSH_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not 0 < sample <= 1:
            raise InputError(f"sample: must be a probability above 0, up to 1, got {sample}")
        if limit < 1:
            raise InputError(f"limit: must be at least 1 picture, got {limit}")
        self.folder = Path(folder).absolute()  # whoever loads it may go elsewhere
        self._rates: dict[Lane, float] = {"accept": sample, "review": 1.0, "reject": sample}
        self._asked = dict(self._rates)
        self._limit, self._random, self._clock = limit, np.random.default_rng(seed), clock
        self._segment_seconds, self._source = segment_seconds, _source_of(classifier)
        self._mutex, self._flushing = threading.Lock(), threading.Lock()
        self._is_closed, self._paused_until = False, 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.folder / WRITER_LOCK, "another process captures here")
        try:
            self._total = _pictures(self.folder)
            self._begin()
        except BaseException:
            os.close(self._lock)
            raise
        self._timer = Periodic(flush_seconds, self.flush)
        classifier.watch(self)

    def saw(
        self,
        batch: NDArray[RawPixel],
        found: Examined,
        items: Sequence[str] | None,
        seconds: float,
    ) -> None:
        """Keep what is to be kept of N decisions; see :class:`drupe.deployment.watcher.Watcher`."""
        lanes: list[Lane] = found.decisions.tolist()
        draws = self._random.random(len(lanes)).tolist()
        with self._mutex:
            if self._is_closed:
                return
            if self._paused_until > self._clock():
                self._unseen += len(lanes)
                return
            for place, (lane, u) in enumerate(zip(lanes, draws, strict=True)):
                self._seen[lane] += 1
                if u < self._rates[lane]:
                    name = None if items is None else items[place]
                    self._keep(batch[place], lane, u, found, place, name)

    def refused(self, items: Sequence[str] | None, reason: str, lane: str | None) -> None:
        """Count images that have no pixels to keep."""
        with self._mutex:
            self._refused += 1 if items is None else len(items)

    def flush(self) -> None:
        """Have the counts on the disk; thin a folder that is too full; begin a new segment."""
        with self._flushing:
            try:
                self._flush()
            except OSError as error:
                self._pause(error)

    def close(self) -> None:
        """Write the last counts and let go of the folder. What is decided later is not kept."""
        if self._is_closed:
            return
        self._timer.stop()
        self.flush()
        with self._mutex:
            self._is_closed = True
            self._items.close()
        os.close(self._lock)

    def _begin(self) -> None:
        """Begin a segment: its counts stand before its first picture does."""
        now = self._clock()
        name = f"{int(now * 1000):015d}-{os.getpid()}"
        while (self.folder / name).exists():
            name += "-"
        self._segment, self._since = self.folder / name, now
        self._seen: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._lost: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._unseen = self._refused = self._lines = 0
        write_json(self._segment / COUNTS, self._counts().model_dump(mode="json"))
        self._items = (self._segment / ITEMS).open("ab", buffering=0)

    def _counts(self) -> SegmentCounts:
        return SegmentCounts(
            source=self._source,
            rates=dict(self._rates),
            seen=dict(self._seen),
            lost=dict(self._lost),
            unseen=self._unseen,
            refused=self._refused,
            lines=self._lines,
            since=self._since,
            until=self._clock(),
        )

    def _keep(
        self,
        image: NDArray[RawPixel],
        lane: Lane,
        u: float,
        found: Examined,
        place: int,
        name: str | None,
    ) -> None:
        pixels, score = np.ascontiguousarray(image), float(found.scores[place])
        one = CapturedItem(
            file=f"{sum(self._seen.values()):09d}.npy",
            lane=lane,
            u=u,
            score=None if score != score else score,
            fault=found.faults[place],
            item=name,
            at=self._clock(),
            pixels=hashlib.sha256(pixels.data).hexdigest(),
        )
        line = json.dumps(one.model_dump(mode="json"), separators=(",", ":")).encode() + b"\n"
        end = self._items.tell()
        try:
            np.save(self._segment / one.file, pixels)
            if self._items.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._lost[lane] += 1
            self._pause(error)
            with suppress(OSError):  # neither half a picture nor half a line stays
                (self._segment / one.file).unlink(missing_ok=True)
                self._items.truncate(end)
        else:
            self._lines += 1
            self._total += 1

    def _pause(self, error: OSError) -> None:
        self._paused_until = self._clock() + PAUSE_SECONDS
        notice(f"{self.folder}: nothing is kept for {PAUSE_SECONDS:.0f} s: {error}")

    def _flush(self) -> None:
        with self._mutex:
            counts, segment = self._counts(), self._segment
        write_json(segment / COUNTS, counts.model_dump(mode="json"))
        with _alone(self.folder) as is_alone:
            if not is_alone:  # pictures are being collected: a second later will do
                return
            if self._total > self._limit:
                self._thin()
            if self._clock() - self._since >= self._segment_seconds and any(self._seen.values()):
                self._turn()

    def _turn(self) -> None:
        """End this segment and begin the next; count anew what others may have taken away."""
        total = _pictures(self.folder)
        with self._mutex:
            write_json(self._segment / COUNTS, self._counts().model_dump(mode="json"))
            self._items.close()
            self._total = total
            if not total:
                self._rates = dict(self._asked)
            self._begin()

    def _thin(self) -> None:
        """Halve the rate of the lane with most pictures until the limit holds."""
        segments = [read_segment(folder) for folder in segment_folders(self.folder)]
        with self._mutex:
            kept = {lane: self._kept(segments, lane) for lane in LANES}
            while sum(map(len, kept.values())) > self._limit:
                lane = max(LANES, key=lambda one: len(kept[one]))
                self._rates[lane] /= 2
                kept[lane] = [pair for pair in kept[lane] if pair[0] < self._rates[lane]]
            rates, self._total = dict(self._rates), sum(map(len, kept.values()))
            now = self._counts()
        # First the rates, then the pictures: killed in between, a segment holds too many.
        for one in segments:
            counts = now if one.folder == self._segment else read_counts(one.folder)
            lower = {lane: min(rates[lane], counts.rates[lane]) for lane in LANES}
            changed = counts.model_copy(update={"rates": lower})
            write_json(one.folder / COUNTS, changed.model_dump(mode="json"))
            for item in one.items:
                if item.u >= lower[item.lane]:
                    (one.folder / item.file).unlink(missing_ok=True)

    def _kept(self, segments: Sequence[Segment], lane: Lane) -> list[tuple[float, str]]:
        return [
            (item.u, item.file)
            for one in segments
            for item in one.items
            if item.lane == lane and item.u < min(one.counts.rates[lane], self._rates[lane])
        ]


def _source_of(classifier: Decider) -> CaptureSource:
    function, contract = classifier.function, classifier.manifest.input.contract
    return CaptureSource(
        bundle=classifier.digest,
        function=function.name,
        certificate=function.certificate_id,
        min_recall=(function.certificate or {}).get("min_recall"),
        low=function.low,
        high=function.high,
        classes=classifier.classes,
        channels=contract.channels,
        white_level=contract.white_level,
    )


def _pictures(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*/*.npy"))


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Yield whether nobody collects meanwhile."""
    handle = None
    with suppress(InputError):
        handle = hold(folder / THINNING_LOCK, "pictures are being collected")
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)
