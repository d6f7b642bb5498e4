"""A test for drift: the scores seen on a line, unlabelled, against calibration's, labelled.

A line has other shares of defects than a calibration set (2 % against 40 %, say), so comparing all
scores would call every line drifted. What a line that did *not* change may show is known up to one
number: its scores are a mixture (1 − π) F₀ + π F₁ of the two classes' distributions, for some
share of defects π. The test is whether any mixture fits:

    D = min over π of  max over x  |Ĝ(x) − (1 − π) F̂₀(x) − π F̂₁(x)|

with the cumulative shares Ĝ of the scores seen and F̂₀, F̂₁ of clean and defect calibration items
(a Kolmogorov-Smirnov distance, minimised over π). Its distribution without drift comes from a
parametric bootstrap: all three samples drawn anew, in their sizes, from F̂₀, F̂₁ and their
best-fitting mixture (and from one class alone where that is as plausible; the larger p-value
counts). It alarms in about ``FALSE_ALARMS`` of all comparisons on a line that did not
change; the tests simulate it.

What it can't see: a change that looks like another share of defects, and a change of the defects
alone where they are rare. Only fresh labels show those.

Letters: n items of calibration, m scores seen, K points at which shares are compared (K + 1 cells
between them), B resamples.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.arrays import read_arrays
from drupe.deployment.backends import is_score

CALIBRATION_FILE = "calibration.npz"

FALSE_ALARMS = 0.01
"""Share of comparisons that alarm though nothing changed."""

FEWEST = 100
"""With fewer scores, seen or of a class of calibration, nothing is compared."""

POINTS = 60
"""Quantiles of the calibration scores at which shares are compared."""

RESAMPLES = 1999
PLAUSIBLE = 3
"""Standard deviations within which a share of exactly 0 or 1 is tried too."""

NARROWINGS = 32
"""Steps of the search for π; each leaves two thirds of the interval: 2e-6 in the end."""


@dataclass(frozen=True)
class CalibrationScores:
    """One function's scores of labelled items: float32 [n of the class], ascending.

    They must be items that the network didn't learn from.
    """

    clean: NDArray[np.float32]
    defect: NDArray[np.float32]

    @classmethod
    def of(cls, scores: NDArray[np.float32], is_defect: NDArray[np.bool_]) -> CalibrationScores:
        """Take the scores float32 [n] of labelled items apart."""
        return cls(np.sort(scores[~is_defect]), np.sort(scores[is_defect]))


def calibration_file(
    scores: Mapping[str, CalibrationScores], others: Mapping[str, NDArray[np.float32]] | None = None
) -> bytes:
    """Return an ``.npz`` of each function's calibration scores, by its name, and of ``others``."""
    arrays = dict(others or {})
    for name, one in scores.items():
        arrays[_array_name(name, "clean")] = one.clean
        arrays[_array_name(name, "defect")] = one.defect
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_calibration(content: bytes, name: str) -> CalibrationScores | None:
    """Return the scores of the function ``name``; None where the file has none.

    Raises:
        ValueError: not such a file.
    """
    try:
        arrays = read_arrays(content)
    except ValueError as error:
        raise ValueError(f"no calibration scores ({error})") from None
    names = [_array_name(name, kind) for kind in ("clean", "defect")]
    if not any(one in arrays for one in names):
        return None
    for one in names:
        _require_class_scores(arrays.get(one), one)
    return CalibrationScores(*(arrays[one] for one in names))


def _require_class_scores(scores: NDArray[Any] | None, name: str) -> None:
    if scores is None:
        raise ValueError(f"no calibration scores (lacks {name})")
    if scores.dtype != np.float32 or scores.ndim != 1:
        raise ValueError(f"{name}: must be float32 [n], got {scores.dtype} {list(scores.shape)}")
    if not is_score(scores).all():
        raise ValueError(f"{name}: must be scores in [0, 1], got another one")


def _array_name(name: str, kind: str) -> str:
    return f"{name.replace(' ', '_')}_{kind}"


@dataclass(frozen=True)
class Drift:
    """The result of a comparison.

    ``distance`` is D; ``score`` an x where the shares lie that far apart, ``seen_below`` and
    ``expected_below`` the shares of scores up to it, seen and in the best-fitting mixture, whose
    share of defects is ``defect_share`` (an estimate that means something only without drift).
    Which of the two is the larger doesn't say which way scores moved: the best fit balances gaps
    of either sign.
    """

    images: int
    distance: float
    p_value: float
    score: float
    seen_below: float
    expected_below: float
    defect_share: float

    @property
    def drifted(self) -> bool:
        """True where chance gives so large a distance in at most ``FALSE_ALARMS`` of all cases."""
        return self.p_value <= FALSE_ALARMS

    def to_json(self) -> dict[str, Any]:
        """Return the fields, the verdict and the rate of false alarms that it was made for."""
        return {"drifted": self.drifted, "false_alarm_rate": FALSE_ALARMS, **vars(self)}


class DriftMonitor:
    """Counts scores as they come, in memory that doesn't grow, and compares when asked."""

    def __init__(self, calibration: CalibrationScores) -> None:
        self._points = _comparison_points(np.concatenate((calibration.clean, calibration.defect)))
        self._clean = self._count_cells(calibration.clean)
        self._defect = self._count_cells(calibration.defect)
        self._seen = np.zeros_like(self._clean)

    @property
    def images(self) -> int:
        """The number of scores seen."""
        return int(self._seen.sum())

    def add(self, scores: NDArray[np.float32]) -> None:
        """Count scores float32 [any number]."""
        self._seen += self._count_cells(scores)

    def compare(self) -> Drift | None:
        """Return what the scores seen so far say; None where they are too few, or all one value."""
        sizes = [int(counts.sum()) for counts in (self._clean, self._defect, self._seen)]
        if min(sizes) < FEWEST or not len(self._points):
            return None
        clean, defect, seen = (
            counts / size
            for counts, size in zip((self._clean, self._defect, self._seen), sizes, strict=True)
        )
        shares = (_cumulative(cells)[None] for cells in (seen, clean, defect))
        distance, share = best_mixture(*shares)
        mixture = (1 - share[0]) * clean + share[0] * defect
        p_value, spread = self._bootstrap(distance[0], share[0], sizes)
        for end in (0.0, 1.0):
            # A line without defects fits less freely than one with a few, and may look like it.
            if 0 < abs(share[0] - end) < PLAUSIBLE * spread:
                p_value = max(p_value, self._bootstrap(distance[0], end, sizes)[0])
        furthest = int(np.abs(_cumulative(seen) - _cumulative(mixture)).argmax())
        return Drift(
            images=sizes[2],
            distance=float(distance[0]),
            p_value=p_value,
            score=float(self._points[furthest]),
            seen_below=float(_cumulative(seen)[furthest]),
            expected_below=float(_cumulative(mixture)[furthest]),
            defect_share=float(share[0]),
        )

    def _bootstrap(
        self, distance: float, share: float, sizes: Sequence[int]
    ) -> tuple[float, float]:
        """Return the p-value of ``distance`` without drift, and the standard deviation of π̂.

        Draws samples of ``sizes`` (clean, defect, seen) where the share of defects is ``share``.
        """
        clean, defect = self._clean / sizes[0], self._defect / sizes[1]
        random = np.random.default_rng(0)
        drawn = (
            random.multinomial(size, cells, RESAMPLES) / size
            for size, cells in (
                (sizes[2], (1 - share) * clean + share * defect),
                (sizes[0], clean),
                (sizes[1], defect),
            )
        )
        distances, shares = best_mixture(*(_cumulative(cells) for cells in drawn))
        beyond = np.count_nonzero(distances >= distance * (1 - 1e-9))
        return float((1 + beyond) / (1 + RESAMPLES)), float(shares.std())

    def _count_cells(self, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return how many scores lie in each cell, int64 [K + 1]; a point ends the cell below."""
        place = np.searchsorted(self._points, scores, side="left")
        return np.bincount(place, minlength=len(self._points) + 1).astype(np.int64)


def _comparison_points(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return about ``POINTS`` quantiles of ``scores``, each half-way between two different scores.

    At a score of calibration its own step would count as a gap, and alarms come too often.
    """
    values, counts = np.unique(scores, return_counts=True)
    ranks = np.arange(1, POINTS + 1) * len(scores) / (POINTS + 1)
    below = np.unique(np.searchsorted(np.cumsum(counts), ranks))
    below = below[below < len(values) - 1]
    middles = values[below] + (values[below + 1] - values[below]) / 2
    return middles.astype(np.float32)


def _cumulative(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share up to each point, [..., K], of the shares of the cells, [..., K + 1]."""
    return np.cumsum(cells, axis=-1)[..., :-1]


def best_mixture(
    seen: NDArray[np.float64], clean: NDArray[np.float64], defect: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return D and the π that gives it, each float64 [B], of cumulative shares float64 [B, K].

    A largest absolute difference is convex in π, so a ternary search finds its minimum.
    """
    offset, slope = seen - clean, defect - clean

    def largest(share: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.abs(offset - share[:, None] * slope).max(axis=1)
        return found

    low, high = np.zeros(len(seen)), np.ones(len(seen))
    for _ in range(NARROWINGS):
        third = (high - low) / 3
        left, right = low + third, high - third
        leftward = largest(left) <= largest(right)
        high, low = np.where(leftward, right, high), np.where(leftward, low, left)
    share = (low + high) / 2
    return largest(share), share
