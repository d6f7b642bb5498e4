"""Small reviews for tests: folders of pictures, queues drawn from them, answers to them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from drupe.labels.review.answers import ReviewAnswer
from drupe.labels.review.queue import Nominee, ReviewQueue, ReviewRequest, draw_queue

CLASSES = ("clean", "pit")
AT = "2026-01-02T03:04:05+00:00"


def request(
    suspects: int = 4,
    controls: int = 8,
    repeats: int = 3,
    seed: int = 0,
    types: tuple[str, ...] = ("pit", "stem"),
) -> ReviewRequest:
    return ReviewRequest(
        ranking=None,
        splits=(),
        suspects=suspects,
        controls=controls,
        repeats=repeats,
        seed=seed,
        types=types,
    )


def write_crops(root: Path, count: int, side: int = 24) -> list[str]:
    """Write ``count`` different pictures, half of each class, and return their paths."""
    random = np.random.default_rng(3)
    paths = []
    for index in range(count):
        path = f"{'clean' if index % 2 else 'pit'}/img_{index}.png"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(root / path)
        paths.append(path)
    return paths


def nominees(root: Path | None, paths: list[str], splits: int = 1) -> list[Nominee]:
    """Return the pictures at ``paths``, by their folders' labels, in ``splits`` splits."""
    names = ("fit", "calibration", "test")[:splits]
    return [
        Nominee(
            path=path,
            split=names[index % splits],
            label=path.partition("/")[0],
            sha256=hashlib.sha256(
                (root / path).read_bytes() if root else path.encode()
            ).hexdigest(),
            score=0.5,
            reason="other class",
            neighbours=(paths[index - 1],),
        )
        for index, path in enumerate(paths)
    ]


def small_queue(root: Path, count: int = 20, **wanted: int) -> ReviewQueue:
    """Return a queue drawn from ``count`` pictures that are written to ``root``."""
    return draw_queue(
        nominees(root, write_crops(root, count)), str(root), CLASSES, request(**wanted)
    )


def answer(
    queue: ReviewQueue, showing: str, judgement: str | None, reviewer: str = "ann", type: str = ""
) -> ReviewAnswer:
    return ReviewAnswer.model_validate(
        {
            "review": queue.id,
            "reviewer": reviewer,
            "showing": showing,
            "judgement": judgement,
            "type": type,
            "at": AT,
            "seconds": 1.5,
            "seen": "0" * 64,
        }
    )
