"""``drupe predict`` and ``drupe bench``: a bundle at work, and how fast it is."""

from __future__ import annotations

import csv
import itertools
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_fitting, print_json, print_line, print_note, stderr
from drupe.cli.options import Json, Threads, examples
from drupe.data.walk import passing_lines
from drupe.errors import InputError, shortened
from drupe.files import check_replaceable, naming, replacing
from drupe.printable import printable_json, spreadsheet_cell
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.deployment.drift import Drift
    from drupe.deployment.predict import Decision
    from drupe.deployment.runtime import Classifier

PREDICT_EXAMPLES = examples(
    "drupe predict cherries.bundle crops/today --csv decisions.csv",
    "find /camera -newer mark | drupe predict cherries.bundle - --jsonl -",
)
BENCH_EXAMPLES = examples(
    "drupe bench cherries.bundle other.bundle --threads 1",
    "drupe bench cherries.bundle drupe-store/runs/train/lite0/seed-42 --batch 1 --batch 16",
)

LANES = ("accept", "review", "reject")

STDOUT = Path("-")

NOT_TEXT = "backslashreplace"
"""Error handler that writes bytes of a file's name that are no UTF-8 as ``\\xNN``."""

SHOWN = 5
"""Unreadable files that are named before they are only counted."""

Uncertified = Annotated[
    bool, typer.Option("--uncertified", help="Use thresholds that no certificate proves.")
]

LogFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Log each decision there, for drupe log verify."),
]

ExplainFolder = Annotated[
    Path | None,
    typer.Option(
        "--explain",
        metavar="DIR",
        help="Write a picture each of where the decision comes from; takes some 900 decisions.",
    ),
]

RunBackend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="What runs the bundle, such as openvino or onnxruntime-cuda; by preference without.",
    ),
]
RunPrecision = Annotated[
    str | None,
    typer.Option("--precision", metavar="NAME", help="fp32, int8 and so on, likewise."),
]

CsvFile = Annotated[
    Path | None,
    typer.Option(
        "--csv", metavar="FILE", help="Write path,decision,score,error[,type][,p]; - is stdout."
    ),
]


def predict(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle directory.")],
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...", help="Images, folders, tables, globs; - reads a list on stdin."
        ),
    ],
    csv_file: CsvFile = None,
    jsonl_file: Annotated[
        Path | None, typer.Option("--jsonl", metavar="FILE", help="A JSON line each; - is stdout.")
    ] = None,
    log: LogFolder = None,
    explain: ExplainFolder = None,
    threads: Threads = None,
    backend: RunBackend = None,
    precision: RunPrecision = None,
    uncertified: Uncertified = False,
    as_json: Json = False,
) -> None:
    """Decide images with a bundle. What can't be read is decided "review" (exit code 1).

    So is what doesn't look like the images behind the certificate: a few good ones among them are
    to be expected; more than that end with exit code 1 too. What the network doesn't know is
    reviewed, or rejected, as the bundle says, and counted.

    Warns when the scores no longer look like those of calibration, at any share of defects, and
    when more is unknown than chance explains.
    """
    from drupe.data.walk import PassedOver
    from drupe.deployment.backends import default_threads
    from drupe.deployment.drift import DriftMonitor
    from drupe.deployment.predict import find_images
    from drupe.deployment.predict import predict as decide

    outputs = {"--csv": csv_file, "--jsonl": jsonl_file}
    _require_one_on_stdout(outputs, as_json)
    workers = threads or default_threads()
    classifier = _load(bundle, backend, precision, workers, uncertified)
    monitor = DriftMonitor(classifier.calibration) if classifier.calibration else None
    passed = PassedOver()
    files = find_images(paths, sys.stdin or (), passed)  # stdin is None where it is closed
    _require_separate(outputs, bundle, files)
    tally = _Tally()
    with ExitStack() as stack:
        columns = _columns(classifier)
        writers = _writers(stack, csv_file, jsonl_file, columns)
        writers += _watching(stack, classifier, log, explain)
        tracker = stack.enter_context(progress_on()("predict", len(files), "images"))
        for decision in decide(classifier, files, workers=workers, monitor=monitor):
            tally.add(decision)
            for write in writers:
                write(decision)
            tracker.advance()
    drift = monitor.compare() if monitor else None
    if as_json:
        document = tally.document(classifier.function.name, drift)
        print_json({**document, "passed_over": passed.to_json()})
    else:
        tally.report(classifier.function.name, quiet=STDOUT in outputs.values())
        for line in passing_lines(passed.to_json()):
            print_note(f"not taken: {line}")
    if drift and drift.drifted:
        _warn(drift, classifier.function.low)
    _warn_of_unknown(tally, classifier)
    if _warns_of_frames(classifier, tally) or tally.unreadable:
        raise typer.Exit(1)


def _load(
    bundle: Path, backend: str | None, precision: str | None, workers: int, uncertified: bool
) -> Classifier:
    from drupe.deployment.runtime import load

    return load(
        bundle,
        backend=backend,
        precision=precision,
        threads=1,
        callers=workers,
        uncertified=uncertified,
    )


def _require_one_on_stdout(outputs: Mapping[str, Path | None], as_json: bool) -> None:
    there = [option for option, file in outputs.items() if file == STDOUT]
    there += ["--json"] if as_json else []
    if len(there) > 1:
        raise InputError(f"{' and '.join(there)}: only one can be written to stdout")


def _require_separate(
    outputs: Mapping[str, Path | None], bundle: Path, images: Iterable[str]
) -> None:
    """Refuse to write over the bundle, an image or the other output, before anything is decided."""
    files = {option: file for option, file in outputs.items() if file and file != STDOUT}
    if not files:
        return
    # No file can have a name with a NUL.
    taken = {os.path.realpath(path): f"the image {path}" for path in images if "\0" not in path}
    taken |= {os.path.realpath(path): f"{path} of the bundle" for path in bundle.iterdir()}
    for option, file in files.items():
        place = os.path.realpath(file)
        if place in taken:
            raise InputError(f"{option} {file}: must be a file of its own, got {taken[place]}")
        taken[place] = f"that of {option}"
        check_replaceable(file)


def _columns(classifier: Classifier) -> dict[str, Callable[[Decision], Any]]:
    """Return what a bundle says beside decision, score and error, by its column in a CSV."""
    columns: dict[str, Callable[[Decision], Any]] = {}
    if classifier.type_names:
        columns["type"] = lambda one: spreadsheet_cell(one.type or "")
    if classifier.known is not None:
        columns["p"] = lambda one: one.p_value
    return columns


def _writers(
    stack: ExitStack,
    csv_file: Path | None,
    jsonl_file: Path | None,
    columns: Mapping[str, Callable[[Decision], Any]],
) -> list[Any]:
    """Return a function per output; files appear under their name when they are complete."""
    writers: list[Any] = []
    if csv_file:
        stream: Any = sys.stdout
        if csv_file != STDOUT:
            temporary = stack.enter_context(replacing(csv_file))
            stream = stack.enter_context(
                temporary.open("w", newline="", encoding="utf-8", errors=NOT_TEXT)
            )
        rows = csv.writer(stream, lineterminator="\n" if csv_file == STDOUT else "\r\n")
        rows.writerow(("path", "decision", "score", "error", *columns))

        def write_row(one: Decision) -> None:
            cells = (spreadsheet_cell(one.path), one.decision, one.score)
            more = (value(one) for value in columns.values())
            rows.writerow((*cells, spreadsheet_cell(one.error or ""), *more))

        writers.append(_named(csv_file, write_row))
    if jsonl_file == STDOUT:
        writers.append(lambda one: print(_json_line(one)))
    elif jsonl_file:
        lines = stack.enter_context(
            stack.enter_context(replacing(jsonl_file)).open("w", encoding="utf-8", errors=NOT_TEXT)
        )
        writers.append(_named(jsonl_file, lambda one: lines.write(_json_line(one) + "\n")))
    return writers


def _watching(
    stack: ExitStack, classifier: Classifier, log: Path | None, explained: Path | None
) -> list[Any]:
    """Have every decision logged until ``stack`` is closed; return what explains each, if asked."""
    from drupe.line.log.writer import DecisionLog

    if log:
        stack.enter_context(DecisionLog(classifier, log))
    return [] if explained is None else [_explainer(classifier, explained)]


def _explainer(classifier: Classifier, folder: Path) -> Callable[[Decision], None]:
    """Return a function that writes the overlay of each image with a score into ``folder``."""
    numbers = itertools.count(1)
    is_bgr = classifier.manifest.input.channels == "bgr"

    def write(one: Decision) -> None:
        number = next(numbers)
        if one.score is not None:
            found = classifier.explain(one.path)
            name = f"{number:06}-{one.decision}-{Path(one.path).stem}.png"
            with replacing(folder / name) as temporary:
                temporary.write_bytes(found.png(is_bgr))

    return write


def _json_line(decision: Decision) -> str:
    """Return a decision as JSON; its type and p-value only from a bundle that tells them."""
    document = asdict(decision)
    if decision.type is None:
        del document["type"]
    if decision.p_value is None:
        del document["p_value"], document["is_unknown"]
    return printable_json(json.dumps(document, ensure_ascii=False))


def _named(file: Path, write: Callable[[Decision], object]) -> Callable[[Decision], None]:
    """Return ``write`` with errors of a full disk that name the file, of two outputs the right."""

    def named(one: Decision) -> None:
        with naming(file):
            write(one)

    return named


@dataclass
class _Tally:
    """Decisions by lane, and files not decided by a score: unreadable, unlike calibration, unknown.

    types: how many of those not accepted look most like each type; empty where none is told.
    """

    counts: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    unreadable: list[Decision] = field(default_factory=list)
    unlike: list[Decision] = field(default_factory=list)
    unknown: list[Decision] = field(default_factory=list)

    def add(self, decision: Decision) -> None:
        self.counts[decision.decision] += 1
        if decision.type:
            self.types[decision.type] += 1
        if decision.error:
            self._reviewed(decision).append(decision)

    @property
    def with_score(self) -> int:
        return self.counts.total() - len(self.unreadable) - len(self.unlike)

    def _reviewed(self, decision: Decision) -> list[Decision]:
        """Return the list that a file belongs to."""
        if decision.is_unknown:
            return self.unknown
        return self.unlike if decision.is_unlike else self.unreadable

    def document(self, function: str, drift: Drift | None) -> dict[str, Any]:
        return {
            "function": function,
            "images": self.counts.total(),
            **{lane: self.counts[lane] for lane in LANES},
            "unreadable": _reasons(self.unreadable),
            "unlike_calibration": _reasons(self.unlike),
            "unknown": _reasons(self.unknown),
            "drift": drift.to_json() if drift else None,
            **({"types": dict(sorted(self.types.items()))} if self.types else {}),
        }

    def report(self, function: str, quiet: bool) -> None:
        """Print the counts, unless ``quiet``, and the files that have no score."""
        if not quiet:
            words = ", ".join(f"{self.counts[lane]:,} {lane}" for lane in LANES)
            noun = "image" if self.counts.total() == 1 else "images"
            print_line(f"{self.counts.total():,} {noun} with {function}: {words}")
            if self.types:
                told = ", ".join(f"{count:,} {name}" for name, count in sorted(self.types.items()))
                print_line(f"Not accepted, by the type that they look most like: {told}")
        _list("unreadable", self.unreadable)
        _list("unlike calibration", self.unlike)
        _list("unknown", self.unknown)


def _reasons(decisions: list[Decision]) -> list[dict[str, Any]]:
    return [{"path": one.path, "reason": one.error} for one in decisions]


def _list(why: str, decisions: list[Decision]) -> None:
    lines = [f"{one.decision}, {why}: {one.path}: {one.error}{_p(one)}" for one in decisions]
    for line in shortened(lines, SHOWN, f"more {why}"):
        print_note(line)


def _p(decision: Decision) -> str:
    return "" if decision.p_value is None else f" (p = {decision.p_value:.2g})"


def _warns_of_frames(classifier: Classifier, tally: _Tally) -> bool:
    """Say that the pictures themselves are wrong, and where to look, if more are than by chance."""
    unlike, images = len(tally.unlike), tally.counts.total()
    if classifier.frames is None or classifier.frames.explains(unlike, images):
        return False
    stderr().print(
        f"warning: {unlike:,} of {images:,} images don't look like those that the certificate "
        "rests on, more than chance explains; they are reviewed. Look at camera, light, channel "
        "order and product before any decision is trusted.",
        markup=False,
        style="yellow",
        soft_wrap=True,
    )
    return True


def _warn_of_unknown(tally: _Tally, classifier: Classifier) -> None:
    """Say that the line shows what wasn't learnt from, where chance doesn't explain it."""
    from drupe.deployment.unknown import SURPRISE

    stated = classifier.manifest.unknown
    if classifier.known is None or stated is None:
        return
    unknown, images = len(tally.unknown), tally.with_score
    chance = classifier.known.calibration.chance_of(unknown, images, stated.rate)
    if chance >= SURPRISE:
        return
    stderr().print(
        f"warning: {unknown:,} of {images:,} images ({100 * unknown / images:.1f} %) are unlike "
        f"anything that was learnt from, where {100 * stated.rate:g} % of good ones may be (p = "
        f"{chance:.2g}, the draw of calibration included): look at those listed above and put "
        "camera, light or product right, or label some hundred such crops, train with them and "
        "export again.",
        markup=False,
        style="yellow",
        soft_wrap=True,
    )


def _warn(drift: Drift, low: float) -> None:
    """Say that the certificate may no longer hold, and what to do about it."""
    stderr().print(
        "warning: these scores have drifted: no share of defects explains them. At or below "
        f"{drift.score:.3g} lie {100 * drift.seen_below:.1f} %, expected were "
        f"{100 * drift.expected_below:.1f} % (p = {drift.p_value:.2g}; {drift.images:,} scores). "
        f"What was certified for the threshold {low:.3g} may not hold on this line as it is now: "
        "look at camera, light and product, then label a few hundred fresh crops and run "
        "drupe threshold RUN --data FRESH; drupe export RUN BUNDLE --data FRESH certifies anew.",
        markup=False,
        style="yellow",
        soft_wrap=True,
    )


def bench(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE|RUN...", help="Timed in turns; runs as PyTorch has them."),
    ],
    threads: Threads = None,
    batch: Annotated[
        list[int] | None, typer.Option(metavar="N", min=1, help="Images of one call; repeatable.")
    ] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Timed calls of each.")] = 500,
    pause_ms: Annotated[
        float,
        typer.Option(
            "--pause",
            metavar="MS",
            help="Idle milliseconds before each call, as between the frames of a camera.",
        ),
    ] = 0,
    every_function: Annotated[
        bool, typer.Option("--all", help="Every function of a bundle, not only the one in use.")
    ] = False,
    backend: RunBackend = None,
    as_json: Json = False,
) -> None:
    """Time raw bytes to decision on this machine, decoding apart. Keep it idle meanwhile.

    Certificates don't matter here: nothing is decided. An interval holds the true quantile at 95 %.
    """
    from drupe.deployment.bench import bench_paths
    from drupe.deployment.timing import QUANTILES

    found = bench_paths(
        paths,
        threads=threads,
        batches=batch or [1],
        samples=samples,
        pause_ms=pause_ms,
        every_function=every_function,
        backend=backend,
        progress=progress_on(),
    )
    if as_json:
        print_json(found.to_json())
        return
    rows = []
    for one in (*found.timings, *found.decoding):
        figures = one.to_json()
        rows.append(
            (
                one.name,
                f"{one.backend} {one.precision}",
                one.batch,
                *(_with_interval(figures, name) for name in QUANTILES),
            )
        )
    print_fitting(("", "function", "batch", *(f"{name}, ms" for name in QUANTILES)), rows)
    at = found.circumstances
    print_line(
        f"{at['processor']}, {at['cores']} cores, load at start {at['load_at_start']}, "
        f"{samples:,} calls each, " + (f"{pause_ms:g} ms apart" if pause_ms else "without a pause")
    )


def _with_interval(figures: dict[str, Any], name: str) -> str:
    low, high = ("?" if end is None else f"{end:.2f}" for end in figures[f"{name}_interval_ms"])
    return f"{figures[f'{name}_ms']:.2f} ({low}-{high})"
