"""The range of an activation that int8 spans: histograms of a graph's tensors, and three rules.

Letters: B bins of a histogram.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from drupe.deployment.backends import Images
from drupe.deployment.graph import INPUT
from drupe.progress import Progress, Tracker

BINS = 2048
BATCH = 8
LEVELS = 255
"""Steps of an unsigned byte."""

SHRINK = np.linspace(0.3, 1.0, 36)
"""Shares of the full range that the squared error is tried on."""


@dataclass(frozen=True)
class Histogram:
    """The values of a tensor: ``counts`` (int64 [B]) in equal bins over [low, high] ∋ 0."""

    low: float
    high: float
    counts: NDArray[np.int64]

    @property
    def edges(self) -> NDArray[np.float64]:
        """The bins' B + 1 edges."""
        return np.linspace(self.low, self.high, BINS + 1)


def collect_histograms(
    model: onnx.ModelProto,
    tensors: Sequence[onnx.ValueInfoProto],
    images: Images,
    threads: int,
    progress: Progress,
) -> dict[str, Histogram]:
    """Run ``model`` on ``images`` ([n, H, W, C]) twice: extremes, then histograms.

    A batch of activations at a time is in memory, however many images there are.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(tensors)
    names = [tensor.name for tensor in tensors]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    low, high = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    with progress("int8 ranges", 2 * len(images), "images") as tracker:
        for name, values in _activations(session, names, images, tracker):
            low[name] = min(low[name], float(values.min()))
            high[name] = max(high[name], float(values.max()))
        for name, values in _activations(session, names, images, tracker):
            counts[name] += np.histogram(values, BINS, (low[name], high[name]))[0]
    return {name: Histogram(low[name], high[name], counts[name]) for name in names}


def _activations(
    session: onnxruntime.InferenceSession,
    names: Sequence[str],
    images: Images,
    tracker: Tracker,
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Run all ``images`` and yield what each of the tensors ``names`` held, batch by batch."""
    for start in range(0, len(images), BATCH):
        batch = np.ascontiguousarray(images[start : start + BATCH])
        yield from zip(names, session.run(names, {INPUT: batch}), strict=True)
        tracker.advance(len(batch))


def full_range(histogram: Histogram) -> tuple[float, float]:
    """Return the extremes: nothing is clipped, and one outlier coarsens everything."""
    return histogram.low, histogram.high


def inner_range(histogram: Histogram) -> tuple[float, float]:
    """Return the range without the outermost 0.01 % at either end."""
    share = np.cumsum(histogram.counts) / max(1, histogram.counts.sum())
    edges = histogram.edges
    low = edges[np.searchsorted(share, 1e-4)]
    high = edges[min(int(np.searchsorted(share, 1 - 1e-4)) + 1, BINS)]
    return min(0.0, float(low)), max(0.0, float(high))


def least_squares_range(histogram: Histogram) -> tuple[float, float]:
    """Return the shrunken range that rounds and clips with the smallest squared error."""
    edges = histogram.edges
    centres = (edges[1:] + edges[:-1]) / 2
    best, chosen = np.inf, full_range(histogram)
    for share in SHRINK:
        low, high = histogram.low * share, histogram.high * share
        step = (high - low) / LEVELS
        if step <= 0:
            break
        rounded = np.clip(np.round((centres - low) / step), 0, LEVELS) * step + low
        error = float(np.dot(histogram.counts, (rounded - centres) ** 2))
        if error < best:
            best, chosen = error, (float(low), float(high))
    return chosen


RANGES: Mapping[str, Callable[[Histogram], tuple[float, float]]] = MappingProxyType(
    {
        "least squares": least_squares_range,
        "99.99th percentile": inner_range,
        "min-max": full_range,
    }
)
