"""How far the reviewers can be trusted: with themselves, with the labels, with one another.

All judgements count as they were given: good, defect, can't tell and bad picture are four
categories, kinds of defects are not told apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from drupe.evaluation.intervals import Proportion
from drupe.labels.agreement import ReviewerAgreement, cohen_kappa, fleiss_kappa
from drupe.labels.review.answers import JUDGEMENTS
from drupe.labels.review.queue import ReviewQueue
from drupe.labels.review.votes import Answers, Vote, votes_by_item


@dataclass(frozen=True)
class ReviewerQuality:
    """One reviewer: ``answers`` in all, of ``showings``.

    repeated: pictures that were judged the same at the second look. clean_as_defect and
    defect_as_good: of the random controls with the label clean (defect) those judged the other way.
    tilt: the exact two-sided McNemar p-value for "as many one way as the other" on these; a small
    one says that the reviewer's standard differs from the labels'. seconds: median of a look.
    """

    reviewer: str
    answers: int
    showings: int
    repeated: Proportion
    clean_as_defect: Proportion
    defect_as_good: Proportion
    tilt: float
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {
            "reviewer": self.reviewer,
            "answers": self.answers,
            "showings": self.showings,
            "repeated": self.repeated.to_json(),
            "clean_as_defect": self.clean_as_defect.to_json(),
            "defect_as_good": self.defect_as_good.to_json(),
            "tilt_p_value": self.tilt,
            "median_seconds": self.seconds,
        }


@dataclass(frozen=True)
class ReviewQuality:
    """All reviewers, each two of them (Cohen), and all together where there are three (Fleiss)."""

    reviewers: tuple[ReviewerQuality, ...]
    pairs: tuple[ReviewerAgreement, ...]
    together: ReviewerAgreement | None

    def to_json(self) -> dict[str, Any]:
        """Return every part."""
        return {
            "reviewers": [one.to_json() for one in self.reviewers],
            "pairs": [one.to_json() for one in self.pairs],
            "together": self.together.to_json() if self.together else None,
        }


def review_quality(queue: ReviewQueue, answers: Answers) -> ReviewQuality:
    """Measure the reviewers by repeats, controls and one another.

    Third looks don't count: they are at pictures picked for being hard to agree on.
    """
    answers = {
        name: kept
        for name, held in answers.items()
        if (kept := {showing: one for showing, one in held.items() if not one.is_third})
    }
    votes = votes_by_item(queue, answers)
    names = tuple(sorted(answers))
    return ReviewQuality(
        reviewers=tuple(_reviewer(name, queue, answers, votes) for name in names),
        pairs=tuple(_pair(votes, pair) for pair in combinations(names, 2)),
        together=_together(votes, names) if len(names) > 2 else None,
    )


def _reviewer(
    name: str, queue: ReviewQueue, answers: Answers, votes: Sequence[Sequence[Vote]]
) -> ReviewerQuality:
    own = [next((vote for vote in cast if vote.reviewer == name), None) for cast in votes]
    twice = [vote for vote in own if vote and len(vote.answers) > 1]
    clean, defect = queue.classes
    turned = {clean: [0, 0], defect: [0, 0]}  # label → judged the other way, all
    for item, vote in zip(queue.items, own, strict=True):
        if vote and item.role == "control":
            other = "defect" if item.label == clean else "good"
            turned[item.label][0] += vote.answers[0].judgement == other
            turned[item.label][1] += 1
    changed = turned[clean][0] + turned[defect][0]
    held = answers[name].values()
    return ReviewerQuality(
        reviewer=name,
        answers=len(held),
        showings=len(queue.showings),
        repeated=Proportion(sum(vote.is_consistent for vote in twice), len(twice)),
        clean_as_defect=Proportion(turned[clean][0], turned[clean][1]),
        defect_as_good=Proportion(turned[defect][0], turned[defect][1]),
        tilt=float(binomtest(turned[clean][0], changed).pvalue) if changed else 1.0,
        seconds=statistics.median(one.seconds for one in held) if held else None,
    )


def _pair(votes: Sequence[Sequence[Vote]], names: tuple[str, str]) -> ReviewerAgreement:
    table = np.zeros((len(JUDGEMENTS), len(JUDGEMENTS)), np.int64)
    np.add.at(table, tuple(_judged_by_all(votes, names).T), 1)
    return cohen_kappa(table, names)


def _together(votes: Sequence[Sequence[Vote]], names: tuple[str, ...]) -> ReviewerAgreement:
    judged = _judged_by_all(votes, names)
    counts = np.stack([(judged == place).sum(axis=1) for place in range(len(JUDGEMENTS))], axis=1)
    return fleiss_kappa(counts, names)


def _judged_by_all(votes: Sequence[Sequence[Vote]], names: Sequence[str]) -> NDArray[np.int64]:
    """Return the category of each reviewer's first look, int64 [items that all judged, names]."""
    rows = []
    for cast in votes:
        of = {vote.reviewer: vote.answers[0].judgement for vote in cast}
        if all(name in of for name in names):
            rows.append([JUDGEMENTS.index(of[name] or "unclear") for name in names])
    return np.array(rows, np.int64).reshape(-1, len(names))
