"""``drupe export`` and ``drupe bundle``: from a run to a file that decides, and is verified."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_error, print_fitting, print_json, print_line, print_prose
from drupe.cli.options import STORE, Fresh, Json, RunData, Store, Threads, examples, one_dataset
from drupe.errors import InputError
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.deployment.export import Exported
    from drupe.deployment.familiarity import UnknownRequest
    from drupe.deployment.functions import EvaluatedFunction, TestFigures
    from drupe.evaluation.operating_point import Request

EXAMPLES = examples(
    "drupe export drupe-store/runs/train/lite0/seed-42 cherries.bundle",
    "drupe export RUN cherries.bundle --format pt",
    "drupe export RUN cherries.bundle --explain  heatmaps in the model card",
    "drupe export RUN cherries.bundle --channels bgr  arrays as OpenCV reads them",
    "drupe export drupe-store/runs/train/lite0/seed-42 fast.bundle --precision auto",
    "drupe export RUN gpu.bundle --backend onnxruntime-cuda --backend onnxruntime",
    "drupe export RUN new.bundle --data fresh/crops  certified on the line today",
    "drupe export RUN cherries.bundle --run-data /mnt/moved/crops",
    "drupe export RUN cherries.bundle --unknown-rate 0.01  more of what is strange is reviewed",
    "drupe bundle verify cherries.bundle",
)


class Format(StrEnum):
    """A file that a bundle may hold beside its graph."""

    PT = "pt"


app = typer.Typer(no_args_is_help=True, help="Verify bundles.")

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle directory.")]


class BundlePrecision(StrEnum):
    """The arithmetic that a bundle may be run in."""

    fp32 = "fp32"
    bf16 = "bf16"
    int8 = "int8"
    tf32 = "tf32"
    fp16 = "fp16"
    auto = "auto"


class UnknownGoes(StrEnum):
    """The lane of what the network doesn't know; never accept."""

    review = "review"
    reject = "reject"


class ChannelOrder(StrEnum):
    """The order of an image's channels."""

    rgb = "rgb"
    bgr = "bgr"


MinRecall = Annotated[
    float | None,
    typer.Option(
        metavar="R",
        help="Share of defects that must be caught; without it, as the run was certified for, "
        "or 0.99.",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        metavar="C",
        help="With which that must hold; without it, as the run was certified for, or 0.95.",
    ),
]

Channels = Annotated[
    ChannelOrder | None,
    typer.Option(
        help="Order in which the graph takes them, rgb without it; bgr: as OpenCV reads images. "
        "Not of mono runs.",
    ),
]
Precision = Annotated[
    BundlePrecision,
    typer.Option(
        help="bf16: by OpenVINO, on processors that compute it. int8: the layers that bear it. "
        "tf32, fp16: on devices (--backend). All but fp32 are certified anew. auto: all that the "
        "backends offer here, the fastest that is certified first."
    ),
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="Certify for this one, repeatable; devices only so. Without it, every CPU runtime "
        "that is installed. drupe doctor lists them.",
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Put a few test crops that it decides wrongly into the bundle and its model card, as "
        "heatmaps. Takes a minute at most.",
    ),
]


UnknownRate = Annotated[
    float | None,
    typer.Option(
        metavar="A",
        help="Share of good items that may be called unknown to the network, in (0, 0.5]; "
        "without it 0.005, where calibration is large enough.",
    ),
]
NoUnknown = Annotated[
    bool,
    typer.Option("--no-unknown", help="Take everything for known: decide by scores alone."),
]
LaneOfUnknown = Annotated[
    UnknownGoes, typer.Option("--unknown-lane", help="Where what is unknown goes.")
]


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run directory.")],
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="New directory to write.")],
    format: Annotated[
        Format | None,
        typer.Option(
            metavar="pt",
            help="Beside the graph, the plain weights under torchvision's names, for lines that "
            "load a network themselves.",
        ),
    ] = None,
    data: Fresh = None,
    run_data: RunData = None,
    min_recall: MinRecall = None,
    confidence: Confidence = None,
    precision: Precision = BundlePrecision.fp32,
    backend: Backends = None,
    channels: Channels = None,
    explain: Explain = False,
    unknown_rate: UnknownRate = None,
    no_unknown: NoUnknown = False,
    unknown_lane: LaneOfUnknown = UnknownGoes.review,
    threads: Threads = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Export a run as a bundle that decides without PyTorch, proven equal to what was tested.

    Each backend is run on the run's calibration and test crops, and on those of --data; one
    decision turned in fp32, or too few defects in --data, and nothing is written (exit code 1).
    """
    from drupe.deployment.export import export_run
    from drupe.deployment.gate import GateError

    unknown = _unknown(unknown_rate, unknown_lane, no_unknown)
    fresh = one_dataset(data, store)
    try:
        done = export_run(
            run,
            bundle,
            store,
            fresh=fresh,
            run_data=one_dataset(run_data, store),
            precision=precision.value,
            backends=backend or None,
            request=_request(run, min_recall, confidence),
            threads=threads,
            state_dict=format is Format.PT,
            channels=channels.value if channels else None,
            explain=explain,
            unknown=unknown,
            progress=progress_on(),
        )
    except GateError as error:
        print_error(str(error))
        if as_json:
            print_json({"bundle": None, "refused": str(error)})
        raise typer.Exit(1) from None
    _print_data(done, fresh)
    if as_json:
        print_json(done.to_json())
    else:
        print_exported(done)


def _unknown(rate: float | None, lane: UnknownGoes, is_off: bool) -> UnknownRequest:
    from drupe.deployment.familiarity import UnknownRequest

    if is_off and rate is not None:
        raise InputError("--no-unknown, --unknown-rate: only one of them can be given")
    return UnknownRequest(rate, lane.value, not is_off)


def _print_data(done: Exported, fresh: Path | None) -> None:
    """Say what of new crops wasn't taken, and which fixes were in force."""
    from drupe.cli.evaluation import print_fixes, print_passed
    from drupe.data.listing import list_dataset
    from drupe.runs.record import FixesRecord

    if fresh:
        print_passed(list_dataset(fresh, either_defect=True).passed.to_json(), fresh)
    for folder, fixed in done.fixed.items():
        print_fixes(FixesRecord(**fixed.to_json()), folder)


def print_exported(done: Exported) -> None:
    """Print the functions of a bundle, what they were certified on, and what is left to do."""
    print_line(f"Bundle: {done.bundle}", style="bold")
    _print_functions(done)
    _print_calibration(done)
    if not any(one.function.is_certified for one in done.evaluation.functions):
        print_line("")
        print_prose(
            "No function has an exact certificate: predict and load refuse this bundle unless told "
            "to decide all the same (--uncertified, uncertified=True)."
        )
    print_line("")
    print_line(f"On the line PC: drupe bundle verify {done.bundle}")


def _request(run: Path, min_recall: float | None, confidence: float | None) -> Request | None:
    """Return what is asked instead of what the run was certified for; None: nothing else."""
    from drupe.evaluation.operating_point import read_recorded

    asked = {"min_recall": min_recall, "confidence": confidence}
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(read_recorded(run).request, **given) if given else None


def _print_functions(done: Exported) -> None:
    columns = (
        *("", "p50", "score off by", "decisions turned", "size", "certified"),
        *("test accuracy at 0.5", "test recall", "test clean yield"),
    )
    rows = [
        (
            one.function.name,
            f"{one.function.p50_ms:.2f} ms",
            f"{one.function.gate.max_score_difference:.1e}",
            f"{one.function.gate.flips} of {one.function.gate.images:,}",
            f"{done.sizes[one.function.graph] / 1e6:.1f} MB",
            _certified(one),
            *_rates(one.test),
        )
        for one in done.evaluation.functions
    ]
    nothing = ("", "", "", "", "")
    rows.append(("tested network", *nothing, *_rates(done.evaluation.tested_network)))
    print_fitting(columns, rows)
    if plain := done.manifest.provenance.get("state_dict"):
        print_line("")
        print_line(
            f"{plain['file']}: {plain['network']}, outputs {', '.join(plain['outputs'])}; scores "
            f"off by {plain['gate']['max_score_difference']:.1e}, {plain['gate']['flips']} "
            "decisions turned"
        )
    if types := done.manifest.types:
        told = types.functions[done.evaluation.functions[0].function.name]
        right = f", right of {told.right:,} of {told.typed:,} distinct test defects"
        print_line(f"\nTypes told apart: {', '.join(types.names)}{right if told.typed else ''}")
    _print_unknown(done)
    if done.quantised:
        units = done.quantised.units
        kept = sum(not unit.quantised for unit in units)
        print_line("")
        print_line(f"int8: {kept} of {len(units)} layers stay in float, by measurement on fit")
    for one in done.evaluation.functions:
        if one.refusal:
            words = (
                f"{one.function.name}: no certificate for low = {one.function.low:g}: {one.refusal}"
            )
            print_line("")
            print_line(f"{words}", style="yellow")


def _print_unknown(done: Exported) -> None:
    """Say which share of good items is called unknown, or why nothing is."""
    print_line("")
    if (unknown := done.manifest.unknown) is None:
        print_prose(f"Nothing is unknown to it: {done.all_known}.")
        return
    one = unknown.functions[done.evaluation.functions[0].function.name]
    print_prose(
        f"Unknown, whose lane is {unknown.lane}: at most {100 * one.clean_rate:.2g} % of clean "
        f"items and {100 * one.defect_rate:.2g} % of defects; of the distinct test items "
        f"{one.test_clean:,} of {one.of_test_clean:,} clean and {one.test_defects:,} of "
        f"{one.of_test_defects:,} defects."
    )


def _print_calibration(done: Exported) -> None:
    made_on = done.manifest.provenance["calibration"]
    whose = "new crops" if made_on["is_new"] else "the run's own crops"
    print_line("")
    print_prose(
        f"Calibration: {whose} (data {made_on['data_fingerprint'][:12]}), {made_on['images']:,} "
        f"images, of them distinct {made_on['defects']:,} defects and {made_on['clean']:,} clean."
    )


def _certified(one: EvaluatedFunction) -> str:
    from drupe.evaluation.intervals import format_confidence

    certificate = one.function.certificate
    if certificate is None:
        return "no"
    recall = f"{100 * certificate['min_recall']:g} %"
    at = f"recall ≥ {recall} at {format_confidence(certificate['confidence'])}"
    return at if one.function.is_certified else f"approximately, {at}"


def _rates(test: TestFigures) -> tuple[str, str, str]:
    counts = test.at_thresholds.counts
    return (
        test.argmax.accuracy().percent(),
        counts.recall().percent(),
        counts.clean_yield().percent(),
    )


@app.callback()
def bundle_group() -> None:
    """Verify bundles."""


@app.command(epilog=examples("drupe bundle verify cherries.bundle"))
def verify(bundle: Bundle, threads: Threads = None, as_json: Json = False) -> None:
    """Check every hash and replay the golden samples on this machine.

    Exit code 1: a function decides otherwise here than where the bundle was made.
    """
    from drupe.deployment.bundle import verify_bundle

    found = verify_bundle(bundle, threads)
    if as_json:
        print_json({"bundle": str(bundle), "functions": [one.to_json() for one in found]})
    else:
        print_line(f"{bundle}: all files are as they were written", style="bold")
        for one in found:
            if one.passed is None:
                print_line(f"{one.function.name}: not run here ({one.reason})", style="yellow")
                continue
            words = "as where it was made" if one.passed else "OTHER DECISIONS OR SCORES"
            proof = "" if one.function.is_certified else ", NOT CERTIFIED"
            print_line(
                f"{one.function.name}: {words} (scores off by {one.max_score_difference:.1e}, "
                f"{one.flips} decisions turned){proof}",
                style="green" if one.passed else "bold red",
            )
    if any(one.passed is False for one in found) or not any(one.passed for one in found):
        raise typer.Exit(1)
