"""From the reviewers' votes to one decision on each picture, and to the fixes that follow."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from drupe.data.fixes import Fix, FixOrigin
from drupe.labels.review.queue import ReviewItem, ReviewQueue
from drupe.labels.review.votes import Answers, Vote, votes_by_item

Rule = Literal["majority", "unanimous"]
RULES: tuple[Rule, ...] = ("majority", "unanimous")
Outcome = Literal["good", "defect", "bad", "unclear", "undecided", "waiting"]


@dataclass(frozen=True)
class ReviewDecision:
    """What is decided on one item of the queue.

    outcome: a judgement, ``undecided`` where the rule gives none (for a third look), ``waiting``
    where nobody has answered. type: kind of defect, where its voters agree on one. reviewers: whose
    votes made it; at: when the last of them was given (UTC, ISO 8601).
    """

    item: ReviewItem
    outcome: Outcome
    type: str
    reviewers: tuple[str, ...]
    at: str

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to look."""
        return self.outcome in ("undecided", "waiting")

    def found_class(self, classes: tuple[str, str]) -> str | None:
        """Return the class that was found, None where the outcome is no class."""
        return {"good": classes[0], "defect": classes[1]}.get(self.outcome)


@dataclass(frozen=True)
class ReviewFixes:
    """What an application would change: the fixes, and how many pictures came to which end."""

    fixes: tuple[Fix, ...]
    counts: Mapping[str, int]
    gone: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the counts, each change with its cause, and the pictures that are gone."""
        return {
            **self.counts,
            "gone": list(self.gone),
            "changes": [
                {
                    "path": fix.path,
                    "change": fix.change,
                    "reason": fix.reason,
                    "cause": fix.origin.cause if fix.origin else None,
                }
                for fix in self.fixes
            ],
        }


def decide(queue: ReviewQueue, answers: Answers, rule: Rule) -> tuple[ReviewDecision, ...]:
    """Return the decision on each item, in the queue's order.

    ``majority``: more than half of the votes; ``unanimous``: all of them. One reviewer is a
    majority of one.
    """
    cast = votes_by_item(queue, answers)
    return tuple(_decide(item, votes, rule) for item, votes in zip(queue.items, cast, strict=True))


def _decide(item: ReviewItem, votes: Sequence[Vote], rule: Rule) -> ReviewDecision:
    if not votes:
        return ReviewDecision(item, "waiting", "", (), "")
    (first, count), *_ = Counter(vote.judgement for vote in votes).most_common()
    needed = len(votes) if rule == "unanimous" else len(votes) // 2 + 1
    outcome: Outcome = first if count >= needed else "undecided"
    voters = [vote for vote in votes if vote.judgement == outcome] or list(votes)
    types = {vote.type for vote in voters}
    return ReviewDecision(
        item=item,
        outcome=outcome,
        type=types.pop() if outcome == "defect" and len(types) == 1 else "",
        reviewers=tuple(vote.reviewer for vote in voters),
        at=max(answer.at for vote in votes for answer in vote.answers),
    )


def review_fixes(
    queue: ReviewQueue,
    decisions: Sequence[ReviewDecision],
    label_of: Mapping[str, str | None],
    digest_of: Mapping[str, str],
    left_out: Collection[str] = (),
    known: Collection[str] = (),
) -> ReviewFixes:
    """Return what the decisions change in a folder, copies of a picture alike.

    Args:
        queue: the review.
        decisions: on its items.
        label_of: path → the label that holds now, None where the picture is left out.
        digest_of: path → SHA-256 (hex) of the file.
        known: labels that a picture may be given; a type of defect among them is given as such.
        left_out: paths that somebody else has left out, for whatever reason: they stay so.
    """
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, digest in digest_of.items():
        places[digest].append(path)
    causes = _causes(queue, decisions)
    fixes: list[Fix] = []
    ends = ("confirmed", "relabelled", "excluded", "unclear", "undecided", "waiting", "left_out")
    counts = dict.fromkeys(ends, 0)
    gone = []
    for one in decisions:
        found = one.found_class(queue.classes)
        paths = places.get(one.item.sha256, [])
        if not paths:
            gone.append(one.item.path)
        elif all(path in left_out for path in paths):
            counts["left_out"] += 1
        elif found is None and one.outcome != "bad":
            counts[one.outcome] += 1
        else:
            changed = [path for path in paths if label_of[path] != found and path not in left_out]
            value = one.type if one.type in known else found
            fixes += [_fix(queue, one, path, label_of[path], value, causes) for path in changed]
            kind = "relabelled" if found else "excluded"
            counts[kind if changed else "confirmed"] += 1
    return ReviewFixes(tuple(fixes), counts, tuple(gone))


def _fix(
    queue: ReviewQueue,
    one: ReviewDecision,
    path: str,
    label: str | None,
    found: str | None,
    causes: Mapping[str, bool],
) -> Fix:
    cause = "all" if causes[one.item.split] else one.item.role
    if cause == "control" and one.item.probability is not None:
        cause = "suspect"  # a network's doubt had a say in that it was looked at
    who = ", ".join(one.reviewers)
    seen = (f"{found} ({one.type})" if one.type not in ("", found) else found) or "bad picture"
    return Fix(
        path=path,
        action="relabel" if found else "exclude",
        value=found or "",
        reason=f"{label or 'left out'} → {seen}: {who} in review {queue.id}",
        sha256=one.item.sha256,
        origin=FixOrigin(queue.id, one.reviewers, one.at, cause, one.item.split),
    )


def _causes(queue: ReviewQueue, decisions: Sequence[ReviewDecision]) -> dict[str, bool]:
    """Return split → whether every picture of it was in the queue and is decided."""
    whole: dict[str, bool] = {}
    for stratum in queue.strata:
        whole[stratum.split] = whole.get(stratum.split, True) and stratum.is_whole
    for one in decisions:
        whole[one.item.split] = whole[one.item.split] and not one.is_open
    return whole
