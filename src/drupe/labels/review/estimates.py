"""What a review says of all pictures, those that nobody looked at included.

Suspects stand for themselves, a random control for all that it was drawn from. A picture that
nobody has judged yet, or that nobody could tell, is open: the bounds allow for either.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from drupe.errors import InputError
from drupe.labels.design import (
    DesignRate,
    DesignTotal,
    DrawnStratum,
    confidence_of_each,
    design_total,
    ratio_of,
)
from drupe.labels.review.decisions import ReviewDecision
from drupe.labels.review.queue import ACCEPTED, ReviewQueue, ReviewStratum
from drupe.labels.weighted import WeightedDraw, weighted_total

TEST = "test"
UNSETTLED = ("unclear", "undecided", "waiting")


@dataclass(frozen=True)
class DesignEstimate:
    """The wrong labels among ``items`` pictures of a split (None: all) and label (None: both)."""

    split: str | None
    label: str | None
    items: int
    looked_at: int
    wrong: DesignTotal

    def to_json(self) -> dict[str, Any]:
        """Return the counts, and the estimate with its bounds, as numbers and as rates."""
        total = self.wrong
        return {
            "split": self.split,
            "label": self.label,
            "items": self.items,
            "looked_at": self.looked_at,
            "wrong": total.to_json(),
            "rate": {
                "estimate": total.estimate / self.items,
                "low": total.low / self.items,
                "high": total.high / self.items,
                "confidence": total.confidence,
            },
        }


@dataclass(frozen=True)
class ReviewedRates:
    """Recall and clean yield of the test pictures at a threshold, by what reviewers found."""

    threshold: float
    recall: DesignRate
    clean_yield: DesignRate

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {
            "threshold": self.threshold,
            "recall": self.recall.to_json(),
            "clean_yield": self.clean_yield.to_json(),
        }


Test = Callable[[ReviewDecision], bool]


def estimate_noise(
    queue: ReviewQueue, decisions: Sequence[ReviewDecision], confidence: float = 0.95
) -> tuple[DesignEstimate, ...]:
    """Estimate the wrong labels of each split and label, of each split, and of all pictures.

    A bad picture has no right label; it counts as not wrong.
    """

    def is_wrong(one: ReviewDecision) -> bool:
        return one.found_class(queue.classes) not in (None, one.item.label)

    splits = sorted({one.split for one in queue.strata})
    groups: list[tuple[str | None, str | None, list[ReviewStratum]]] = [
        (one.split, one.label, [one]) for one in queue.strata
    ]
    groups += [(name, None, [one for one in queue.strata if one.split == name]) for name in splits]
    if len(splits) > 1:
        groups.append((None, None, list(queue.strata)))
    return tuple(
        DesignEstimate(
            split=split,
            label=label,
            items=sum(one.items for one in members),
            looked_at=sum(one.suspects + one.controls for one in members),
            wrong=_total(queue, decisions, members, is_wrong, _is_unsettled, confidence),
        )
        for split, label, members in groups
        if members
    )


def estimate_rates(
    queue: ReviewQueue,
    decisions: Sequence[ReviewDecision],
    threshold: float,
    confidence: float = 0.95,
) -> ReviewedRates:
    """Estimate recall and clean yield of the test pictures at ``threshold``, were all judged.

    Of the scores in the ranking, only those of test pictures are the run's own.

    Raises:
        InputError: the review holds no test pictures with scores.
    """
    strata = [one for one in queue.strata if one.split == TEST]
    if not strata or any(one.score is None for one in queue.items if one.split == TEST):
        raise InputError(
            "--threshold: needs a review of a ranking with test pictures, whose scores are the "
            "run's own; this one has none"
        )
    recall, clean_yield = _rates(
        queue, decisions, (strata, strata), lambda one: _below(one, threshold), confidence
    )
    return ReviewedRates(threshold, recall, clean_yield)


def estimate_line(
    queue: ReviewQueue, decisions: Sequence[ReviewDecision], confidence: float = 0.95
) -> tuple[DesignRate, DesignRate]:
    """Estimate recall and clean yield of all that the line decided while it kept pictures.

    Raises:
        InputError: a review of other pictures.
    """
    if not queue.is_captured:
        raise InputError(
            f"review {queue.id}: must be of pictures that the line has kept (drupe capture "
            "collect), got one of a dataset"
        )
    passed = [one for one in queue.strata if one.split == ACCEPTED]
    stopped = [one for one in queue.strata if one.split != ACCEPTED]
    return _rates(
        queue, decisions, (passed, stopped), lambda one: one.item.split == ACCEPTED, confidence
    )


def _rates(
    queue: ReviewQueue,
    decisions: Sequence[ReviewDecision],
    sides: tuple[Sequence[ReviewStratum], Sequence[ReviewStratum]],
    is_accepted: Test,
    confidence: float,
) -> tuple[DesignRate, DesignRate]:
    """Return recall and clean yield, of the strata where items may be accepted, and be stopped."""
    each = confidence_of_each(confidence)

    def total(outcomes: Container[str], accepted: bool) -> DesignTotal:
        def is_side(one: ReviewDecision) -> bool:
            return is_accepted(one) == accepted

        return _total(
            queue,
            decisions,
            sides[not accepted],
            lambda one: one.outcome in outcomes and is_side(one),
            lambda one: _is_unsettled(one) and is_side(one),
            each,
        )

    if queue.is_active:  # nearly all that is accepted is good: what isn't is known far better
        items = sum(one.items + one.lost for one in sides[0])
        passed = _rest(items, total(("defect", "bad"), True))
    else:
        passed = total(("good",), True)
    return (
        ratio_of(total(("defect",), False), total(("defect",), True), confidence),
        ratio_of(passed, total(("good",), False), confidence),
    )


def _rest(items: int, other: DesignTotal) -> DesignTotal:
    """Return how many of ``items`` aren't what ``other`` counts."""
    return DesignTotal(
        estimate=max(items - other.estimate, 0.0),
        low=items - other.high,
        high=items - other.low,
        confidence=other.confidence,
    )


def _is_unsettled(one: ReviewDecision) -> bool:
    return one.outcome in UNSETTLED


def _total(
    queue: ReviewQueue,
    decisions: Sequence[ReviewDecision],
    strata: Sequence[ReviewStratum],
    is_yes: Test,
    is_open: Test,
    confidence: float,
) -> DesignTotal:
    """Estimate how many of all pictures of ``strata`` are yes."""
    if queue.is_active:
        draw = _weighted(queue, decisions, strata, is_yes, is_open)
        return weighted_total(draw, confidence)
    counted = _counts(queue, decisions, is_yes, is_open)
    return design_total([counted[one] for one in strata], confidence)


def _weighted(
    queue: ReviewQueue,
    decisions: Sequence[ReviewDecision],
    strata: Sequence[ReviewStratum],
    is_yes: Test,
    is_open: Test,
) -> WeightedDraw:
    """Return yes and open decisions of ``strata``, all controls, with their probabilities."""
    least = {
        (one.split, one.label): one.probability if one.least is None else one.least
        for one in strata
    }
    looked_at = [one for one in decisions if (one.item.split, one.item.label) in least]
    drawn = [(queue.probability_of(one.item), one) for one in looked_at]
    sure = [one for chance, one in drawn if chance == 1]
    yes = tuple(chance for chance, one in drawn if chance < 1 and is_yes(one))
    still_open = tuple(chance for chance, one in drawn if chance < 1 and is_open(one))
    unseen = sum(one.others for one in strata if not least[one.split, one.label])
    lost = sum(one.lost for one in strata)
    return WeightedDraw(
        certain_yes=sum(map(is_yes, sure)),
        certain_open=sum(map(is_open, sure)) + lost + unseen,
        others=sum(one.others for one in strata) - unseen - len(sure),
        least=min((chance for chance in least.values() if chance), default=1.0),
        yes=yes,
        open=still_open,
        no=len(drawn) - len(sure) - len(yes) - len(still_open),
    )


def _below(one: ReviewDecision, threshold: float) -> bool:
    return one.item.score is not None and one.item.score < threshold


def _counts(
    queue: ReviewQueue, decisions: Sequence[ReviewDecision], is_yes: Test, is_open: Test
) -> dict[ReviewStratum, DrawnStratum]:
    """Count yes and open decisions in each stratum, among suspects and among controls."""
    tally = {one: {"suspect": [0, 0], "control": [0, 0]} for one in queue.strata}
    of_key = {(one.split, one.label): one for one in queue.strata}
    for one in decisions:
        counts = tally[of_key[one.item.split, one.item.label]][one.item.role]
        counts[0] += is_yes(one)
        counts[1] += is_open(one)
    return {
        stratum: DrawnStratum(
            certain_yes=counts["suspect"][0],
            certain_open=counts["suspect"][1] + stratum.lost,
            others=stratum.others,
            drawn=stratum.controls,
            yes=counts["control"][0],
            open=counts["control"][1],
        )
        for stratum, counts in tally.items()
    }
