"""``drupe ensemble``: finished runs as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drupe.cli.console import print_line
from drupe.cli.options import STORE, DataNow, Defect, Json, Store, examples, one_dataset
from drupe.workbench.progress_display import progress_on

EXAMPLES = examples(
    "drupe ensemble runs/A/seed-42 runs/B/seed-42 --out runs/AB",
    "drupe ensemble drupe-store/runs/quickstart/PLAIN --out runs/PLAIN-ALL   all its seeds",
    "drupe ensemble RUN RUN --out runs/AB --data moved/crops --json",
)

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Finished run directories, at least two; a folder of seed-N runs stands for all.",
    ),
]
Out = Annotated[Path, typer.Option(metavar="RUN", help="Run directory to write.")]
Name = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of the ensemble; without it, --out's.")
]


def ensemble(
    runs: Runs,
    out: Out,
    name: Name = None,
    data: DataNow = None,
    defect: Defect = None,
    store: Store = STORE,
    json: Json = False,
) -> None:
    """Average the calibrated logits of finished runs: one model, judged and saved as a run.

    The runs must share data and split. Where the ensemble is already there, nothing is redone.
    """
    from drupe.cli.evaluation import (
        print_data,
        print_evaluation,
        print_run_json,
        print_skipped,
    )
    from drupe.runs.record import read_record
    from drupe.training.ensemble import EnsembleRequest, make_ensemble
    from drupe.training.members import expand_seeds

    request = EnsembleRequest(
        expand_seeds(runs), name or out.name, one_dataset(data, store), defect
    )
    outcome = make_ensemble(request, out, store, progress=progress_on())
    print_skipped(outcome.skipped)
    record = read_record(out)
    if record:
        print_data(record)
    if json:
        print_run_json(out, outcome.evaluation, outcome.skipped)
        return
    print_line(f"{'Done before' if outcome.already_done else 'Run'}: {out}")
    print_line(f"Ensemble of {', '.join(map(str, request.runs))}")
    print_evaluation(outcome.evaluation)
