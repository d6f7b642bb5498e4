"""Deciding many image files: decoding goes on in other threads while the network runs.

What can't be read is decided ``review``: a fault must never accept.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.data.decode import UnreadableImageError, decode
from drupe.deployment.runtime import Classifier
from drupe.errors import InputError
from drupe.host import available_cores

BATCH = 32
AHEAD = 4
"""Batches decoded before they are needed; bounds memory however many files there are."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Decision:
    """One file: its score and decision; ``error`` says why a file has no score."""

    path: str
    decision: str
    score: float | None
    error: str | None = None


def find_images(paths: Iterable[str]) -> list[str]:
    """Return the image files that ``paths`` name: files, folders (searched below), globs.

    Sorted within a folder or glob, in the order given otherwise, each once.

    Raises:
        InputError: every path that names nothing.
    """
    found: dict[str, None] = {}
    problems = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            members = sorted(
                str(item) for item in path.rglob("*") if item.suffix.lower() in SUFFIXES
            )
        elif path.exists():
            members = [name]
        else:
            members = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 (absolute ones too)
        if not members:
            problems.append(f"{name}: must name images, got none there")
        found |= dict.fromkeys(members)
    if problems:
        raise InputError(problems)
    return list(found)


def predict(classifier: Classifier, paths: Iterable[str]) -> Iterator[Decision]:
    """Yield a decision per path, in order; memory does not grow with their number."""
    remaining = iter(paths)
    size = classifier.manifest.input.size
    with ThreadPoolExecutor(available_cores()) as pool:

        def submit(chunk: list[str]) -> list[tuple[str, Future[NDArray[np.uint8] | str]]]:
            return [(path, pool.submit(_read, path, size)) for path in chunk]

        waiting: deque[list[tuple[str, Future[NDArray[np.uint8] | str]]]] = deque()
        while True:
            while len(waiting) < AHEAD and (chunk := list(islice(remaining, BATCH))):
                waiting.append(submit(chunk))
            if not waiting:
                return
            yield from _decide(classifier, waiting.popleft())


def _decide(
    classifier: Classifier, batch: list[tuple[str, Future[NDArray[np.uint8] | str]]]
) -> Iterator[Decision]:
    read = [(path, future.result()) for path, future in batch]
    images = [content for _, content in read if not isinstance(content, str)]
    scores = classifier.scores(np.stack(images)) if images else np.empty(0, np.float32)
    decided = iter(zip(scores.tolist(), classifier.decide_scores(scores).tolist(), strict=True))
    for path, content in read:
        if isinstance(content, str):
            yield Decision(path, "review", None, content)
        else:
            score, decision = next(decided)
            yield Decision(path, decision, score)


def _read(path: str, size: int) -> NDArray[np.uint8] | str:
    """Return the image uint8 [size, size, 3], or why there is none."""
    try:
        image = decode(path)
    except UnreadableImageError as error:
        return error.reason
    if image.shape != (size, size, 3):
        return f"must be {size} x {size} pixels, got {image.shape[1]} x {image.shape[0]}"
    return image
