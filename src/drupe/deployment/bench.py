"""How long decisions take: several bundles in turns, so that a machine's noise hits all alike."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.backends import Session
from drupe.deployment.runtime import Classifier
from drupe.progress import Progress, silent

QUANTILES = (0.5, 0.9, 0.95, 0.99)
ROUND = 25
"""Decisions of one bundle before the next takes its turn."""

WARM_UP = 25


@dataclass(frozen=True)
class Timing:
    """The milliseconds of each timed call: raw bytes in memory to decision, decoding excluded."""

    name: str
    backend: str
    precision: str
    threads: int | None
    batch: int
    milliseconds: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        """Return the quantiles, their number of samples, and the samples themselves."""
        p50, p90, p95, p99 = np.quantile(self.milliseconds, QUANTILES).tolist()
        return {
            "name": self.name,
            "backend": self.backend,
            "precision": self.precision,
            "threads": self.threads,
            "batch": self.batch,
            "p50_ms": p50,
            "p90_ms": p90,
            "p95_ms": p95,
            "p99_ms": p99,
            "samples": len(self.milliseconds),
            "samples_ms": self.milliseconds.tolist(),
        }


def bench(
    classifiers: Mapping[str, Classifier],
    *,
    batch: int = 1,
    samples: int = 500,
    progress: Progress = silent,
) -> Sequence[Timing]:
    """Time ``decide`` on random images, ``samples`` calls of each classifier in turns of 25."""
    random = np.random.default_rng(0)
    images = {
        name: random.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        for name, size in ((name, one.manifest.input.size) for name, one in classifiers.items())
    }
    taken: dict[str, list[float]] = {name: [] for name in classifiers}
    for name, classifier in classifiers.items():
        for _ in range(WARM_UP):
            classifier.decide(images[name])
    with progress("bench", samples * len(classifiers), "calls") as tracker:
        for start in range(0, samples, ROUND):
            for name, classifier in classifiers.items():
                count = min(ROUND, samples - start)
                for _ in range(count):
                    begun = time.perf_counter()
                    classifier.decide(images[name])
                    taken[name].append(1000 * (time.perf_counter() - begun))
                tracker.advance(count)
    return [
        Timing(
            name=name,
            backend=one.function.backend,
            precision=one.function.precision,
            threads=one.threads,
            batch=batch,
            milliseconds=np.array(taken[name]),
        )
        for name, one in classifiers.items()
    ]


def median_ms(session: Session, image: NDArray[np.uint8]) -> float:
    """Return the median milliseconds of a bare session on ``image`` (uint8 [1, S, S, 3])."""
    taken = []
    for _ in range(WARM_UP):
        begun = time.perf_counter()
        session(image)
        taken.append(1000 * (time.perf_counter() - begun))
    return float(np.median(taken))


def circumstances() -> dict[str, str]:
    """Return what the figures depend on: processor, system and versions."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"machine": platform.machine(), "system": platform.platform()}
    for name in ("drupe", "numpy", "onnxruntime", "openvino"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
