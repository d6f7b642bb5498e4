"""The gate: an exported function must say what the tested network said.

A function is a graph × backend × precision. It is run on the run's own calibration and test crops,
and on newly collected ones where those certify, and compared with the predictions that the
certificate and the report rest on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.backends import Images, Session, require_scores
from drupe.deployment.manifest import Gate
from drupe.errors import DrupeError
from drupe.evaluation.lanes import Thresholds
from drupe.progress import Progress

BATCH = 64


class GateError(DrupeError):
    """An export refused: it decides otherwise than the tested network, or proves too little."""


@dataclass(frozen=True)
class Crops:
    """Images [n, H, W, C] of one split and the scores (float32 [n]) that PyTorch gave."""

    name: str
    images: Images
    expected: NDArray[np.float32]


def run_all(session: Session, images: Images, progress: Progress, what: str) -> NDArray[np.float32]:
    """Return the scores of all ``images``, float32 [n].

    Raises:
        InputError: a score that isn't in [0, 1].
    """
    parts = []
    with progress(what, len(images), "images") as tracker:
        for start in range(0, len(images), BATCH):
            batch = np.ascontiguousarray(images[start : start + BATCH])
            parts.append(session(batch))
            tracker.advance(len(batch))
    scores = np.concatenate(parts)
    require_scores(scores)
    return scores


def compare_scores(
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    thresholds: Thresholds,
    own: Thresholds | None = None,
) -> Gate:
    """Return how far ``found`` lies from ``expected`` (float32 [n]) and how many decisions turn.

    ``own``: the thresholds of ``found``, where they are others than those of ``expected``.
    """
    difference = np.abs(found.astype(np.float64) - expected)
    flips = thresholds.decide(expected) != (own or thresholds).decide(found)
    return Gate(
        images=len(expected),
        max_score_difference=float(difference.max(initial=0)),
        mean_score_difference=float(difference.mean()) if difference.size else 0.0,
        flips=int(np.count_nonzero(flips)),
    )


def require_no_flips(name: str, gate: Gate) -> None:
    """Raise a :class:`GateError` where a decision turned."""
    if gate.flips:
        raise GateError(
            f"{name}: {gate.flips:,} of {gate.images:,} decisions differ from those of the tested "
            f"network (scores by up to {gate.max_score_difference:.2g}): nothing was exported"
        )
