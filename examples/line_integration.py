"""A robot's process: one decision per frame, within a deadline, and never "accept" on a fault.

    python examples/line_integration.py BUNDLE FOLDER_OF_CROPS

``camera`` stands in for the grabber: it reads crops from a folder at the pace of a belt.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as DeadlineMissed
from pathlib import Path

import numpy as np
from PIL import Image

import drupe

FRAMES_PER_SECOND = 20
DEADLINE = 0.030  # seconds from frame to decision
ON_FAULT = "reject"  # or "review", where a person stands by; never "accept"


def camera(folder: Path, frames: int) -> Iterator[np.ndarray | None]:
    """Yield uint8 [S, S, 3] crops, RGB, at the belt's pace; None for one that failed."""
    files = itertools.cycle(sorted(folder.rglob("*.png")))
    for file in itertools.islice(files, frames):
        try:
            yield np.asarray(Image.open(file).convert("RGB"))
        except (OSError, SyntaxError):  # what Pillow raises for damaged files
            yield None  # as OpenCV and most grabbers do: a fault, which decide() raises
        time.sleep(1 / FRAMES_PER_SECOND)


def main(bundle: str, folder: str, frames: int = 100) -> Counter[str]:
    """Decide ``frames`` crops and return how often each lane was chosen."""
    classifier = drupe.load(
        bundle, order="rgb", threads=1
    )  # verifies every file, warms up, raises if unfit
    print(f"{classifier.function.name}, certified: {classifier.is_certified}")
    lanes: Counter[str] = Counter()
    with ThreadPoolExecutor(1) as worker:
        for frame in camera(Path(folder), frames):
            pending = worker.submit(classifier.decide, frame)
            try:
                decision = pending.result(timeout=DEADLINE)
            except (drupe.DrupeError, DeadlineMissed) as fault:
                print(f"fault: {type(fault).__name__} {fault}", file=sys.stderr)
                decision = ON_FAULT
            lanes[decision] += 1  # here the valve is told
    if not lanes:
        raise drupe.DrupeError(f"{folder}: must hold PNG files, got none")
    print(dict(lanes))
    return lanes


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except drupe.DrupeError as error:  # no bundle, a changed one, or one that nothing certifies
        sys.exit(f"the line must not start: {error}")
