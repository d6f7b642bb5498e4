"""The weekly recheck: recall and clean yield on the line, from pictures that people have judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from drupe.errors import InputError
from drupe.labels.capture.collection import Collection, read_collection
from drupe.labels.design import DesignRate
from drupe.labels.review.answers import read_all_answers
from drupe.labels.review.decisions import ReviewDecision, Rule, decide
from drupe.labels.review.estimates import UNSETTLED, estimate_line, estimate_noise
from drupe.labels.review.queue import ACCEPTED, ReviewQueue, read_queue

Holds = Literal["holds", "broken", "undecided"]


@dataclass(frozen=True)
class Recheck:
    """What a review of the line's pictures says of the time in which they were kept.

    recall, clean_yield: of all ``decisions`` of that time, with bounds that hold for the draw and
    for whatever is still open; promised: the recall that the function is certified for, None where
    it isn't; wrong_accepted: share of defects among what was accepted.
    """

    review: str
    since: str
    until: str
    decisions: int
    unseen: int
    judged: int
    open: int
    recall: DesignRate
    clean_yield: DesignRate
    wrong_accepted: DesignRate
    promised: float | None

    @property
    def verdict(self) -> Holds:
        """Whether the promised recall holds: only bounds that exclude the other say so."""
        if self.promised is not None and self.recall.low >= self.promised:
            return "holds"
        if self.promised is not None and self.recall.high < self.promised:
            return "broken"
        return "undecided"

    def to_json(self) -> dict[str, Any]:
        """Return every field and the verdict."""
        return {
            "review": self.review,
            "since": self.since,
            "until": self.until,
            "decisions": self.decisions,
            "unseen": self.unseen,
            "judged": self.judged,
            "open": self.open,
            "recall": self.recall.to_json(),
            "clean_yield": self.clean_yield.to_json(),
            "wrong_accepted": self.wrong_accepted.to_json(),
            "promised_recall": self.promised,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class JudgedCapture:
    """A review of a collection: its queue, what was collected, and the decision on each picture."""

    folder: Path
    crops: Path
    queue: ReviewQueue
    collection: Collection
    decisions: tuple[ReviewDecision, ...]


def read_judged(folder: Path, rule: Rule, further: Sequence[Path] = ()) -> JudgedCapture:
    """Read the review in ``folder``; ``further``: answers files from elsewhere.

    Raises:
        InputError: no review of pictures that the line has kept, damaged files, or no answers.
    """
    queue = read_queue(folder)
    if not queue.is_captured:
        raise InputError(
            f"{folder}: must be a review of pictures that the line has kept (drupe labels review "
            "COLLECTION), got one of a dataset"
        )
    answers = read_all_answers(folder, queue, further)
    if not answers:
        raise InputError(f"{folder}: must hold answers, got none: drupe labels review takes them")
    crops = Path(queue.root)
    decisions = decide(queue, answers, rule)
    return JudgedCapture(folder, crops, queue, read_collection(crops.parent), decisions)


def recheck(judged: JudgedCapture, confidence: float = 0.95) -> Recheck:
    """Estimate recall and clean yield on the line from a review of its pictures."""
    recall, clean_yield = estimate_line(judged.queue, judged.decisions, confidence)
    found = judged.collection
    still_open = sum(one.outcome in UNSETTLED for one in judged.decisions)
    return Recheck(
        review=str(judged.folder),
        since=_time(found.since),
        until=_time(found.until),
        decisions=sum(lane.seen for lane in found.lanes.values()),
        unseen=found.unseen,
        judged=len(judged.decisions) - still_open,
        open=still_open,
        recall=recall,
        clean_yield=clean_yield,
        wrong_accepted=_wrong_accepted(judged, confidence),
        promised=found.source.min_recall,
    )


def _wrong_accepted(judged: JudgedCapture, confidence: float) -> DesignRate:
    """Return the share of defects among what was accepted."""
    noise = estimate_noise(judged.queue, judged.decisions, confidence)
    items, wrong = next((one.items, one.wrong) for one in noise if one.split == ACCEPTED)
    high = min(wrong.high / items, 1.0)  # what was lost may be a defect, and is no item
    return DesignRate(wrong.estimate / items, wrong.low / items, high, confidence)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
