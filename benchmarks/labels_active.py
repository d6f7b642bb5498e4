"""What an active choice of the line's pictures brings, on simulated weeks with known truth.

python benchmarks/labels_active.py --draws 200

A week has decisions of a network whose score is the probability of a defect, given one normal
measure of which the class means lie some deviations apart. The line keeps every review and a share
of all else, and people look at ``--looks`` of that: chosen alike, or actively. *misleading*: the
scores of the accepted pictures are turned round, so that what looks safest is missed. Each draw
keeps and chooses anew. Prints a row (JSON) per week, with means of the bounds and how often they
hold the truth, and of how many looks chosen alike are needed for an interval of recall as narrow.
``held_by_normal``: how often recall lies within 1.96 standard errors of its estimate instead.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.labels.review.decisions import ReviewDecision
from drupe.labels.review.estimates import estimate_line
from drupe.labels.review.queue import (
    Choice,
    LaneSize,
    Nominee,
    ReviewQueue,
    ReviewRequest,
    draw_queue,
)
from provenance import circumstances

CLASSES = ("clean", "pit")
SPLITS = ("accepted", "reviewed", "rejected")
MORE_LOOKS = (1.25, 1.5, 2, 3, 5)


@dataclass(frozen=True)
class Week:
    """What is known of a week: shares of all decisions, recall, and what the line keeps."""

    name: str
    decisions: int
    defects: float
    separation: float
    recall: float
    reviews: float
    sample: float
    is_misleading: bool = False


WEEKS = (
    Week("recall 99 %, 1 % kept", 300_000, 0.02, 5.0, 0.99, 0.02, 0.01),
    Week("recall 97 %, 5 % kept", 200_000, 0.03, 4.5, 0.97, 0.02, 0.05),
    Week("recall 90 %, 5 % kept", 200_000, 0.05, 3.5, 0.90, 0.02, 0.05),
    Week("recall 90 %, 30 % kept", 20_000, 0.10, 3.5, 0.90, 0.05, 0.30),
    Week("recall 95 %, all kept", 6_000, 0.10, 4.0, 0.95, 0.05, 1.0),
    Week("recall 90 %, 5 % kept, misleading", 200_000, 0.05, 3.5, 0.90, 0.02, 0.05, True),
)


@dataclass(frozen=True, eq=False)
class Decided:
    """N decisions: truth (bool [N]), scores (float64 [N]) and lanes (int [N], 0 accepted)."""

    is_defect: NDArray[np.bool_]
    scores: NDArray[np.float64]
    lanes: NDArray[np.int64]

    @property
    def recall(self) -> float:
        """The share of defects that weren't accepted."""
        return float((self.lanes > 0)[self.is_defect].mean())

    @property
    def clean_yield(self) -> float:
        """The share of good items that were accepted."""
        return float((self.lanes == 0)[~self.is_defect].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--looks", type=int, default=1000)
    arguments = parser.parse_args()
    for week in WEEKS:
        start = time.perf_counter()
        random = np.random.default_rng(16)
        decided = decide(random, week)
        row = {"week": week.name, "decisions": week.decisions, "draws": arguments.draws}
        row |= {"looks": arguments.looks, "recall": round(decided.recall, 4)}
        row |= {"clean_yield": round(decided.clean_yield, 4)}
        row |= {"missed": int((decided.is_defect & (decided.lanes == 0)).sum())}
        for choice in ("alike", "active"):
            row[choice] = measure(random, decided, week, choice, arguments.looks, arguments.draws)
        row["alike_for_equal_width"] = looks_alike(random, decided, week, row["active"], arguments)
        head = circumstances("labels_active.py", "numpy", "scipy")
        seconds = {"seconds": round(time.perf_counter() - start, 1)}
        print(json.dumps(head | row | seconds, ensure_ascii=False), flush=True)


def decide(random: np.random.Generator, week: Week) -> Decided:
    """Draw a week's items and decide on them, so that recall and share of reviews are met."""
    is_defect = random.random(week.decisions) < week.defects
    measure = random.normal(0, 1, week.decisions) + week.separation * (is_defect - 0.5)
    odds = np.log(week.defects / (1 - week.defects))
    scores = 1 / (1 + np.exp(-(week.separation * measure + odds)))
    low = float(np.quantile(scores[is_defect], 1 - week.recall))
    ordered = np.sort(scores)
    above = int(np.searchsorted(ordered, low)) + round(week.reviews * week.decisions)
    high = float(ordered[min(above, week.decisions - 1)])
    lanes = np.where(scores < low, 0, np.where(scores < high, 1, 2))
    if week.is_misleading:
        scores = np.where(lanes == 0, low - scores, scores)
    return Decided(is_defect, scores, lanes)


def review(
    random: np.random.Generator, decided: Decided, week: Week, choice: Choice, looks: int
) -> tuple[ReviewQueue, tuple[ReviewDecision, ...]]:
    """Keep pictures as the line does, draw ``looks`` of them, and judge them by the truth."""
    is_kept = (random.random(week.decisions) < week.sample) | (decided.lanes == 1)
    nominees = [
        Nominee(
            str(i),
            SPLITS[decided.lanes[i]],
            label_of(decided.lanes[i]),
            "",
            float(decided.scores[i]),
        )
        for i in np.flatnonzero(is_kept).tolist()
    ]
    seen = np.bincount(decided.lanes, minlength=3).tolist()
    lanes = {(SPLITS[n], label_of(n)): LaneSize(count, 0) for n, count in enumerate(seen)}
    request = ReviewRequest(
        ranking=None,
        splits=(),
        suspects=0,
        controls=looks,
        repeats=0,
        seed=int(random.integers(1 << 30)),
        types=(),
        choose=choice,
    )
    queue = draw_queue(nominees, "crops", CLASSES, request, lanes=lanes)
    return queue, tuple(
        ReviewDecision(one, "defect" if decided.is_defect[int(one.path)] else "good", "", (), "")
        for one in queue.items
    )


def label_of(lane: int) -> str:
    return CLASSES[int(lane > 0)]


def measure(
    random: np.random.Generator,
    decided: Decided,
    week: Week,
    choice: Choice,
    looks: int,
    draws: int,
) -> dict[str, Any]:
    """Return means over ``draws`` of both rates' bounds, and the share that holds the truth."""
    bounds, estimates, counts, normal = [], [], [], []
    for _ in range(draws):
        queue, decisions = review(random, decided, week, choice, looks)
        rates = estimate_line(queue, decisions)
        bounds.append([(one.low, one.high) for one in rates])
        estimates.append([np.nan if one.estimate is None else one.estimate for one in rates])
        counts.append(len(queue.items))
        normal.append(is_within_normal(queue, decisions, decided.recall))
    truth = np.array([decided.recall, decided.clean_yield])
    lows, highs = np.moveaxis(np.array(bounds), 2, 0)
    held = ((lows <= truth) & (truth <= highs)).mean(axis=0)
    row: dict[str, Any] = {"looks": round(float(np.mean(counts)), 1)}
    for n, name in enumerate(("recall", "clean_yield")):
        row[name] = {
            "estimate": round(float(np.nanmean(np.array(estimates)[:, n])), 4),
            "low": round(float(lows[:, n].mean()), 4),
            "high": round(float(highs[:, n].mean()), 4),
            "width": round(float((highs - lows)[:, n].mean()), 4),
            "held": round(float(held[n]), 3),
        }
    row["recall"]["held_by_normal"] = round(float(np.mean(normal)), 3)
    return row


def is_within_normal(
    queue: ReviewQueue, decisions: Sequence[ReviewDecision], recall: float
) -> bool:
    """Return whether the normal 95 % interval of a ratio of weighted totals holds the recall."""
    found = [one for one in decisions if one.outcome == "defect"]
    chance = np.array([queue.probability_of(one.item) for one in found])
    is_caught = np.array([one.item.split != SPLITS[0] for one in found])
    if not found:
        return False
    estimate = float((is_caught / chance).sum() / (1 / chance).sum())
    shares = (is_caught - estimate) / (1 / chance).sum()
    error = float(np.sqrt(((1 - chance) / chance**2 * shares**2).sum()))
    return abs(estimate - recall) <= 1.96 * error


def looks_alike(
    random: np.random.Generator,
    decided: Decided,
    week: Week,
    active: dict[str, Any],
    arguments: argparse.Namespace,
) -> int | None:
    """Return the fewest of some numbers of looks, chosen alike, that tell as much of recall.

    None: five times as many don't.
    """
    for more in (1.0, *MORE_LOOKS):
        looks = round(more * arguments.looks)
        row = measure(random, decided, week, "alike", looks, max(arguments.draws // 4, 1))
        if row["recall"]["width"] <= active["recall"]["width"]:
            return looks
    return None


if __name__ == "__main__":
    main()
