"""``drupe study``: experiments, seeds and planned comparisons from one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_fitting, print_json, print_line, stderr, stdout
from drupe.cli.options import STORE, Defect, Json, Store, WeightsFolder, examples

if TYPE_CHECKING:
    from drupe.evaluation.spread import ClusteredMean
    from drupe.study.plan import Task
    from drupe.study.results import StudyResult

app = typer.Typer(no_args_is_help=True, help="Run studies: experiments x seeds, compared fairly.")

RUN_EXAMPLES = examples(
    "drupe study run studies/quickstart.yaml --data crops",
    "drupe study run studies/quickstart.yaml seeds=[1,2,3] --data crops",
)


@app.callback()
def study() -> None:
    """Run studies: experiments x seeds, compared fairly."""


@app.command(epilog=RUN_EXAMPLES)
def run(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Keys of the study (seeds=[1,2]) or of every experiment (training.epochs=3).",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of labelled crops.")
    ] = None,
    defect: Defect = None,
    weights: WeightsFolder = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Run what is not yet done of a study, one run after another, and print what it found.

    Each run is a process of its own; finished runs are kept, an interrupted study continues.
    """
    from drupe.configuration import merge, parse_overrides
    from drupe.study.run import run_study
    from drupe.study.spec import load_study

    given: dict[str, Any] = {"root": str(data)} if data else {}
    given |= {"defect": defect} if defect else {}
    loaded = load_study(study, merge(parse_overrides(overrides or []), {"data": given}))
    found = run_study(loaded, store, _announce, weights)
    if json:
        print_json(found.to_json())
    else:
        print_study(found)
    if found.failed:
        raise typer.Exit(1)


def _announce(task: Task, number: int, total: int) -> None:
    stderr().print(f"run {number} of {total}: {task.name}", style="bold", markup=False)


def _interval(rate: ClusteredMean) -> str:
    from drupe.evaluation.intervals import format_percent

    return f"{format_percent(rate.low, sign='')}-{format_percent(rate.high, sign='')}"


def print_study(found: StudyResult) -> None:
    """Print a study's table, its comparisons and its recommendation."""
    from drupe.evaluation.intervals import format_percent
    from drupe.study.results import recommendation

    print_line(f"\n{found.study}: {found.question}")
    for name, reason in found.failed:
        print_line(f"failed: {name}: {reason}", style="bold red")
    if found.experiments:
        print_line(f"Test: {found.images:,} images, {found.defects:,} defects, threshold 0.5\n")
    rows = [
        (
            item.id,
            len(item.runs),
            format_percent(item.accuracy.mean),
            _interval(item.accuracy),
            "-" if (spread := item.accuracy_by_seed.deviation) is None else f"{100 * spread:.1f}",
            format_percent(item.recall.mean),
            format_percent(item.clean_yield.mean),
            f"{item.auroc.mean:.3f}",
        )
        for item in found.experiments
    ]
    columns = ("", "seeds", "accuracy", "95 %", "± seeds", "recall", "yield", "AUROC")
    if rows:
        print_fitting(columns, rows)
        print_line("")
    stdout().print(recommendation(found), markup=False)
