"""How long decisions take: several bundles or runs in turns, so that noise hits all alike.

Letters: N images of a call, S pixels of their side, n timed calls.
"""

from __future__ import annotations

import io
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.decode import decode_bytes
from drupe.deployment.backends import Images, Session, default_threads, runs_here
from drupe.deployment.bundle import golden_images
from drupe.deployment.manifest import MANIFEST, read_manifest
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.host import available_cores, cpu_name
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder

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
    """What is timed: ``decide`` takes uint8 [N, size, size, 3] and returns N decisions.

    ``threads``: CPU threads of one call.
    """

    name: str
    backend: str
    precision: str
    threads: int
    size: int
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
        """Return the quantile ``share`` of a call's milliseconds."""
        return quantile(self.milliseconds, share)

    def to_json(self) -> dict[str, Any]:
        """Return quantiles with intervals, their number of samples, and the samples themselves."""
        found = {name: self.quantile(share) for name, share in QUANTILES.items()}
        return {
            "name": self.name,
            "backend": self.backend,
            "precision": self.precision,
            "threads": self.threads,
            "batch": self.batch,
            **{f"{name}_ms": one.value for name, one in found.items()},
            **{f"{name}_interval_ms": [one.low, one.high] for name, one in found.items()},
            "confidence": CONFIDENCE,
            "samples": len(self.milliseconds),
            "samples_ms": self.milliseconds.tolist(),
        }


@dataclass(frozen=True)
class Bench:
    """All timings of one run, decoding apart, and what they depend on."""

    timings: Sequence[Timing]
    decoding: Sequence[Timing]
    circumstances: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe bench``."""
        return {
            "results": [one.to_json() for one in self.timings],
            "decode": [one.to_json() for one in self.decoding],
            "circumstances": self.circumstances,
        }


def bench_bundle(
    bundle: Path,
    *,
    backend: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    batch: int = 1,
    samples: int = 500,
    pause_ms: float = 0,
) -> Timing:
    """Time one function of a bundle, the one that :func:`drupe.load` takes unless named.

    ``pause_ms``: idle milliseconds before each call, as between the frames of a camera.

    Raises:
        InputError: what :func:`drupe.load` and :func:`bench` raise.
    """
    with pinned(threads) as count:
        subject = _bundle_subject(bundle, str(bundle), backend, precision, count)
        (timing,) = bench([subject], batches=(batch,), samples=samples, pause_ms=pause_ms)
    return timing


def bench_paths(
    paths: Sequence[Path],
    *,
    threads: int | None = None,
    batches: Sequence[int] = (1,),
    samples: int = 500,
    pause_ms: float = 0,
    every_function: bool = False,
    progress: Progress = silent,
) -> Bench:
    """Time bundles and runs in turns. A run is timed as PyTorch computes it, without export.

    ``pause_ms``: idle milliseconds before each call, as between the frames of a camera.

    Raises:
        InputError: a path that is neither a bundle nor a finished run; what :func:`bench` raises.
        MissingExtraError: a run, without ``drupe[train]``.
    """
    with pinned(threads) as count:
        found = circumstances()
        subjects = [one for path in paths for one in open_subjects(path, count, every_function)]
        timings = bench(
            subjects, batches=batches, samples=samples, pause_ms=pause_ms, progress=progress
        )
        sizes = sorted({one.size for one in subjects})
        decoding = [time_decoding(size, samples) for size in sizes]
    return Bench(timings, decoding, found | {"pause_ms": pause_ms})


def open_subjects(path: Path, threads: int, every_function: bool) -> list[Subject]:
    """Return what is to be timed of a bundle or a run."""
    if not (path / MANIFEST).is_file() and RunFolder(path).record.is_file():
        from drupe.deployment.eager import eager_subject  # PyTorch: a line PC has none

        return [eager_subject(path, threads)]
    if not every_function:
        return [_bundle_subject(path, str(path), None, None, threads)]
    functions = [
        one for one in read_manifest(path).functions if runs_here(one.backend, one.precision)
    ]
    if not functions:
        raise InputError(f"{path}: holds no function that can be run here")
    return [
        _bundle_subject(path, f"{path} ({one.name})", one.backend, one.precision, threads)
        for one in functions
    ]


def _bundle_subject(
    path: Path, name: str, backend: str | None, precision: str | None, threads: int
) -> Subject:
    one = load(path, backend=backend, precision=precision, threads=threads, uncertified=True)
    function, size = one.function, one.manifest.input.size
    return Subject(name, function.backend, function.precision, threads, size, one.decide)


def bench(
    subjects: Sequence[Subject],
    *,
    batches: Sequence[int] = (1,),
    samples: int = 500,
    pause_ms: float = 0,
    progress: Progress = silent,
) -> Sequence[Timing]:
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
    pairs = [(one, batch) for batch in batches for one in subjects]
    images = [_images(one.size, batch) for one, batch in pairs]
    taken: list[list[float]] = [[] for _ in pairs]
    for (one, _), batch in zip(pairs, images, strict=True):
        for _ in range(WARM_UP):
            one.decide(batch)
    with progress("bench", samples * len(pairs), "calls") as tracker:
        turns = list(zip(pairs, images, taken, strict=True))
        for start in range(0, samples, ROUND):
            count = min(ROUND, samples - start)
            for (one, _), batch, times in turns:
                time.sleep(REST)
                for _ in range(SETTLE):
                    one.decide(batch)
                for _ in range(count):
                    if pause_ms:
                        time.sleep(pause_ms / 1000)
                    times.append(_milliseconds(one.decide, batch))
                tracker.advance(count)
            turns.reverse()
    return [
        Timing(one.name, one.backend, one.precision, one.threads, batch, np.array(times))
        for (one, batch), times in zip(pairs, taken, strict=True)
    ]


def _images(size: int, batch: int) -> Images:
    golden = golden_images(size)
    images = np.ascontiguousarray(golden[np.arange(batch) % len(golden)])
    return images


def _milliseconds(call: Callable[[Any], object], argument: object) -> float:
    begun = time.perf_counter()
    call(argument)
    return 1000 * (time.perf_counter() - begun)


def time_decoding(size: int, samples: int) -> Timing:
    """Time decoding one PNG of ``size`` × ``size`` pixels that is already in memory."""
    stream = io.BytesIO()
    Image.fromarray(golden_images(size)[0]).save(stream, "PNG")
    content = stream.getvalue()
    for _ in range(WARM_UP):
        decode_bytes(content)
    taken = [_milliseconds(decode_bytes, content) for _ in range(samples)]
    return Timing(f"decode PNG {size} x {size}", "pillow", "uint8", 1, 1, np.array(taken))


def quantile(values: NDArray[np.float64], share: float) -> Quantile:
    """Return a quantile of ``values`` (float64 [n]) and an interval from two order statistics.

    Distribution-free: of n independent values, the number below the true quantile is
    Bin(n, share), so the ranks l and u with P(Bin < l) ≤ α/2 and P(Bin ≥ u) ≤ α/2 enclose it
    (David and Nagaraja, Order Statistics, 3rd ed., section 7.1). Calls that follow one another
    are alike, so on a busy machine the interval is somewhat too narrow.
    """
    ordered = np.sort(values)
    n = len(ordered)
    tail = (1 - CONFIDENCE) / 2
    below = np.cumsum(_binomial(n, share))  # P(Bin ≤ k), k = 0 … n
    low = int(np.count_nonzero(below <= tail))  # the largest l with P(Bin ≤ l - 1) ≤ tail
    high = int(np.count_nonzero(below < 1 - tail)) + 1  # the smallest u with P(Bin ≤ u - 1) ≥ 1-…
    value = ordered[max(0, math.ceil(n * share - 1e-9) - 1)]
    return Quantile(
        float(value),
        float(ordered[low - 1]) if low >= 1 else None,
        float(ordered[high - 1]) if high <= n else None,
    )


def _binomial(n: int, share: float) -> NDArray[np.float64]:
    """Return P(Bin(n, share) = k) for k = 0 … n, by the logarithms of its ratios."""
    k = np.arange(1, n + 1)
    steps = np.log((n - k + 1) / k) + math.log(share) - math.log1p(-share)
    logs = n * math.log1p(-share) + np.concatenate(([0.0], np.cumsum(steps)))
    found: NDArray[np.float64] = np.exp(logs)
    return found


def medians_ms(sessions: Sequence[Session], image: Images) -> list[float]:
    """Return the median milliseconds of bare sessions, in turns, on ``image`` (uint8 [1, S, S, 3]).

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


def circumstances() -> dict[str, Any]:
    """Return what figures depend on: processor, the cores in use, load, system, versions."""
    versions = {"python": platform.python_version()}
    for name in ("drupe", "numpy", "onnxruntime", "openvino", "pillow", "torch", "timm"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": cpu_name(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": available_cores(),
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }
