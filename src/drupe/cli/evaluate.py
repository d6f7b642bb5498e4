"""``drupe evaluate``: a finished run's predictions and figures, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drupe.cli.console import print_line
from drupe.cli.options import STORE, Defect, Json, Store, examples
from drupe.workbench.progress_display import progress_on

EXAMPLES = examples(
    "drupe evaluate drupe-store/runs/train/lite0/seed-42",
    "drupe evaluate RUN --data moved/crops --json",
)


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run directory.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the run's data lies now, if it was moved."),
    ] = None,
    defect: Defect = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Redo predictions and evaluation.json of a finished run from its saved weights.

    A certificate that the run held is gone afterwards: drupe threshold makes it anew.
    """
    from drupe.cli.evaluation import (
        print_evaluation,
        print_fixes,
        print_run_json,
        print_skipped,
    )
    from drupe.runs.record import read_record
    from drupe.training.saved import evaluate_run

    evaluation = evaluate_run(run, store, data_root=data, defect=defect, progress=progress_on())
    record = read_record(run)
    skipped = record.data.skipped if record else []
    imported = record.imported if record else None
    print_skipped(skipped)
    print_fixes(record.data.fixes if record else None)
    if json:
        print_run_json(run, evaluation, skipped, imported)
        return
    print_line(f"Run: {run}")
    print_evaluation(evaluation, imported)
