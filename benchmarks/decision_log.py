"""The decision log: microseconds a decision, beside plain JSON lines, and changes that are found.

    python benchmarks/decision_log.py                      # a million lines: some minutes
    python benchmarks/decision_log.py --lines 20000

Prints a JSON row. Decisions of one image of 128 × 128 pixels are told to the log one by one, as
``decide`` tells it; turns of 500 decisions alternate between the log and plain lines
(``json.dumps`` of the same fields but the digests, written at once), and the median over the turns
counts. Then the log is filled up to ``--lines`` and verified, 1,000 lines are altered, dropped or
swapped with their neighbour, at random places, and it is verified again: each change must show at
its place.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from drupe.deployment.runtime import load
from drupe.deployment.watcher import Examined
from drupe.line.log.lines import log_files
from drupe.line.log.verify import verify_log
from drupe.line.log.writer import DecisionLog
from provenance import circumstances
from untrained import untrained_bundle

TURN, TURNS, CHANGES = 500, 21, 1000
SIDE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=1_000_000)
    options = parser.parse_args()
    row = circumstances("decision_log.py", "numpy")
    with tempfile.TemporaryDirectory(prefix="drupe-log-") as scratch:
        folder = Path(scratch)
        classifier = load(
            untrained_bundle(folder / "bundle", "test_resnet", SIDE), uncertified=True
        )
        image = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
        found = Examined(np.array([0.25], np.float32), np.array(["accept"]), [None])
        with DecisionLog(classifier, folder / "log") as log, (folder / "plain").open("w") as plain:
            row |= measure(log, plain, image, found)
            small = image[:, :1, :1]
            while log.lines < options.lines - 1:
                log.saw(small, found, [str(log.lines)], 0.0)
        started = time.perf_counter()
        check = verify_log(folder / "log")
        row["lines"], row["verify_s"] = check.lines, round(time.perf_counter() - started, 1)
        row["problems_before"] = len(check.problems)
        row["changes"], row["changes_found"] = change(folder / "log")
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


def change(folder: Path) -> tuple[int, int]:
    """Change the log at places far enough apart; return how many, and how many are found."""
    random = np.random.default_rng(1)
    files = [path for _, path in log_files(folder)]
    contents = [path.read_bytes().splitlines(keepends=True) for path in files]
    places = [
        (file, line) for file, lines in enumerate(contents) for line in range(3, len(lines), 4)
    ]
    chosen = [places[one] for one in random.choice(len(places), CHANGES, replace=False)]
    for file, line in chosen:
        lines = contents[file]
        kind = random.integers(3)
        if kind == 0:
            lines[line] = lines[line].replace(b'"accept"', b'"review"')
        elif kind == 1:
            lines[line] = b""  # dropped
        else:
            lines[line], lines[line - 1] = lines[line - 1], lines[line]
    now_at = []
    for path, lines in zip(files, contents, strict=True):
        path.write_bytes(b"".join(lines))
        now_at.append(np.cumsum([line != b"" for line in lines]).tolist())
    problems = {(one.file, one.line) for one in verify_log(folder).problems}
    found = 0
    for file, line in chosen:
        near = {(files[file].name, now_at[file][line] + step) for step in (-1, 0, 1, 2)}
        last = line >= len(contents[file]) - 1
        found += bool(near & problems) or (last and bool(problems))
    return CHANGES, found


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    main()
