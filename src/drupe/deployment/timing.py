"""Timing calls that decide: several subjects in turns, so that noise hits all alike.

Letters: N images of a call, S pixels of their side, n timed calls.
"""

from __future__ import annotations

import io
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.image_contract import ImageContract
from drupe.deployment.answers import BenchedFunction
from drupe.deployment.backends import Images, Session, default_threads
from drupe.deployment.bundle import golden_images
from drupe.errors import InputError
from drupe.evaluation.order_statistics import quantile_bounds
from drupe.progress import Progress, silent

Item = TypeVar("Item")

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
CONFIDENCE = 0.95
"""Of each quantile's interval, two-sided."""

ROUND = 25
"""Timed calls of one subject before the next takes its turn."""

SETTLE = 3
"""Untimed calls at the start of a turn: the others had the caches."""

REST = 0.06
"""Seconds before a turn in which nothing is called.

For some 35 ms after a call ONNX Runtime's threads go on waiting actively, on the cores that the
next subject needs: it would look up to twice as slow.
"""

WARM_UP = 25

MOST_PAUSE_MS, MOST_BATCH = 60_000, 4096

TURNS, TURN_CALLS = 2, 20
"""Turns of a session, and its calls in each, when an export decides which function comes first."""


@dataclass(frozen=True)
class Subject:
    """A model to be timed: ``decide`` takes images of ``contract`` and returns N decisions.

    ``threads``: CPU threads of one call.
    """

    name: str
    backend: str
    precision: str
    threads: int
    contract: ImageContract
    decide: Callable[[Images], Any]


@dataclass(frozen=True)
class Quantile:
    """Milliseconds, with an interval of ``CONFIDENCE``; an end is None where n is too small."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Timing:
    """The milliseconds of n timed calls, float64 [n]: raw bytes in memory to decision."""

    name: str
    backend: str
    precision: str
    threads: int
    batch: int
    milliseconds: NDArray[np.float64]

    def quantile(self, share: float) -> Quantile:
        """Return the quantile ``share`` of a call's milliseconds, the ⌈n · share⌉-th smallest.

        Calls that follow one another are alike, so on a busy machine the interval (see
        :func:`quantile_bounds`) is somewhat too narrow.
        """
        n = len(self.milliseconds)
        rank = max(1, math.ceil(n * share - 1e-9))
        low, high = quantile_bounds(self.milliseconds, share, CONFIDENCE, sides=2)
        return Quantile(float(np.sort(self.milliseconds)[rank - 1]), low, high)

    def answer(self) -> BenchedFunction:
        """Return quantiles with intervals, their number of samples, and the samples themselves."""
        found = {name: self.quantile(share) for name, share in QUANTILES.items()}
        values = {f"{name}_ms": one.value for name, one in found.items()}
        intervals = {f"{name}_interval_ms": (one.low, one.high) for name, one in found.items()}
        return BenchedFunction(
            name=self.name,
            backend=self.backend,
            precision=self.precision,
            threads=self.threads,
            batch=self.batch,
            **values,
            **intervals,
            confidence=CONFIDENCE,
            samples=len(self.milliseconds),
            samples_ms=self.milliseconds.tolist(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON-like values."""
        return self.answer().model_dump(mode="json")


def time_in_turns(
    subjects: Sequence[Subject],
    *,
    batches: Sequence[int] = (1,),
    samples: int = 500,
    pause_ms: float = 0,
    progress: Progress = silent,
) -> list[Timing]:
    """Time ``decide`` on synthetic crops: ``samples`` calls of each subject and batch, in turns.

    Every other round goes backwards: what one leaves behind doesn't always hit the same other.
    ``pause_ms``: idle milliseconds before each call.

    Raises:
        InputError: a pause that is negative, no number, or longer than a minute; a batch of more
            than :data:`MOST_BATCH` images.
    """
    if max(batches) > MOST_BATCH:
        raise InputError(f"batch: must be at most {MOST_BATCH:,} images, got {max(batches):,}")
    if not 0 <= pause_ms <= MOST_PAUSE_MS:
        raise InputError(f"pause: must be 0 to {MOST_PAUSE_MS:,} ms, got {pause_ms:g}")
    every = [_Series(one, _images(one.contract, batch)) for batch in batches for one in subjects]
    for series in every:
        series.call(WARM_UP)
    with progress("bench", samples * len(every), "calls") as tracker:
        turns = list(every)
        for start in range(0, samples, ROUND):
            calls = min(ROUND, samples - start)
            for series in turns:
                series.take_turn(calls, pause_ms)
                tracker.advance(calls)
            turns.reverse()
    return [series.timing() for series in every]


@dataclass(frozen=True)
class _Series:
    """The calls of one subject on one batch [N, H, W, C], and how long they took."""

    subject: Subject
    images: Images
    milliseconds: list[float] = field(default_factory=list)

    def call(self, count: int) -> None:
        """Decide ``count`` times, untimed."""
        for _ in range(count):
            self.subject.decide(self.images)

    def take_turn(self, calls: int, pause_ms: float) -> None:
        """Rest and settle, then decide ``calls`` times, each timed after a pause."""
        time.sleep(REST)
        self.call(SETTLE)
        for _ in range(calls):
            if pause_ms:
                time.sleep(pause_ms / 1000)
            self.milliseconds.append(_milliseconds(self.subject.decide, self.images))

    def timing(self) -> Timing:
        one, batch = self.subject, len(self.images)
        times = np.array(self.milliseconds)
        return Timing(one.name, one.backend, one.precision, one.threads, batch, times)


def _images(contract: ImageContract, batch: int) -> Images:
    golden = golden_images(contract)
    images = np.ascontiguousarray(golden[np.arange(batch) % len(golden)])
    return images


def _milliseconds(call: Callable[[Any], object], argument: object) -> float:
    begun = time.perf_counter()
    call(argument)
    return 1000 * (time.perf_counter() - begun)


def time_decoding(contract: ImageContract, samples: int) -> Timing:
    """Time decoding one PNG that is already in memory to the images of ``contract``."""
    stream = io.BytesIO()
    image = golden_images(contract)[0]
    Image.fromarray(image[..., 0] if contract.is_mono else image).save(stream, "PNG")
    content = stream.getvalue()
    for _ in range(WARM_UP):
        contract.of_bytes(content)
    taken = [_milliseconds(contract.of_bytes, content) for _ in range(samples)]
    height, width, _ = contract.shape
    name = f"decode PNG {width} x {height}"
    return Timing(name, "pillow", contract.dtype.name, 1, 1, np.array(taken))


def medians_ms(sessions: Sequence[Session], image: Images) -> list[float]:
    """Return the median milliseconds of bare sessions, in turns, on ``image`` ([1, H, W, C]).

    The first turn warms up and isn't counted.
    """
    taken: list[list[float]] = [[] for _ in sessions]
    for turn in range(TURNS + 1):
        for session, times in zip(sessions, taken, strict=True):
            time.sleep(REST)
            turn_ms = [_milliseconds(session, image) for _ in range(TURN_CALLS)]
            times += turn_ms if turn else []
    return [float(np.median(times)) for times in taken]


@contextmanager
def pinned(threads: int | None) -> Iterator[int]:
    """Keep this thread, and those that it starts, on ``threads`` cores; yield that number.

    None takes all cores that the process may use. Where the system can't pin, or has fewer cores,
    only the number of threads holds.
    """
    count = threads or default_threads()
    if not hasattr(os, "sched_setaffinity"):
        yield count
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield count
    finally:
        os.sched_setaffinity(0, before)


def until(seconds: float, items: Iterable[Item]) -> Iterator[Item]:
    """Yield ``items`` until ``seconds`` have passed; what was begun before is finished."""
    end = time.monotonic() + seconds
    for item in items:
        if time.monotonic() >= end:
            return
        yield item
