"""``drupe evaluate``: a finished run's predictions and figures, made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drupe.cli.console import print_line
from drupe.cli.options import STORE, DataNow, Defect, Json, Labels, Store, examples, one_dataset
from drupe.workbench.progress_display import progress_on

EXAMPLES = examples(
    "drupe evaluate drupe-store/runs/train/lite0/seed-42",
    "drupe evaluate RUN --data moved/crops --json",
)


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run directory.")],
    data: DataNow = None,
    labels: Labels = None,
    defect: Defect = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Redo predictions and evaluation.json of a finished run from its saved weights.

    A certificate that the run held is gone afterwards: drupe threshold makes it anew.
    """
    from drupe.cli.evaluation import (
        print_data,
        print_evaluation,
        print_run_json,
        print_skipped,
    )
    from drupe.runs.record import read_record
    from drupe.training.saved import evaluate_run

    evaluation = evaluate_run(
        run,
        store,
        data_root=one_dataset(data, store),
        defect=defect,
        labels=labels,
        progress=progress_on(),
    )
    record = read_record(run)
    skipped = record.data.skipped if record else []
    imported = record.imported if record else None
    print_skipped(skipped)
    if record:
        print_data(record)
    if json:
        print_run_json(run, evaluation, skipped, imported)
        return
    print_line(f"Run: {run}")
    print_evaluation(evaluation, imported)
