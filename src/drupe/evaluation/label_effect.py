"""What a repair of labels bought: the same recipe trained before and after, on the same test items.

Everything is paired: the same seeds, the same test items with the same labels. What could have come
out otherwise is counted three times over: test items (copies as one), calibration defects where a
threshold was certified on them, and seeds.

Letters: S seeds, n test items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from drupe.errors import InputError
from drupe.evaluation.candidates import COMMON_SHARE, certified_candidate
from drupe.evaluation.certificate import check_target
from drupe.evaluation.comparison import Candidate, distinct_items, right_at
from drupe.evaluation.draws import CertifiedScores, drawn_difference
from drupe.evaluation.metrics import ARGMAX_THRESHOLD
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions
from drupe.evaluation.paired import SeedSpread, paired_difference

StateName = Literal["before", "after"]
CERTIFIED, ARGMAX = "certified threshold", "0.5"
CLEAN_YIELD = "clean_yield"
"""The figure that a repair is judged by; the others say at what price."""

Conclusion = Literal["gained", "lost", "not shown", "undecided", "no certificate"]


@dataclass(frozen=True)
class EffectFigure:
    """One figure before and after, a value per seed, and the difference of the means.

    ``low`` and ``high`` bound it for other test items, other calibration defects (at the certified
    threshold) and other seeds; ``items_low`` and ``items_high`` for these seeds alone.
    ``seed_deviation``: of the seeds' own differences, None for a single seed.
    """

    metric: str
    at: str
    before: SeedSpread
    after: SeedSpread
    difference: float
    low: float
    high: float
    items_low: float
    items_high: float
    seed_deviation: float | None

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        spreads = {"before": self.before.to_json(), "after": self.after.to_json()}
        return {**vars(self), **spreads}


@dataclass(frozen=True)
class LabelEffect:
    """What a repair bought on ``groups`` distinct test items, labelled as in ``test_labels``.

    ``figures``: clean yield and recall at the certified threshold (where there is one, else
    ``notes`` say why), accuracy and recall at 0.5. ``through_calibration``: what of the clean yield
    comes from certifying the networks of before on the labels of after; None where those are the
    same. ``doubts``: why a gain is not proven on these labels, if it isn't.
    """

    figures: tuple[EffectFigure, ...]
    through_calibration: EffectFigure | None
    seeds: tuple[int, ...]
    images: int
    groups: int
    defects: int
    left_out: int
    test_labels: StateName
    min_recall: float
    confidence: float
    notes: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def clean_yield(self) -> EffectFigure | None:
        """The difference of clean yields at the certified threshold, if there is one."""
        return next((one for one in self.figures if one.metric == CLEAN_YIELD), None)

    @property
    def conclusion(self) -> Conclusion:
        """What is shown of clean yield. Doubts about labels are whether figures are too good.

        So they make a gain undecided, and leave a loss what it is.
        """
        found = self.clean_yield
        if found is None:
            return "no certificate"
        if found.high < 0:
            return "lost"
        if found.low <= 0:
            return "not shown"
        return "undecided" if self.doubts else "gained"

    def to_json(self) -> dict[str, Any]:
        """Return every field and the conclusion."""
        through = self.through_calibration
        return {
            **vars(self),
            "conclusion": self.conclusion,
            "figures": [one.to_json() for one in self.figures],
            "through_calibration": through.to_json() if through else None,
        }


def label_effect(
    before: Sequence[ModelPredictions],
    after: Sequence[ModelPredictions],
    *,
    test_labels: StateName = "after",
    min_recall: float = 0.99,
    confidence: float = 0.95,
) -> LabelEffect:
    """Compare runs before and after a repair of labels, a run per seed.

    Parameters
    ----------
    before, after
        Runs of the same recipe and seeds, each on its own labels, in the order of the seeds.
    test_labels
        By whose labels both are judged. A test item that not all have is left out.
    min_recall, confidence
        What each run's threshold is certified for, on its own calibration.

    Raises
    ------
    InputError
        Other seeds or other data on the two sides, or a value out of range.
    """
    check_target(min_recall, confidence)
    seeds = _same_seeds(before, after)
    judged, left_out = _on_labels(before, after, test_labels)
    notes: list[str] = []
    target = (min_recall, confidence)
    named = [
        replace(certified_candidate(runs, *target, notes), name=name)
        for runs, name in zip(judged, ("before", "after"), strict=True)
    ]
    split = judged[0][0].test
    assert split is not None
    groups = split.groups
    first, second = (distinct_items(one, groups) for one in named)
    through: tuple[EffectFigure, ...] = ()
    if relabelled := _calibrated_as(judged[0], judged[1]):
        halfway = distinct_items(certified_candidate(relabelled, *target, []), groups)
        through = _at_certified(first, halfway, *target)
    counted = first.tables[0]
    return LabelEffect(
        figures=(*_at_certified(first, second, *target), *_at_argmax(first, second, confidence)),
        through_calibration=through[0] if through else None,
        seeds=seeds,
        images=len(groups),
        groups=len(counted),
        defects=int(counted.is_defect.sum()),
        left_out=left_out,
        test_labels=test_labels,
        min_recall=min_recall,
        confidence=confidence,
        notes=tuple(dict.fromkeys(notes)),
        doubts=_doubts(before, after, test_labels),
    )


def _same_seeds(
    before: Sequence[ModelPredictions], after: Sequence[ModelPredictions]
) -> tuple[int, ...]:
    """Return the seeds of both sides; what can't be paired is an InputError."""
    problems = []
    for name, runs in (("before", before), ("after", after)):
        problems += [
            f"{name}: must be runs with a test split, but {one.name} is none"
            for one in runs
            if one.seed is None or one.test is None or not len(one.test.table)
        ]
        if len({one.data_fingerprint for one in runs}) > 1:
            problems.append(f"{name}: must be runs on the same labels, got several states of them")
    seeds, others = ([one.seed for one in runs] for runs in (before, after))
    if seeds != others:
        told = [", ".join(map(str, numbers)) for numbers in (seeds, others)]
        problems.append(f"after: must be runs of the seeds of before ({told[0]}), got {told[1]}")
    if problems:
        raise InputError(problems)
    return tuple(seed for seed in seeds if seed is not None)


def _on_labels(
    before: Sequence[ModelPredictions], after: Sequence[ModelPredictions], state: StateName
) -> tuple[tuple[list[ModelPredictions], list[ModelPredictions]], int]:
    """Return the runs on the test items of all, in one order and by the labels of ``state``.

    Beside them: how many test items not all have.
    """
    tables = [one.test.table for one in (*before, *after) if one.test is not None]
    told = tables[0 if state == "before" else len(before)]
    if len({table.classes for table in tables}) > 1:
        raise InputError("after: must be runs on the classes of before, got others")
    label_of = dict(zip(told.paths, told.is_defect.tolist(), strict=True))
    common = set(label_of).intersection(*(table.paths for table in tables))
    most = len(set().union(*(table.paths for table in tables)))
    if len(common) < COMMON_SHARE * most:
        raise InputError(
            f"after: must be judged on the test items of before, but only {len(common):,} of "
            f"{most:,} are in all runs"
        )
    paths = sorted(common)
    labels = np.array([label_of[path] for path in paths], np.bool_)
    if labels.all() or not labels.any():
        raise InputError(
            f"{state}: must hold clean test items and defects, got {int((~labels).sum()):,} clean "
            f"and {int(labels.sum()):,} defects that are in all runs"
        )
    sides = ([_judged(one, paths, labels) for one in runs] for runs in (before, after))
    first, second = sides
    return (first, second), most - len(common)


def _judged(
    model: ModelPredictions, paths: Sequence[str], labels: NDArray[np.bool_]
) -> ModelPredictions:
    """Return ``model`` with the test items ``paths``, in that order and by these labels."""
    assert model.test is not None
    table = model.test.table
    place = {path: index for index, path in enumerate(table.paths)}
    order = np.array([place[path] for path in paths], np.intp)
    # Types of defects are those of the run's own labels.
    relabelled = replace(table.take(order), is_defect=labels, types=None)
    _, groups = np.unique(model.test.groups[order], return_inverse=True)
    return replace(model, test=JudgedSplit(relabelled, groups))


def _calibrated_as(
    before: Sequence[ModelPredictions], after: Sequence[ModelPredictions]
) -> list[ModelPredictions]:
    """Return the runs of ``before`` with calibration as labelled after; none where it is alike.

    Items that no longer are in calibration are left out.
    """
    changed = []
    for one, other in zip(before, after, strict=True):
        if one.calibration is None or other.calibration is None:
            return []
        table, later = one.calibration.table, other.calibration.table
        label_of = dict(zip(later.paths, later.is_defect.tolist(), strict=True))
        if label_of == dict(zip(table.paths, table.is_defect.tolist(), strict=True)):
            return []
        split = one.calibration.of_paths(frozenset(label_of))
        labels = np.array([label_of[path] for path in split.table.paths], np.bool_)
        relabelled = replace(split.table, is_defect=labels, types=None)
        changed.append(replace(one, calibration=JudgedSplit(relabelled, split.groups)))
    return changed


def _doubts(
    before: Sequence[ModelPredictions], after: Sequence[ModelPredictions], state: StateName
) -> tuple[str, ...]:
    """Say why a gain is not proven: calibration of either side, test of the labels in use."""
    judging = before if state == "before" else after
    told = [
        f"{name}: {text}"
        for name, runs in (("before", before), ("after", after))
        for one in runs
        for text in (one.approximate, one.doubt, one.test_doubt if runs is judging else None)
        if text
    ]
    return tuple(dict.fromkeys(told))


def _at_certified(
    before: Candidate, after: Candidate, min_recall: float, confidence: float
) -> tuple[EffectFigure, ...]:
    """Return clean yield and recall at the certified thresholds; none where there are none."""
    if before.thresholds is None or after.thresholds is None:
        return ()
    assert before.calibrations is not None
    assert after.calibrations is not None
    scores = [CertifiedScores(one.calibrations or (), one.tables) for one in (after, before)]
    is_defect = before.tables[0].is_defect
    figures = []
    for metric, items, of_defects in (
        (CLEAN_YIELD, ~is_defect, False),
        ("certified_recall", is_defect, True),
    ):
        drawn = drawn_difference(
            *scores, min_recall=min_recall, confidence=confidence, of_defects=of_defects
        )
        right = [right_at(one.tables, items, one.thresholds or ()) for one in (before, after)]
        bounds = (drawn.low, drawn.high)
        figures.append(_figure(metric, CERTIFIED, right[0], right[1], confidence, bounds))
    return tuple(figures)


def _at_argmax(before: Candidate, after: Candidate, confidence: float) -> tuple[EffectFigure, ...]:
    is_defect = before.tables[0].is_defect
    thresholds = [ARGMAX_THRESHOLD] * len(before.tables)
    return tuple(
        _figure(
            metric,
            ARGMAX,
            right_at(before.tables, items, thresholds),
            right_at(after.tables, items, thresholds),
            confidence,
        )
        for metric, items in (("accuracy", np.ones_like(is_defect)), ("recall", is_defect))
    )


def _figure(
    metric: str,
    at: str,
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    confidence: float,
    drawn: tuple[float, float] | None = None,
) -> EffectFigure:
    """Return the difference of right decisions, bool [S, n] each.

    ``drawn``: bounds over draws of calibration, where a threshold hangs on it; of these and those
    over test items alone the outer ones count.
    """
    paired = paired_difference(after, before, np.arange(before.shape[1]), confidence)
    low, high = paired.low, paired.high
    if drawn is not None:
        low, high = min(low, drawn[0]), max(high, drawn[1])
    by_seed = after.mean(axis=1) - before.mean(axis=1)
    reach = seed_reach(by_seed, confidence)
    difference = paired.difference
    return EffectFigure(
        metric=metric,
        at=at,
        before=SeedSpread(tuple(before.mean(axis=1))),
        after=SeedSpread(tuple(after.mean(axis=1))),
        difference=difference,
        low=max(-1.0, difference - hypot(difference - low, reach)),
        high=min(1.0, difference + hypot(high - difference, reach)),
        items_low=low,
        items_high=high,
        seed_deviation=SeedSpread(tuple(by_seed)).deviation,
    )


def seed_reach(by_seed: NDArray[np.float64], confidence: float) -> float:
    """Return how far the mean of S seeds may lie from that of all seeds: Student's t × s / √S.

    0 for a single seed, of which nothing is known. Added to the bounds over items as the squares
    of two independent parts are (Zou and Donner 2008), so that each keeps its own shape.
    """
    count, deviation = len(by_seed), SeedSpread(tuple(by_seed)).deviation
    if deviation is None:
        return 0.0
    return float(student.ppf((1 + confidence) / 2, count - 1) * deviation / np.sqrt(count))
