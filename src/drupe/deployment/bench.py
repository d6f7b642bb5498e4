"""``drupe bench``: how long decisions of bundles and runs take on this machine, and on which."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.deployment.answers import BenchAnswer
from drupe.deployment.subjects import bundle_subject, open_subjects
from drupe.deployment.timing import Timing, pinned, time_decoding, time_in_turns
from drupe.host import available_cores, cpu_name, installed_versions, load_average
from drupe.progress import Progress, silent

LIBRARIES = (
    *("drupe", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino"),
    *("pillow", "torch", "timm"),
)
"""Packages whose version a latency depends on."""


@dataclass(frozen=True)
class Bench:
    """The timings of one benchmark, decoding apart, and the circumstances they depend on."""

    timings: Sequence[Timing]
    decoding: Sequence[Timing]
    circumstances: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe bench``."""
        return BenchAnswer(
            results=tuple(one.answer() for one in self.timings),
            decode=tuple(one.answer() for one in self.decoding),
            circumstances=self.circumstances,
        ).model_dump(mode="json")


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
        InputError: what :func:`drupe.load` and :func:`time_in_turns` raise.
    """
    with pinned(threads) as count:
        subject = bundle_subject(bundle, count, backend=backend, precision=precision)
        (timing,) = time_in_turns([subject], batches=(batch,), samples=samples, pause_ms=pause_ms)
    return timing


def bench_paths(
    paths: Sequence[Path],
    *,
    threads: int | None = None,
    batches: Sequence[int] = (1,),
    samples: int = 500,
    pause_ms: float = 0,
    every_function: bool = False,
    backend: str | None = None,
    progress: Progress = silent,
) -> Bench:
    """Time bundles and runs in turns. A run is timed as PyTorch computes it, without export.

    ``pause_ms``: idle milliseconds before each call, as between the frames of a camera;
    ``backend``: what runs bundles, None: by their preference.

    Raises:
        InputError: a path that is neither a bundle nor a finished run; what
            :func:`time_in_turns` raises.
        MissingExtraError: a run, without ``drupe[train]``.
    """
    with pinned(threads) as count:
        found = circumstances()
        subjects = [
            one for path in paths for one in open_subjects(path, count, every_function, backend)
        ]
        timings = time_in_turns(
            subjects, batches=batches, samples=samples, pause_ms=pause_ms, progress=progress
        )
        contracts = sorted({one.contract for one in subjects}, key=str)
        decoding = [time_decoding(contract, samples) for contract in contracts]
    return Bench(timings, decoding, found | {"pause_ms": pause_ms})


def circumstances() -> dict[str, Any]:
    """Return what figures depend on: processor, the cores in use, load, system, versions."""
    return {
        "processor": cpu_name(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": available_cores(),
        "load_at_start": load_average(),
        "versions": installed_versions(LIBRARIES),
    }
