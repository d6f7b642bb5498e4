"""What the reviewers say of each picture, and where they disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from drupe.errors import InputError
from drupe.labels.review.answers import Judgement, ReviewAnswer
from drupe.labels.review.queue import ReviewQueue, Showing, order_for

Answers = Mapping[str, Mapping[str, ReviewAnswer]]
"""Reviewer → showing → answer."""


@dataclass(frozen=True)
class Vote:
    """What one reviewer says of one picture: the answers to all its showings, the first one first.

    Whoever answered in two ways can't tell.
    """

    reviewer: str
    answers: tuple[ReviewAnswer, ...]

    @property
    def is_consistent(self) -> bool:
        """Whether all looks gave the same judgement."""
        return len({one.judgement for one in self.answers}) == 1

    @property
    def judgement(self) -> Judgement:
        """What counts."""
        first = self.answers[0].judgement
        return first if first and self.is_consistent else "unclear"

    @property
    def type(self) -> str:
        """The kind of defect, where the looks agree on one."""
        types = {one.type for one in self.answers}
        return types.pop() if self.judgement == "defect" and len(types) == 1 else ""


def votes_by_item(queue: ReviewQueue, answers: Answers) -> list[list[Vote]]:
    """Return the votes on each item of the queue, reviewers in the order of their names."""
    looks: list[list[Showing]] = [[] for _ in queue.items]
    for showing in sorted(queue.showings, key=lambda one: one.is_repeat):
        looks[showing.item].append(showing)
    votes: list[list[Vote]] = []
    for showings in looks:
        cast = []
        for reviewer, held in sorted(answers.items()):
            given = tuple(held[one.id] for one in showings if one.id in held)
            if given:
                cast.append(Vote(reviewer, given))
        votes.append(cast)
    return votes


def disagreements(queue: ReviewQueue, answers: Answers) -> list[int]:
    """Return the items that two reviewers or more judge differently."""
    return [
        item
        for item, cast in enumerate(votes_by_item(queue, answers))
        if len({vote.judgement for vote in cast}) > 1
    ]


def third_look(queue: ReviewQueue, answers: Answers, reviewer: str) -> tuple[Showing, ...]:
    """Return what ``reviewer`` is shown to settle where the others disagree, in random order.

    Raises:
        InputError: fewer than two others have answered, or none of their disagreements is left
            for this reviewer, who has judged all of them.
    """
    others = {name: held for name, held in answers.items() if name != reviewer}
    if len(others) < 2:
        raise InputError(
            f"--third-look: needs the answers of two reviewers beside {reviewer}, got "
            f"{len(others)}: {', '.join(sorted(others)) or 'none'}"
        )
    open_items = set(disagreements(queue, others))
    if not open_items:
        raise InputError(f"--third-look: {' and '.join(sorted(others))} agree on all they judged")
    order = order_for(queue, reviewer)
    return tuple(one for one in order if one.item in open_items and not one.is_repeat)
