"""The decision log: microseconds a decision, beside plain JSON lines, and changes that are found.

    python benchmarks/decision_log.py                      # a million lines: some minutes
    python benchmarks/decision_log.py --lines 20000

Prints a JSON row. Decisions of one image of 128 × 128 pixels are told to the log one by one, as
``decide`` tells it; turns of 500 decisions alternate between the log and plain lines
(``json.dumps`` of the same fields but the digests, written at once), and the median over the turns
counts. Then the log is filled up to ``--lines`` (``write_s``: with images of one row, so that it is
the log's own time), and verified. At 1,000 random places a line's lane is forged, one of its bytes
is changed, it is dropped, or swapped with the line before it, and the whole log is verified once
more. What a line is held against is the line before it alone, and no two changes are nearer than
four lines: each must show at its own place, no further than two lines away, as it would alone; and
nothing else must (``problems_elsewhere``).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from drupe.deployment.runtime import load
from drupe.deployment.watcher import Examined
from drupe.line.log.lines import log_files
from drupe.line.log.verify import verify_log
from drupe.line.log.writer import DecisionLog
from provenance import circumstances
from untrained import untrained_bundle

TURN, TURNS, CHANGES = 500, 21, 1000
APART = 4
"""Lines from one place that may be changed to the next."""

KINDS = ("lane", "byte", "drop", "swap")
SIDE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    options = parser.parse_args()
    row = {"benchmark": "decision_log", **circumstances("decision_log.py", "numpy")}
    with tempfile.TemporaryDirectory(prefix="drupe-log-") as scratch:
        folder = Path(scratch)
        classifier = load(
            untrained_bundle(folder / "bundle", "test_resnet", SIDE), uncertified=True
        )
        image = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
        found = Examined(np.array([0.25], np.float32), np.array(["accept"]), [None])
        with DecisionLog(classifier, folder / "log") as log, (folder / "plain").open("w") as plain:
            row |= measure(log, plain, image, found)
            small, before, started = image[:, :1], log.lines, time.perf_counter()
            while log.lines < options.lines - 1:
                log.saw(small, found, [str(log.lines)], 0.0)
            row["write_s"] = round(time.perf_counter() - started, 1)
            row["lines_in_write_s"] = log.lines - before
        started = time.perf_counter()
        check = verify_log(folder / "log")
        row["lines"], row["verify_s"] = check.lines, round(time.perf_counter() - started, 1)
        row["problems_before"] = len(check.problems)
        row["files"] = check.files
        row |= change(folder / "log")
    print(json.dumps(row))


def measure(log: DecisionLog, plain, image: np.ndarray, found: Examined) -> dict[str, float]:
    names = iter(range(10**9))

    def chained() -> None:
        log.saw(image, found, [str(next(names))], 0.0)

    def plain_line() -> None:
        said = {"time": time.time(), "item": str(next(names)), "score": float(found.scores[0])}
        said |= {"lane": str(found.decisions[0]), "fault": None, **log._source}
        plain.write(json.dumps(said) + "\n")
        plain.flush()

    def digest() -> None:
        hashlib.sha256(image).hexdigest()

    figures: dict[str, list[float]] = {"log_us": [], "plain_us": [], "digest_of_pixels_us": []}
    for _ in range(TURNS):
        for name, call in zip(figures, (chained, plain_line, digest), strict=True):
            figures[name].append(turn(call))
    return {name: round(statistics.median(times), 1) for name, times in figures.items()}


def turn(call: Callable[[], None]) -> float:
    """Return the median microseconds of a call, of ``TURN`` calls."""
    times = []
    for _ in range(TURN):
        started = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - started))
    return statistics.median(times)


def change(folder: Path) -> dict[str, Any]:
    """Change the log at ``CHANGES`` places; return how many of each kind, and are found there."""
    random = np.random.default_rng(1)
    files = [path for _, path in log_files(folder)]
    contents = [path.read_bytes().splitlines(keepends=True) for path in files]
    places = [
        (file, line)
        for file, lines in enumerate(contents)
        for line in range(APART - 1, len(lines) - 2, APART)
    ]
    chosen = [places[one] for one in random.choice(len(places), CHANGES, replace=False)]
    kinds = [KINDS[one] for one in random.integers(len(KINDS), size=CHANGES)]
    for (file, line), kind in zip(chosen, kinds, strict=True):
        altered(contents[file], line, kind, random)
    now_at = []
    for path, lines in zip(files, contents, strict=True):
        path.write_bytes(b"".join(lines))
        now_at.append(np.cumsum([line != b"" for line in lines]).tolist())
    problems = {(one.file, one.line) for one in verify_log(folder).problems}
    near = [
        {(files[file].name, now_at[file][line] + step) for step in (-1, 0, 1, 2)}
        for file, line in chosen
    ]
    found = Counter(kind for one, kind in zip(near, kinds, strict=True) if one & problems)
    return {
        "changes": dict(sorted(Counter(kinds).items())),
        "changes_found": dict(sorted(found.items())),
        "problems_elsewhere": len(problems - set().union(*near)),
    }


def altered(lines: list[bytes], place: int, kind: str, random: np.random.Generator) -> None:
    """Change the line at ``place`` of a file's ``lines``."""
    line = lines[place]
    if kind == "lane":
        lines[place] = line.replace(b'"accept"', b'"review"')
    elif kind == "byte":
        spot = random.integers(len(line) - 1)  # not the newline
        other = (line[spot] + random.integers(1, 256)) % 256
        # A newline makes two lines of one: what follows would be looked for at the wrong place.
        lines[place] = line[:spot] + bytes([other if other != ord("\n") else 0]) + line[spot + 1 :]
    elif kind == "drop":
        lines[place] = b""
    else:
        lines[place], lines[place - 1] = lines[place - 1], line


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
