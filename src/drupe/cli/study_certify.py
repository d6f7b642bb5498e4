"""``drupe study certify``: the job that certifies a run for a study. Hidden: a study starts it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from drupe.cli.console import print_json
from drupe.cli.options import STORE, Store


def certify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the figures are kept.")],
    min_recall: Annotated[float, typer.Option(metavar="R")],
    confidence: Annotated[float, typer.Option(metavar="C")],
    candidates: Annotated[int, typer.Option(metavar="M", min=1)],
    cross_fit: Annotated[
        int | None, typer.Option(metavar="K", help="Calibrate on its K folds, trained before.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write the certificate into the run as well.")
    ] = False,
    store: Store = STORE,
) -> None:
    """Certify a run for a study, and print what became of the task as JSON."""
    from dataclasses import asdict

    from drupe.evaluation.operating_point import Request
    from drupe.study.execution.certify import certify as certify_for_study

    request = Request(min_recall, confidence, candidates)
    outcome = certify_for_study(run, request, out, store, folds=cross_fit, record=record)
    print_json(asdict(outcome))
