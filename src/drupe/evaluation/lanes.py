"""Three lanes: accept below ``low``, review in between, reject from ``high`` on.

Letters: n items; a score is float32 in [0, 1]. What a line sees depends on how rare defects are
there, so shares of all items are stated at a ``prevalence`` (share of defects on the line), never
at the mix of a data set that was collected for training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drupe.errors import InputError
from drupe.evaluation.intervals import Proportion
from drupe.evaluation.predictions import not_probabilities

LARGEST_COST = 1e12

PER = 1000
"""Reviewer load and cost are stated per this many items."""


@dataclass(frozen=True)
class Thresholds:
    """``accept`` below ``low``, ``reject`` from ``high`` on, ``review`` in between.

    Choosing thresholds is :mod:`drupe.evaluation.certificate` and :func:`choose_high`; this
    applies them. Equal thresholds leave no review lane. Values outside [0, 1], NaN or ``low``
    above ``high`` are an :class:`InputError`.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        problems = [
            f"{name}: must be in [0, 1], got {value:g}"
            for name, value in (("low", self.low), ("high", self.high))
            if not 0 <= value <= 1
        ]
        if not problems and self.low > self.high:
            problems = [f"low: must be at most high = {self.high:g}, got {self.low:g}"]
        if problems:
            raise InputError(problems)

    def decide(self, scores: ArrayLike) -> NDArray[np.str_]:
        """Return ``accept``, ``review`` or ``reject`` for each score, compared as float32.

        Raises:
            InputError: a score that isn't in [0, 1]: NaN never means accept.
        """
        score = np.asarray(scores, np.float32)
        wrong = not_probabilities(score)
        if wrong.any():
            raise InputError(
                f"scores: must be in [0, 1], got {score[wrong].flat[0]} and the like for "
                f"{int(wrong.sum()):,} of {score.size:,}"
            )
        decisions = np.where(score < np.float32(self.low), "accept", "review")
        return np.where(score >= np.float32(self.high), "reject", decisions)


@dataclass(frozen=True)
class Costs:
    """Costs of each mistake and each review, in one currency unit of the reader's choice.

    miss_of_types: (type of defect, cost of a miss) where that isn't ``miss``.
    """

    miss: float
    false_reject: float
    review: float
    miss_of_types: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        given = [(name, getattr(self, name)) for name in ("miss", "false_reject", "review")]
        problems = [
            f"costs: {name}: must be in [0, {LARGEST_COST:g}], got {value:g}"
            for name, value in (*given, *self.miss_of_types)
            if not 0 <= value <= LARGEST_COST
        ]
        if problems:
            raise InputError(problems)


@dataclass(frozen=True)
class LaneCounts:
    """Numbers of clean items and defects in each lane. A defect that is reviewed is caught."""

    clean_accepted: int
    clean_reviewed: int
    clean_rejected: int
    defects_accepted: int
    defects_reviewed: int
    defects_rejected: int

    @classmethod
    def of(cls, scores: ArrayLike, is_defect: ArrayLike, thresholds: Thresholds) -> LaneCounts:
        """Count the items (scores float [n], labels bool [n]) that each lane gets."""
        return cls.of_decisions(thresholds.decide(scores), is_defect)

    @classmethod
    def of_decisions(cls, decisions: NDArray[np.str_], is_defect: ArrayLike) -> LaneCounts:
        """Count items that were decided already (lanes str [n], labels bool [n])."""
        defect = np.asarray(is_defect, np.bool_)
        counted = [
            int(np.count_nonzero(members & (decisions == lane)))
            for members in (~defect, defect)
            for lane in ("accept", "review", "reject")
        ]
        return cls(*counted)

    @property
    def clean(self) -> int:
        """The number of clean items."""
        return self.clean_accepted + self.clean_reviewed + self.clean_rejected

    @property
    def defects(self) -> int:
        """The number of defects."""
        return self.defects_accepted + self.defects_reviewed + self.defects_rejected

    def recall(self, confidence: float = 0.95, sides: int = 2) -> Proportion:
        """Return the share of defects that were not accepted."""
        return Proportion(self.defects - self.defects_accepted, self.defects, confidence, sides)

    def clean_yield(self, confidence: float = 0.95, sides: int = 2) -> Proportion:
        """Return the share of clean items that were accepted."""
        return Proportion(self.clean_accepted, self.clean, confidence, sides)

    def precision(self, confidence: float = 0.95, sides: int = 2) -> Proportion:
        """Return the share of defects among the rejected items of this set."""
        rejected = self.clean_rejected + self.defects_rejected
        return Proportion(self.defects_rejected, rejected, confidence, sides)

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        return vars(self).copy()


def check_prevalence(prevalence: float) -> None:
    """Raise an :class:`InputError` unless the share of defects lies strictly between 0 and 1."""
    if not 0 < prevalence < 1:
        raise InputError(f"prevalence: must be in (0, 1), got {prevalence:g}")


@dataclass(frozen=True)
class LineLoad:
    """Mistakes and reviews of ``per`` items of a line, were its lanes those of ``LaneCounts``.

    Point figures: expected items; ``cost`` in the unit of :class:`Costs`.
    """

    prevalence: float
    misses: float
    reviews: float
    rejects: float
    false_rejects: float
    cost: float | None
    per: float = PER

    @classmethod
    def of(
        cls,
        counts: LaneCounts,
        prevalence: float,
        costs: Costs | None = None,
        misses_of_types: Mapping[str, int] | None = None,
    ) -> LineLoad:
        """Weigh the shares within each class by the line's ``prevalence``, in (0, 1).

        ``misses_of_types``: those of the accepted defects whose type has a cost of its own; the mix
        of types is that of the items counted.
        """
        check_prevalence(prevalence)
        if not counts.clean or not counts.defects:
            raise ValueError("counts: must hold clean items and defects")
        per_defect = PER * prevalence / counts.defects
        per_clean = PER * (1 - prevalence) / counts.clean
        misses = per_defect * counts.defects_accepted
        reviews = per_defect * counts.defects_reviewed + per_clean * counts.clean_reviewed
        false_rejects = per_clean * counts.clean_rejected
        return cls(
            prevalence=prevalence,
            misses=misses,
            reviews=reviews,
            rejects=per_defect * counts.defects_rejected + false_rejects,
            false_rejects=false_rejects,
            cost=None
            if costs is None
            else per_defect * _cost_of_misses(counts.defects_accepted, costs, misses_of_types or {})
            + false_rejects * costs.false_reject
            + reviews * costs.review,
        )

    def of_items(self, items: float) -> LineLoad:
        """Return the load of so many items."""
        times = items / self.per
        return LineLoad(
            prevalence=self.prevalence,
            misses=times * self.misses,
            reviews=times * self.reviews,
            rejects=times * self.rejects,
            false_rejects=times * self.false_rejects,
            cost=None if self.cost is None else times * self.cost,
            per=items,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the figures and what they are per."""
        return dict(vars(self))


def _cost_of_misses(misses: int, costs: Costs, of_types: Mapping[str, int]) -> float:
    own = [(of_types.get(name, 0), cost) for name, cost in costs.miss_of_types]
    others = misses - sum(count for count, _ in own)
    return others * costs.miss + sum(count * cost for count, cost in own)


def choose_high(
    scores: ArrayLike,
    is_defect: ArrayLike,
    low: float,
    *,
    review_budget: float = 0.0,
    reject_precision: float | None = None,
    prevalence: float | None = None,
) -> float:
    """Return the threshold from which items are rejected unseen, at least ``low``.

    With ``review_budget``: the highest for which at most that share of items is reviewed. With
    ``reject_precision``: the lowest for which at least that share of the rejected are defects.
    Both are point figures on the items given, the choice is no certificate; recall doesn't
    depend on it. Items are weighed so that defects make up ``prevalence`` of them; None: as given.

    Parameters
    ----------
    scores, is_defect
        float [n] in [0, 1] and bool [n], of calibration items.
    low
        The certified threshold.
    review_budget
        In [0, 1).
    reject_precision
        In (0, 1); not together with a budget.

    Raises
    ------
    InputError
        A value out of range, both targets, or a precision that no threshold reaches.
    """
    check_targets(review_budget, reject_precision, prevalence)
    if reject_precision is None and not review_budget:
        return low
    score, defect = np.asarray(scores, np.float32), np.asarray(is_defect, np.bool_)
    share = float(defect.mean()) if prevalence is None else prevalence
    weights = np.where(defect, share / defect.sum(), (1 - share) / (~defect).sum())
    uncertain = score >= np.float32(low)
    levels, place = np.unique(score[uncertain], return_inverse=True)
    if not levels.size:
        return max(low, 1.0)
    of_all = np.bincount(place, weights=weights[uncertain])
    if reject_precision is None:
        reviewed = np.cumsum(of_all)  # if high lies just above each level
        within = int(np.searchsorted(reviewed, review_budget * (1 + 1e-12), side="right"))
        return _gap(low, levels, within)
    of_defects = np.bincount(place, weights=weights[uncertain] * defect[uncertain])
    precision = np.cumsum(of_defects[::-1])[::-1] / np.cumsum(of_all[::-1])[::-1]
    reached = np.flatnonzero(precision >= reject_precision)
    if not reached.size:
        raise InputError(
            f"reject_precision: no threshold reaches {reject_precision:g} on these items; the "
            f"highest is {precision.max():.4f}"
        )
    return _gap(low, levels, int(reached[0]))


def _gap(low: float, levels: NDArray[np.float32], index: int) -> float:
    """Return a float32 above ``levels[index − 1]`` and at most ``levels[index]``."""
    if index == 0:
        return low
    if index == levels.size:
        # Nothing seen is rejected; a score of 1 always is.
        return 1.0
    middle = np.float32((float(levels[index - 1]) + float(levels[index])) / 2)
    return float(middle if middle > levels[index - 1] else levels[index])


def check_targets(budget: float, precision: float | None, prevalence: float | None) -> None:
    """Raise an :class:`InputError` for what :func:`choose_high` would refuse."""
    problems = []
    if not 0 <= budget < 1:
        problems.append(f"review_budget: must be in [0, 1), got {budget:g}")
    if precision is not None and not 0 < precision < 1:
        problems.append(f"reject_precision: must be in (0, 1), got {precision:g}")
    if precision is not None and budget:
        problems.append("review_budget, reject_precision: only one of them can choose `high`")
    if problems:
        raise InputError(problems)
    if prevalence is not None:
        check_prevalence(prevalence)
