"""Models compared on the same images: differences with intervals, never two figures side by side.

What a comparison is about: these trained models, on further images of this line. So images are
the unit (copies count as one), models are paired image by image, and seeds are fixed and averaged.

Of copies the first by path counts, as in a certificate. Rates (accuracy, recall, clean yield) use
the intervals and the sign-flip test of :mod:`drupe.evaluation.paired`. A plain percentile bootstrap
would not do: with no image on which two models differ it says "0 ± 0", and a small difference
shown by a handful it covers too rarely (``tests/evaluation/test_comparison_simulation.py``
measures it). AUROC is no mean over images and is resampled (:mod:`drupe.evaluation.resampling`);
where few images carry its difference, its interval is widened for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr
from scipy.stats import binomtest

from drupe.errors import InputError
from drupe.evaluation.draws import CertifiedScores, DrawnDifference, drawn_difference
from drupe.evaluation.metrics import ARGMAX_THRESHOLD, auroc
from drupe.evaluation.paired import (
    align,
    paired_difference,
    z_quantile,
)
from drupe.evaluation.placements import Placements, placements
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.resampling import resampled_auroc

Metric = Literal["accuracy", "recall", "clean_yield", "auroc"]
METRICS: tuple[Metric, ...] = get_args(Metric)
POWER = 0.8
RESAMPLES = 10_000
FEW_CARRIERS = 20.0
"""Items that share a difference of AUROC between them, below which its bootstrap is too sure."""


@dataclass(frozen=True)
class Candidate:
    """A model to compare: test predictions of one or more seeds, all on the same items.

    ``thresholds`` gives each seed's certified threshold, at which clean yield is taken; None where
    there is none. ``calibrations`` holds the distinct items that each was certified on, if they are
    at hand. Accuracy and recall are those of the argmax (threshold 0.5).
    """

    name: str
    tables: tuple[Predictions, ...]
    seeds: tuple[int, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    calibrations: tuple[Predictions, ...] | None = None


@dataclass(frozen=True)
class SeedDiscordance:
    """One seed of A against the same of B: images that only one decides right, McNemar's exact p.

    Description, not evidence: the family of a study holds one p-value per comparison.
    """

    seed: int | None
    only_a: int
    only_b: int

    @property
    def p_value(self) -> float:
        """McNemar's exact test: the two-sided binomial p of ``only_a`` among all, at ½."""
        total = self.only_a + self.only_b
        return float(binomtest(self.only_a, total).pvalue) if total else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the p-value."""
        return {**vars(self), "p_value": self.p_value}


@dataclass(frozen=True)
class PairResult:
    """The difference A − B of one metric, seeds averaged.

    ``low`` and ``high`` are two-sided bounds; ``p_value`` is two-sided, ``p_adjusted`` Holm's over
    the family. ``detectable``: the true difference that this test set would have shown with 80 %
    power at the family's first Holm step. ``non_inferior``: whether the one-sided lower bound, not
    adjusted for the family, lies above −margin. ``drawn``: of certified clean yields the difference
    over draws of calibration as well (:mod:`drupe.evaluation.draws`); None where there is none.
    """

    a: str
    b: str
    metric: Metric
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    detectable: float
    non_inferior: bool
    method: str
    mcnemar: tuple[SeedDiscordance, ...] = ()
    drawn: DrawnDifference | None = None

    def is_shown(self, confidence: float) -> bool:
        """Return whether the difference is significant in its family, and not a draw's luck."""
        level = 1 - confidence
        return self.p_adjusted <= level and (self.drawn is None or self.drawn.p_value <= level)

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {
            **vars(self),
            "mcnemar": [item.to_json() for item in self.mcnemar],
            "drawn": self.drawn.to_json() if self.drawn else None,
        }


@dataclass(frozen=True)
class Comparison:
    """All pairs × metrics of one family. Of ``images``, ``groups`` distinct ones are counted."""

    pairs: tuple[PairResult, ...]
    images: int
    defects: int
    groups: int
    confidence: float
    margin: float
    family_size: int

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe compare``."""
        return {**vars(self), "pairs": [pair.to_json() for pair in self.pairs]}


def compare(
    candidates: Sequence[Candidate],
    *,
    groups: NDArray[np.integer] | None = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    metrics: Sequence[Metric] | None = None,
    confidence: float = 0.95,
    margin: float = 0.0,
    family_size: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    min_recall: float = 0.99,
    draw_seeds: bool = False,
) -> Comparison:
    """Compare ``candidates`` on the items that all of them were tested on.

    Parameters
    ----------
    candidates
        At least two.
    groups
        int [N]: the duplicate group of each item, in the order of the first candidate's first
        table; None: all distinct.
    pairs
        Which (a, b) to compare, by index; None: every other one against the first.
    metrics
        Which metrics; None: all that every candidate has. Each pair × metric is a member of
        the family, so plan few.
    confidence
        Of the intervals; 1 − confidence is the level of tests and of ``detectable``.
    margin
        How much worse A may be and still be called non-inferior, as a rate.
    family_size
        Of Holm's correction where more comparisons were planned than are made; None: those made.
    resamples, seed
        Of the bootstrap for AUROC.
    min_recall
        What the candidates' thresholds are certified for.
    draw_seeds
        Whether :attr:`PairResult.drawn` counts the draw of seeds beside that of items.

    Raises
    ------
    InputError
        Other images, labels or classes among the candidates (what is missing is listed), or a
        value out of range.
    """
    check_comparison(confidence, margin)
    aligned = _checked(candidates)
    images = len(aligned[0].tables[0])
    if groups is not None:
        aligned = [distinct_items(one, np.asarray(groups)) for one in aligned]
    chosen = list(metrics) if metrics is not None else _shared_metrics(aligned)
    planned = list(pairs) if pairs is not None else [(i, 0) for i in range(1, len(aligned))]
    size = max(family_size or 0, len(planned) * len(chosen))
    rule = _Rule(confidence, margin, level=(1 - confidence) / max(size, 1))
    areas = _Areas.of(aligned, resamples, seed) if "auroc" in chosen else None
    results = []
    for a, b in planned:
        for metric in chosen:
            if metric == "auroc":
                assert areas is not None
                results.append(areas.difference(aligned, a, b, rule))
                continue
            result = _rate_difference(aligned[a], aligned[b], metric, rule)
            if metric == "clean_yield":
                drawn = _drawn(aligned[a], aligned[b], min_recall, confidence, draw_seeds)
                result = replace(result, drawn=drawn)
            results.append(result)
    adjusted = holm([result.p_value for result in results], size)
    counted = aligned[0].tables[0]
    return Comparison(
        pairs=tuple(
            replace(result, p_adjusted=p) for result, p in zip(results, adjusted, strict=True)
        ),
        images=images,
        defects=int(counted.is_defect.sum()),
        groups=len(counted),
        confidence=confidence,
        margin=margin,
        family_size=size,
    )


@dataclass(frozen=True)
class _Rule:
    """Levels that a difference is judged by; ``level`` is that of the family's first Holm step."""

    confidence: float
    margin: float
    level: float


def check_comparison(confidence: float, margin: float = 0.0) -> None:
    """Raise an :class:`InputError` for what :func:`compare` would refuse."""
    problems = []
    if not 0.5 <= confidence < 1:
        problems.append(f"confidence: must be in [0.5, 1), got {confidence:g}")
    if not 0 <= margin < 1:
        problems.append(f"margin: must be in [0, 1), got {margin:g}")
    if problems:
        raise InputError(problems)


def distinct_items(candidate: Candidate, groups: NDArray[np.integer]) -> Candidate:
    """Return the candidate with one item of each duplicate group (int [N])."""
    return replace(candidate, tables=tuple(table.distinct(groups) for table in candidate.tables))


def holm(p_values: Sequence[float], family_size: int | None = None) -> list[float]:
    """Return Holm's (1979) step-down adjusted p-values, in the order given.

    ``family_size`` counts tests that were planned and not made, as if their p were 1.
    """
    size = max(family_size or 0, len(p_values))
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (size - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def detectable_difference(
    standard_error: float, level: float, images: int, power: float = POWER
) -> float:
    """Return the true difference that a two-sided test at ``level`` shows with ``power``.

    (z at the level + z at the power) × the standard error seen (normal approximation), and at least
    the difference that brings so many one-sided images that an exact test can be significant at
    all: it takes k of them with 2 × ½ᵏ ≤ level, and a Poisson number reaches k with ``power`` when
    its mean is the inverse of the incomplete gamma function.
    """
    fewest = np.ceil(1 + np.log2(1 / level))
    least = float(gammaincinv(fewest, power)) / images
    error_based = (z_quantile(1 - level, 2) + z_quantile(power, 1)) * standard_error
    return min(1.0, max(error_based, least))


def align_candidates(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates with all tables in the order of the first.

    Raises:
        InputError: tables that differ in paths, classes or labels.
    """
    names = [one.name for one in candidates for _ in one.tables]
    tables = iter(align([table for one in candidates for table in one.tables], names))
    return [replace(one, tables=tuple(next(tables) for _ in one.tables)) for one in candidates]


def _checked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return two candidates or more, aligned, that hold clean items and defects."""
    if len(candidates) < 2:
        raise InputError(f"compare: needs at least two models, got {len(candidates)}")
    labels = candidates[0].tables[0].is_defect
    if labels.all() or not labels.any():
        raise InputError(
            f"{candidates[0].name}: must hold clean items and defects, "
            f"got {int((~labels).sum()):,} clean and {int(labels.sum()):,} defects"
        )
    return align_candidates(candidates)


def _shared_metrics(candidates: Sequence[Candidate]) -> list[Metric]:
    has_thresholds = all(one.thresholds is not None for one in candidates)
    return [metric for metric in METRICS if metric != "clean_yield" or has_thresholds]


def right_decisions(candidate: Candidate, metric: Metric) -> NDArray[np.bool_]:
    """Return bool [S, n]: whether each seed decides right on the n items that the metric counts."""
    is_defect = candidate.tables[0].is_defect
    thresholds: Sequence[float] = [ARGMAX_THRESHOLD] * len(candidate.tables)
    if metric == "clean_yield":
        if candidate.thresholds is None:
            raise InputError(f"{candidate.name}: clean_yield needs a certified threshold")
        thresholds = candidate.thresholds
    items = {"recall": is_defect, "clean_yield": ~is_defect}.get(metric, np.ones_like(is_defect))
    return right_at(candidate.tables, items, thresholds)


def right_at(
    tables: Sequence[Predictions], items: NDArray[np.bool_], thresholds: Sequence[float]
) -> NDArray[np.bool_]:
    """Return bool [S, n]: whether each of the aligned tables decides right at its threshold.

    ``items`` (bool [N]) says which n of them are asked about.
    """
    rejected = np.stack(
        [
            table.scores[items] >= np.float32(low)
            for table, low in zip(tables, thresholds, strict=True)
        ]
    )
    right: NDArray[np.bool_] = rejected == tables[0].is_defect[items]
    return right


def _rate_difference(
    a: Candidate,
    b: Candidate,
    metric: Metric,
    rule: _Rule,
) -> PairResult:
    right_a, right_b = right_decisions(a, metric), right_decisions(b, metric)
    items = np.arange(right_a.shape[1])
    found = paired_difference(right_a, right_b, items, rule.confidence)
    one_sided = paired_difference(right_a, right_b, items, rule.confidence, sides=1)
    return PairResult(
        a=a.name,
        b=b.name,
        metric=metric,
        difference=found.difference,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        p_adjusted=found.p_value,
        detectable=detectable_difference(found.standard_error, rule.level, items.size),
        non_inferior=one_sided.low > -rule.margin,
        method="bonett-price or tango, the wider; sign flip",
        mcnemar=_by_seed(a, b, right_a, right_b),
    )


def _drawn(
    a: Candidate, b: Candidate, min_recall: float, confidence: float, seeds: bool
) -> DrawnDifference | None:
    """Return the difference of clean yields over draws of calibration, where there are any."""
    if a.calibrations is None or b.calibrations is None:
        return None
    return drawn_difference(
        CertifiedScores(a.calibrations, a.tables),
        CertifiedScores(b.calibrations, b.tables),
        min_recall=min_recall,
        confidence=confidence,
        seeds=seeds,
    )


def _by_seed(
    a: Candidate, b: Candidate, right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]
) -> tuple[SeedDiscordance, ...]:
    """Return a count per seed that both have; a single table each is a pair without a seed."""
    seeds_a = a.seeds or (None,) * len(right_a)
    seeds_b = b.seeds or (None,) * len(right_b)
    if len(right_a) == len(right_b) == 1:
        both = [(seeds_a[0] if seeds_a == seeds_b else None, 0, 0)]
    else:
        both = [
            (seed, seeds_a.index(seed), seeds_b.index(seed))
            for seed in seeds_a
            if seed is not None and seed in seeds_b
        ]
    return tuple(
        SeedDiscordance(
            seed,
            only_a=int(np.count_nonzero(right_a[i] & ~right_b[j])),
            only_b=int(np.count_nonzero(~right_a[i] & right_b[j])),
        )
        for seed, i, j in both
    )


@dataclass(frozen=True)
class _Areas:
    """Seed-mean AUROC of each candidate: observed float [M], and in each resample float [B, M]."""

    observed: NDArray[np.float64]
    resampled: NDArray[np.float64]
    placements: tuple[Placements, ...]

    @classmethod
    def of(cls, candidates: Sequence[Candidate], resamples: int, seed: int) -> _Areas:
        # The logit ranks as the score does, but float32 doesn't tie its largest values.
        rankings = [
            table.scores if table.logits is None else table.logits
            for one in candidates
            for table in one.tables
        ]
        is_defect = candidates[0].tables[0].is_defect
        items = np.arange(len(is_defect))
        drawn = resampled_auroc(rankings, is_defect, items, resamples=resamples, seed=seed)
        placed = [placements(ranking, is_defect) for ranking in rankings]
        observed = np.array([auroc(ranking, is_defect) for ranking in rankings], np.float64)
        ends = np.cumsum([len(one.tables) for one in candidates])[:-1]
        return cls(
            observed=np.array([part.mean() for part in np.split(observed, ends)]),
            resampled=np.stack([part.mean(axis=1) for part in np.split(drawn, ends, axis=1)], 1),
            placements=tuple(
                Placements.mean(placed[start:end])
                for start, end in zip([0, *ends], [*ends, len(placed)], strict=True)
            ),
        )

    def difference(
        self, candidates: Sequence[Candidate], a: int, b: int, rule: _Rule
    ) -> PairResult:
        """Return percentile bounds and twice the smaller bootstrap tail about zero."""
        drawn = self.resampled[:, a] - self.resampled[:, b]
        drawn = drawn[np.isfinite(drawn)]
        tail = 1 - rule.confidence
        low, high, one_sided = np.quantile(drawn, [tail / 2, 1 - tail / 2, tail]).tolist()
        error, method = float(drawn.std()), f"paired bootstrap, {drawn.size:,} resamples"
        tails = [np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)]
        p_value = min(1.0, 2 * (1 + min(tails)) / (1 + drawn.size))
        change = self.placements[a].minus(self.placements[b])
        if change.carriers < FEW_CARRIERS:
            centre, error = change.adjusted_mean, max(error, change.adjusted_error)
            reach = z_quantile(rule.confidence, 2) * error
            low, high = min(low, centre - reach), max(high, centre + reach)
            one_sided = min(one_sided, centre - z_quantile(rule.confidence, 1) * error)
            method += ", widened: few images carry the difference"
            p_value = max(p_value, 2 * float(ndtr(-abs(centre) / error)))
        images = len(candidates[a].tables[0])
        return PairResult(
            a=candidates[a].name,
            b=candidates[b].name,
            metric="auroc",
            difference=float(self.observed[a] - self.observed[b]),
            low=max(-1.0, low),
            high=min(1.0, high),
            p_value=p_value,
            p_adjusted=p_value,
            detectable=detectable_difference(error, rule.level, images),
            non_inferior=one_sided > -rule.margin,
            method=method,
        )
