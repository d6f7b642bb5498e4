"""``drupe export`` and ``drupe bundle``: from a run to a file that decides, and is verified."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from drupe.cli.console import print_fitting, print_json, print_line
from drupe.cli.options import STORE, Json, Store, Threads, examples
from drupe.cli.progress import progress_on

EXAMPLES = examples(
    "drupe export drupe-store/runs/train/lite0/seed-42 cherries.bundle",
    "drupe export RUN cherries.bundle --format pt",
    "drupe bundle verify cherries.bundle",
)


class Format(StrEnum):
    """What a bundle may hold beside its graph."""

    PT = "pt"


app = typer.Typer(no_args_is_help=True, help="Verify bundles.")

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle directory.")]


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
    threads: Threads = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Export a run as a bundle that decides without PyTorch, proven equal to what was tested.

    Every backend that is installed is run on the run's calibration and test crops; one turned
    decision, and nothing is written (exit code 1).
    """
    from drupe.deployment.export import GateError, export_run

    try:
        done = export_run(
            run,
            bundle,
            store,
            threads=threads,
            state_dict=format is Format.PT,
            progress=progress_on(),
        )
    except GateError as error:
        print_line(str(error), style="bold red")
        raise typer.Exit(1) from None
    if as_json:
        print_json(done.to_json())
        return
    print_line(f"Bundle: {bundle}", style="bold")
    rows = [
        (
            one.name,
            f"{one.p50_ms:.2f} ms",
            f"{one.gate.max_score_difference:.1e}",
            f"{one.gate.flips} of {one.gate.images:,}",
            f"{done.sizes[one.graph] / 1e6:.1f} MB",
            "yes" if one.is_certified else "approximately" if one.certificate else "no",
        )
        for one in done.manifest.functions
    ]
    print_fitting(("", "p50", "score off by", "decisions turned", "size", "certified"), rows)
    if plain := done.manifest.provenance.get("state_dict"):
        print_line(
            f"\n{plain['file']}: {plain['network']}, outputs {', '.join(plain['outputs'])}; scores "
            f"off by {plain['gate']['max_score_difference']:.1e}, {plain['gate']['flips']} "
            "decisions turned"
        )
    if done.refusal:
        print_line(f"\nNo certificate, threshold 0.5: {done.refusal}", style="yellow")
    print_line(f"\nOn the line PC: drupe bundle verify {bundle}")


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
            print_line(
                f"{one.function.name}: {words} (scores off by {one.max_score_difference:.1e}, "
                f"{one.flips} decisions turned)",
                style="green" if one.passed else "bold red",
            )
    if any(one.passed is False for one in found) or not any(one.passed for one in found):
        raise typer.Exit(1)
