"""Pictures that a line has kept, collected and reviewed, for tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from drupe.deployment.capture.writer import Capture
from drupe.labels.capture.collection import collect
from drupe.labels.review.answers import open_log
from drupe.labels.review.preparation import open_queue, ranking_digest, reviewed_data
from drupe.labels.review.queue import Choice, ReviewItem, ReviewQueue, ReviewRequest, order_for
from line_stand_in import images, stand_in
from review_files import answer


def request(controls: int, ranking: Path | None = None, choose: Choice = "alike") -> ReviewRequest:
    return ReviewRequest(
        ranking=ranking_digest(ranking),
        splits=(),
        suspects=0,
        controls=controls,
        repeats=0,
        seed=0,
        types=(),
        choose=choose,
    )


def captured(root: Path, lanes: str, sample: float = 1.0) -> Path:
    """Return a collection of pictures: a, v, r are accepted, reviewed and rejected ones."""
    classifier = stand_in()
    score_of = {"a": 0.1, "v": 0.5, "r": 0.9}
    with Capture(classifier, root / "captured", sample=sample, seed=1, flush_seconds=1000):
        made = images(*[score_of[lane] for lane in lanes])
        made[:, 1, 1, 1] = np.arange(len(lanes)) % 256  # else they are copies of one another
        made[:, 1, 1, 2] = np.arange(len(lanes)) // 256
        classifier.decide(made)
    collect(root / "captured", root / "week")
    return root / "week"


def open_week(
    root: Path, week: Path, controls: int = 10_000, choose: Choice = "alike"
) -> ReviewQueue:
    """Return the queue of a review of the collection, in ``root/review``."""
    data = reviewed_data(week, None)
    assert data.kept is not None
    return open_queue(
        root / "review",
        data.root,
        data.ranking,
        request(controls, data.ranking, choose),
        root / "store",
        naming=data.naming,
        lanes=data.kept.sizes,
    )


def reviewed(
    root: Path,
    week: Path,
    judge: Callable[[ReviewItem], str | None],
    controls: int = 10_000,
    choose: Choice = "alike",
) -> Path:
    """Return a review of the collection in which ``judge`` says of each path what it is."""
    queue = open_week(root, week, controls, choose)
    with open_log(root / "review", "ann") as log:
        for showing in order_for(queue, "ann"):
            item = queue.items[showing.item]
            if said := judge(item):
                log.append(answer(queue, showing.id, said, "ann"))
    return root / "review"


def by_lane(item: ReviewItem) -> str:
    """Judge as the line did, a review being a defect."""
    return "good" if item.split == "accepted" else "defect"
