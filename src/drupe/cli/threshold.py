"""``drupe threshold``: the decision threshold with an exact guarantee on missed defects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_json
from drupe.cli.options import STORE, Defect, Fresh, Json, Logits, RunData, Store, examples
from drupe.errors import InputError
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.evaluation.lanes import Costs
    from drupe.evaluation.model_predictions import ModelPredictions

EXAMPLES = examples(
    "drupe threshold drupe-store/runs/train/lite0/seed-42",
    "drupe threshold scores.csv --min-recall 0.995 --json",
    "drupe threshold RUN --review-budget 0.05 --prevalence 0.02 --costs 40,0.1,0.5",
    "drupe threshold RUN --cross-fit 5       more defects, approximate guarantee",
    "drupe threshold RUN --data fresh/crops  before going live",
    "drupe threshold RUN --cross-fit 5 --run-data /mnt/moved/crops",
    "drupe threshold RUN --low 0.1 --high 0.9",
)


Source = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|CSV", help="A finished run, or a CSV path,label,score of one split."
    ),
]
MinRecall = Annotated[
    float, typer.Option(metavar="R", help="Share of defects that must be caught.")
]
Confidence = Annotated[float, typer.Option(metavar="C", help="With which that must hold.")]
Candidates = Annotated[
    int,
    typer.Option(
        metavar="M",
        min=1,
        max=10_000,
        help="From how many models this one is chosen: raises confidence.",
    ),
]
Budget = Annotated[float, typer.Option(metavar="B", help="Share of items that people may review.")]
Precision = Annotated[
    float | None,
    typer.Option(metavar="P", help="Share of defects among rejects, instead of a budget."),
]
Prevalence = Annotated[
    float | None,
    typer.Option(metavar="P", help="Share of defects on the line: gives load per 1,000."),
]
CostTriple = Annotated[
    str | None, typer.Option(metavar="M,F,R", help="Cost of a miss, a false reject, a review.")
]
Folds = Annotated[
    int | None,
    typer.Option(
        metavar="K", min=2, max=20, help="Train K folds; scores for every training defect."
    ),
]
Low = Annotated[
    float | None, typer.Option(metavar="T", help="Judge this threshold; nothing is certified.")
]
High = Annotated[float | None, typer.Option(metavar="T", help="Reject from this score on.")]


def threshold(
    source: Source,
    data: Fresh = None,
    run_data: RunData = None,
    min_recall: MinRecall = 0.99,
    confidence: Confidence = 0.95,
    candidates: Candidates = 1,
    review_budget: Budget = 0.0,
    reject_precision: Precision = None,
    prevalence: Prevalence = None,
    costs: CostTriple = None,
    cross_fit: Folds = None,
    low: Low = None,
    high: High = None,
    logits: Logits = False,
    defect: Defect = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Find the highest threshold that provably catches enough defects, and what it costs.

    Exit code 1: there are too few defects for a certificate; the answer says how many it takes.
    """
    from drupe.cli.operating_point import print_operating_point
    from drupe.evaluation.next_steps import next_steps
    from drupe.evaluation.operating_point import Request, operating_point
    from drupe.runs.evaluation_file import record_certificate

    request = Request(
        min_recall=min_recall,
        confidence=confidence,
        candidates=candidates,
        review_budget=review_budget,
        reject_precision=reject_precision,
        prevalence=prevalence,
        costs=_costs(costs),
        low=low,
        high=high,
    )
    model = _model(source, data, run_data, cross_fit, defect, logits, store)
    point = operating_point(model, request)
    if point.certificate and model.seed is not None:
        record_certificate(source, point.certified_figures())
    steps = next_steps(point, str(source))
    if as_json:
        print_json({**point.to_json(), "next_steps": [step.to_json() for step in steps]})
    else:
        print_operating_point(point, steps)
    if point.refusal:
        raise typer.Exit(1)


def _costs(text: str | None) -> Costs | None:
    from drupe.evaluation.lanes import Costs

    if text is None:
        return None
    try:
        miss, false_reject, review = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--costs: must be three numbers M,F,R, got {text!r}") from None
    return Costs(miss, false_reject, review)


def _model(
    source: Path,
    data: Path | None,
    run_data: Path | None,
    cross_fit: int | None,
    defect: str | None,
    logits: bool,
    store: Path,
) -> ModelPredictions:
    from drupe.cli.evaluation import print_fixes
    from drupe.data.overlay import find_fixes
    from drupe.evaluation.candidates import LOGITS_OF_RUNS
    from drupe.evaluation.model_predictions import read_csv, read_run_predictions
    from drupe.runs.record import FixesRecord, read_record

    if data and cross_fit:
        raise InputError("--data, --cross-fit: only one of them can give the calibration items")
    if run_data and not (data or cross_fit):
        raise InputError(
            "--run-data: only --data and --cross-fit read the run's data; without them the "
            "predictions in its folder are enough"
        )
    if not source.is_dir():
        if data or cross_fit:
            raise InputError(
                f"{source}: --data and --cross-fit need a run directory, because a network has "
                "to be run; got a file"
            )
        return read_csv(source, defect, score_is_logit=logits)
    if logits:
        raise InputError(LOGITS_OF_RUNS)
    model = read_run_predictions(source, defect)
    if data:
        from drupe.training.fresh import calibrate_on_fresh

        model = calibrate_on_fresh(model, source, data, store, progress_on(), run_data=run_data)
        print_fixes(FixesRecord(**find_fixes(data, store).to_json()), data)
        return model
    if cross_fit:
        from drupe.training.crossfit import calibrate_on_folds

        model = calibrate_on_folds(
            model, source, cross_fit, store, progress_on(), run_data=run_data
        )
    record = read_record(source)
    print_fixes(record.data.fixes if record else None)
    return model
