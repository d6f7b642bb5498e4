"""Several seeds on the same items: their spread, and intervals and tests clustered by image.

Letters: S seeds, N items, G duplicate groups. ``correct`` is bool [S, N]; ``groups`` int [N]
numbers the duplicate group of each item. Seeds are fixed: everything speaks about these trained
models on further images of this line, so the seeds are averaged first and never pooled as if
S × N images had been seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.signal import convolve
from scipy.special import ndtri
from scipy.stats import binom

from drupe.errors import InputError
from drupe.evaluation.bisection import crossing
from drupe.evaluation.intervals import check_confidence, clopper_pearson
from drupe.evaluation.metrics import ARGMAX_THRESHOLD
from drupe.evaluation.predictions import Predictions

SHOWN_PATHS = 5
"""Paths of each kind that a mismatch names before it only counts."""


@dataclass(frozen=True)
class SeedSpread:
    """One figure per seed, in the order of the seeds: a description, not an interval."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not self.values:
            raise ValueError("values: must hold at least one seed, got none")

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation over seeds (n − 1), ``None`` for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def minimum(self) -> float:
        """The smallest figure of a seed."""
        return min(self.values)

    @property
    def maximum(self) -> float:
        """The largest figure of a seed."""
        return max(self.values)

    def to_json(self) -> dict[str, Any]:
        """Return the values and what is derived from them."""
        return {
            "seeds": len(self.values),
            "values": list(self.values),
            "mean": self.mean,
            "deviation": self.deviation,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }


@dataclass(frozen=True)
class ClusteredMean:
    """A seed-mean rate with an interval that counts each duplicate group of images once."""

    mean: float
    low: float
    high: float
    confidence: float
    sides: int
    seeds: int
    images: int
    groups: int
    effective_images: float

    def to_json(self) -> dict[str, Any]:
        """Return every field and the method."""
        return {**vars(self), "method": "korn-graubard"}


@dataclass(frozen=True)
class PairedDifference:
    """The seed-mean rate of A minus that of B on the same items."""

    difference: float
    low: float
    high: float
    standard_error: float
    p_value: float
    confidence: float
    sides: int
    images: int
    groups: int
    discordant_groups: int

    def to_json(self) -> dict[str, Any]:
        """Return every field and the methods."""
        return {
            **vars(self),
            "method": "bonett-price or tango, the wider",
            "test": "exact sign flip by group",
        }


def align(
    tables: Sequence[Predictions], names: Sequence[str] | None = None
) -> tuple[Predictions, ...]:
    """Return the tables with their items in the first one's order.

    ``names`` says what errors call the tables; None: by number. Paths, classes or labels that
    differ from the first table's are an :class:`InputError`.
    """
    first, *rest = tables
    labels = dict(zip(first.paths, first.is_defect.tolist(), strict=True))
    aligned, problems = [first], []
    for number, table in enumerate(rest, start=2):
        where = names[number - 1] if names else f"predictions {number} of {len(tables)}"
        if table.classes != first.classes:
            problems.append(f"{where}: classes: must be {first.classes}, got {table.classes}")
        index = {path: position for position, path in enumerate(table.paths)}
        absent, extra = sorted(labels.keys() - index), sorted(index.keys() - labels)
        if absent or extra:
            problems.append(
                f"{where}: paths: must be the same {len(labels):,} as in the first, "
                f"got {_listed(absent, 'missing')} and {_listed(extra, 'further')}"
            )
            continue
        ordered = table.take(np.array([index[path] for path in first.paths], np.intp))
        differing = np.flatnonzero(ordered.is_defect != first.is_defect)
        if differing.size:
            problems.append(
                f"{where}: labels: must be those of the first, got {differing.size} others, "
                f"such as that of {first.paths[differing[0]]!r}"
            )
        aligned.append(ordered)
    if problems:
        raise InputError(problems)
    return tuple(aligned)


def _listed(paths: Sequence[str], what: str) -> str:
    """Return ``3 missing (a.png, b.png, …)``."""
    if not paths:
        return f"none {what}"
    shown = ", ".join(paths[:SHOWN_PATHS]) + (", …" if len(paths) > SHOWN_PATHS else "")
    return f"{len(paths):,} {what} ({shown})"


def correct_decisions(
    tables: Sequence[Predictions], threshold: float = ARGMAX_THRESHOLD
) -> NDArray[np.bool_]:
    """Return bool [S, N]: whether each table, aligned by path, decides each item as labelled."""
    aligned = align(tables)
    return np.stack([(table.scores >= threshold) == table.is_defect for table in aligned])


def clustered_mean_interval(
    correct: ArrayLike, groups: ArrayLike, confidence: float = 0.95, sides: int = 2
) -> ClusteredMean:
    """Return the mean of ``correct`` over seeds and items with an interval over images.

    Clopper–Pearson at an effective number of images (Korn & Graubard 1998): N divided by the
    design effect, which is the clustered variance of the mean over that of N independent images.
    The design effect is estimated with z²/2 groups of average size added that every seed has
    right and as many that every seed has wrong (after Agresti & Coull 1998), so that a handful of
    errors can't claim much precision. One seed and distinct images give exactly Clopper–Pearson.
    """
    check_confidence(confidence, sides)
    right, inverse = _checked(correct, groups)
    sums = np.bincount(inverse, weights=right.mean(axis=0))
    sizes = np.bincount(inverse).astype(np.float64)
    mean, images = float(right.mean()), right.shape[1]
    pseudo = z_quantile(confidence, sides) ** 2 / 2
    size = sizes.mean()
    total = images + 2 * pseudo * size
    centre = (sums.sum() + pseudo * size) / total
    squares = ((sums - centre * sizes) ** 2).sum()
    squares += pseudo * size**2 * ((1 - centre) ** 2 + centre**2)
    effective = images * centre * (1 - centre) * total / squares
    # The mean of many thirds can miss 1 by a rounding error; counts can't.
    successes = effective if right.all() else mean * effective
    low, high = clopper_pearson(successes, effective, confidence, sides)
    return ClusteredMean(
        mean=mean,
        low=low,
        high=high,
        confidence=confidence,
        sides=sides,
        seeds=right.shape[0],
        images=images,
        groups=sizes.size,
        effective_images=float(effective),
    )


def paired_difference(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: ArrayLike,
    confidence: float = 0.95,
    sides: int = 2,
) -> PairedDifference:
    """Return the seed-mean rate of A (bool [S_a, N]) minus that of B (bool [S_b, N]).

    The interval is the wider of two, because each alone covers too rarely somewhere: the adjusted
    Wald interval of Bonett & Price (2012) with a variance clustered by group (one group of average
    size that only A has right and one that only B has right are added), and the score interval of
    Tango (1998) on the groups' differences. ``p_value`` is two-sided: all sign flips of the
    groups' differences, which for one seed and distinct images is McNemar's exact test.
    """
    check_confidence(confidence, sides)
    right_a, inverse = _checked(correct_a, groups)
    right_b, _ = _checked(correct_b, groups)
    # Whole numbers, scaled by S_a × S_b, so that equal differences compare as equal.
    scale = right_a.shape[0] * right_b.shape[0]
    items = right_b.shape[0] * right_a.sum(axis=0) - right_a.shape[0] * right_b.sum(axis=0)
    sums = np.rint(np.bincount(inverse, weights=items)).astype(np.int64)
    sizes = np.bincount(inverse).astype(np.float64)
    images, size = right_a.shape[1], sizes.mean()
    total = images + 2 * size
    centre = sums.sum() / scale / total
    squares = ((sums / scale - centre * sizes) ** 2).sum()
    squares += ((size - centre * size) ** 2) + ((size + centre * size) ** 2)
    standard_error = float(np.sqrt(squares)) / total
    reach = z_quantile(confidence, sides) * standard_error
    by_group = sums / scale / sizes
    squares = float((by_group**2).sum())
    # A seed mean differs by fractions, so that a pair says more than one of zeros and ones does.
    worth = float(np.abs(by_group).sum()) / squares if squares else 1.0
    score_low, score_high = score_interval(
        worth * float(by_group[by_group > 0].sum()),
        -worth * float(by_group[by_group < 0].sum()),
        worth * sizes.size,
        z_quantile(confidence, sides),
    )
    return PairedDifference(
        difference=float(sums.sum() / scale / images),
        low=max(-1.0, min(float(centre - reach), score_low)),
        high=min(1.0, max(float(centre + reach), score_high)),
        standard_error=standard_error,
        p_value=sign_flip_p_value(sums),
        confidence=confidence,
        sides=sides,
        images=images,
        groups=sizes.size,
        discordant_groups=int(np.count_nonzero(sums)),
    )


def score_interval(only_a: float, only_b: float, pairs: float, z: float) -> tuple[float, float]:
    """Return Tango's (1998) score bounds of the difference (only_a − only_b) / pairs, in [−1, 1].

    ``only_a`` and ``only_b`` of the ``pairs`` are those that only A, only B has right. ``z`` is the
    normal quantile.
    """

    def statistic(delta: float) -> float:
        # p₂₁ under the restriction p₁₂ − p₂₁ = δ: the root of 2n x² + b x + c
        b = (2 * pairs - only_a + only_b) * delta - only_a - only_b
        c = -only_b * delta * (1 - delta)
        p21 = (np.sqrt(max(b * b - 8 * pairs * c, 0)) - b) / (4 * pairs)
        variance = pairs * (2 * p21 + delta * (1 - delta))
        distance = only_a - only_b - pairs * delta
        if variance <= 0:
            return float(np.sign(distance) * np.inf) if distance else 0.0
        return float(distance / np.sqrt(variance))

    observed = (only_a - only_b) / pairs
    return (
        crossing(lambda delta: statistic(delta) <= z, -1.0, observed),
        -crossing(lambda delta: statistic(-delta) >= -z, -1.0, -observed),
    )


def sign_flip_p_value(differences: ArrayLike) -> float:
    """Return the two-sided p-value of ``differences`` (int [G]) under random signs.

    Exact, by convolution: the flips of m equal magnitudes v add v (2 Bin(m, ½) − m). No
    difference anywhere gives 1.
    """
    values = np.asarray(differences, np.int64)
    magnitudes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    chance = np.ones(1)  # of each total, from −reach to reach in steps of 2 × unit
    if not magnitudes.size:
        return 1.0
    unit = int(np.gcd.reduce(magnitudes))
    for magnitude, count in zip(magnitudes // unit, counts, strict=True):
        flips = np.zeros(magnitude * count + 1)
        flips[::magnitude] = binom.pmf(np.arange(count + 1), count, 0.5)
        chance = convolve(chance, flips)
    reach = chance.size - 1
    totals = np.arange(-reach, reach + 1, 2)
    observed = abs(int(values.sum())) // unit
    extreme = float(chance[np.abs(totals) >= observed].sum())
    # The sum of rounded chances may leave [2^(1 − m), 1], where an exact p-value lies.
    return min(1.0, max(extreme, 0.5 ** (int(counts.sum()) - 1)))


def _checked(correct: ArrayLike, groups: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return ``correct`` as bool [S, N] and the groups renumbered 0 to G − 1."""
    right = np.atleast_2d(np.asarray(correct, np.bool_))
    number = np.asarray(groups)
    if right.ndim != 2 or not right.size:
        raise ValueError(f"correct: must have shape (seeds, items), got {right.shape}")
    if number.shape != right.shape[1:]:
        raise ValueError(f"groups: must have shape {right.shape[1:]}, got {number.shape}")
    return right, np.unique(number, return_inverse=True)[1]


def z_quantile(confidence: float, sides: int) -> float:
    """Return the normal quantile of a bound: 1.96 for two sides at 0.95, 1.645 for one."""
    return float(ndtri(1 - (1 - confidence) / sides))
