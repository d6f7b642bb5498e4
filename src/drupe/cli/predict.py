"""``drupe predict`` and ``drupe bench``: a bundle at work, and how fast it is."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_fitting, print_json, print_line, stderr
from drupe.cli.options import Json, Threads, examples
from drupe.cli.progress import progress_on

if TYPE_CHECKING:
    from drupe.deployment.predict import Decision

PREDICT_EXAMPLES = examples(
    "drupe predict cherries.bundle crops/today --csv decisions.csv",
    "find /camera -newer mark | drupe predict cherries.bundle - --jsonl -",
)
BENCH_EXAMPLES = examples("drupe bench cherries.bundle other.bundle --threads 1")

SHOWN = 5
"""Unreadable files that are named before they are only counted."""

Uncertified = Annotated[
    bool, typer.Option("--uncertified", help="Use thresholds that no certificate proves.")
]


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle directory.")],
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Images, folders, globs; - reads a list on stdin."),
    ],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write path,decision,score,error.")
    ] = None,
    jsonl_file: Annotated[
        Path | None, typer.Option("--jsonl", metavar="FILE", help="A JSON line each; - is stdout.")
    ] = None,
    threads: Threads = None,
    uncertified: Uncertified = False,
    as_json: Json = False,
) -> None:
    """Decide images with a bundle. What can't be read is decided "review" (exit code 1)."""
    from drupe.deployment.predict import find_images
    from drupe.deployment.predict import predict as decide
    from drupe.deployment.runtime import load

    classifier = load(bundle, threads=threads, uncertified=uncertified)
    files = find_images(_with_stdin(paths))
    counts: Counter[str] = Counter()
    unreadable: list[Decision] = []
    with ExitStack() as stack:
        writers = _writers(stack, csv_file, jsonl_file)
        tracker = stack.enter_context(progress_on()("predict", len(files), "images"))
        for decision in decide(classifier, files):
            counts[decision.decision] += 1
            if decision.error:
                unreadable.append(decision)
            for write in writers:
                write(decision)
            tracker.advance()
    _report(classifier.function.name, len(files), counts, unreadable, as_json, jsonl_file)
    if unreadable:
        raise typer.Exit(1)


def _with_stdin(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield path


def _writers(stack: ExitStack, csv_file: Path | None, jsonl_file: Path | None) -> list[Any]:
    """Return a function per output; files appear under their name when they are complete."""
    from drupe.files import replacing

    writers: list[Any] = []
    if csv_file:
        stream = stack.enter_context(
            stack.enter_context(replacing(csv_file)).open("w", newline="", encoding="utf-8")
        )
        rows = csv.writer(stream)
        rows.writerow(("path", "decision", "score", "error"))
        writers.append(
            lambda one: rows.writerow((one.path, one.decision, one.score, one.error or ""))
        )
    if jsonl_file == Path("-"):
        writers.append(lambda one: print(json.dumps(asdict(one), ensure_ascii=False)))
    elif jsonl_file:
        lines = stack.enter_context(
            stack.enter_context(replacing(jsonl_file)).open("w", encoding="utf-8")
        )
        writers.append(lambda one: lines.write(json.dumps(asdict(one), ensure_ascii=False) + "\n"))
    return writers


def _report(
    function: str,
    total: int,
    counts: Counter[str],
    unreadable: list[Decision],
    as_json: bool,
    jsonl_file: Path | None,
) -> None:
    lanes = {lane: counts[lane] for lane in ("accept", "review", "reject")}
    if as_json:
        problems = [{"path": one.path, "reason": one.error} for one in unreadable]
        print_json({"function": function, "images": total, **lanes, "unreadable": problems})
        return
    if jsonl_file != Path("-"):
        words = ", ".join(f"{count:,} {lane}" for lane, count in lanes.items())
        print_line(f"{total:,} images with {function}: {words}")
    for one in unreadable[:SHOWN]:
        stderr().print(f"review, unreadable: {one.path}: {one.error}", markup=False, soft_wrap=True)
    if len(unreadable) > SHOWN:
        stderr().print(f"... and {len(unreadable) - SHOWN:,} more unreadable", markup=False)


def bench(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="Bundles to time in turns.")
    ],
    threads: Threads = None,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Images of one call.")] = 1,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Timed calls of each.")] = 500,
    as_json: Json = False,
) -> None:
    """Time raw bytes to decision, decoding excluded, on this machine. Keep it idle meanwhile."""
    from drupe.deployment.bench import bench as time_bundles
    from drupe.deployment.bench import circumstances
    from drupe.deployment.runtime import load

    loaded = {str(path): load(path, threads=threads, uncertified=True) for path in bundles}
    found = time_bundles(loaded, batch=batch, samples=samples, progress=progress_on())
    if as_json:
        results = [one.to_json() for one in found]
        print_json({"results": results, "circumstances": circumstances()})
        return
    rows = []
    for one in found:
        figures = one.to_json()
        rows.append(
            (
                one.name,
                f"{one.backend} {one.precision}",
                *(f"{figures[f'{name}_ms']:.2f}" for name in ("p50", "p90", "p95", "p99")),
            )
        )
    print_fitting(("ms", "function", "p50", "p90", "p95", "p99"), rows)
