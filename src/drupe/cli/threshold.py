"""``drupe threshold``: the decision threshold with an exact guarantee on missed defects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_json, print_note
from drupe.cli.options import (
    STORE,
    Defect,
    Fresh,
    Json,
    Labels,
    Logits,
    RunData,
    Store,
    examples,
    one_dataset,
)
from drupe.errors import InputError
from drupe.workbench.progress_display import progress_on

if TYPE_CHECKING:
    from drupe.evaluation.certificate import Certificate
    from drupe.evaluation.lanes import Costs
    from drupe.evaluation.model_predictions import ModelPredictions
    from drupe.evaluation.operating_point import OperatingPoint

EXAMPLES = examples(
    "drupe threshold drupe-store/runs/train/lite0/seed-42",
    "drupe threshold scores.csv --min-recall 0.995 --json",
    "drupe threshold RUN --review-budget 0.05 --prevalence 0.02 --costs 40,0.1,0.5",
    "drupe threshold RUN --prevalence 0.02 --per-hour 36000   what a day brings",
    "drupe threshold RUN --cross-fit 5       more defects, approximate guarantee",
    "drupe threshold RUN --data fresh/crops  before going live",
    "drupe threshold RUN --cross-fit 5 --run-data /mnt/moved/crops",
    "drupe threshold RUN --low 0.1 --high 0.9",
    "drupe threshold RUN --min-recall pit=0.99 --min-recall stem=0.95",
    "drupe threshold RUN --min-recall 0.98 --per-group",
    "drupe threshold RUN --prevalence 0.02 --costs 40,0.1,0.5 --cost stem=5",
)


Source = Annotated[
    Path,
    typer.Argument(
        metavar="RUN|CSV", help="A finished run, or a CSV path,label,score of one split."
    ),
]
MinRecall = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[TYPE=]R",
        help="Share of defects that must be caught, 0.99 if not given; of one type as well: "
        "--min-recall pit=0.99 --min-recall stem=0.95.",
        show_default=False,
    ),
]
PerGroup = Annotated[
    bool, typer.Option("--per-group", help="In every group (camera, line) as well as in all.")
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
MOST_PER_HOUR = 1e9

Prevalence = Annotated[
    float | None,
    typer.Option(metavar="P", help="Share of defects on the line: gives load per 1,000."),
]
PerHour = Annotated[
    float | None,
    typer.Option(metavar="N", help="Items an hour: what a day brings, at --prevalence."),
]
Hours = Annotated[float, typer.Option(metavar="H", help="Hours a day, for --per-hour.")]
CostTriple = Annotated[
    str | None, typer.Option(metavar="M,F,R", help="Cost of a miss, a false reject, a review.")
]
CostOfType = Annotated[
    list[str] | None,
    typer.Option(
        "--cost", metavar="TYPE=M", help="Cost of a miss of one type, beside --costs: --cost pit=50"
    ),
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
    min_recall: MinRecall = None,
    per_group: PerGroup = False,
    confidence: Confidence = 0.95,
    candidates: Candidates = 1,
    review_budget: Budget = 0.0,
    reject_precision: Precision = None,
    prevalence: Prevalence = None,
    per_hour: PerHour = None,
    hours: Hours = 16,
    costs: CostTriple = None,
    cost: CostOfType = None,
    cross_fit: Folds = None,
    low: Low = None,
    high: High = None,
    logits: Logits = False,
    labels: Labels = None,
    defect: Defect = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Find the highest threshold that provably catches enough defects, and what it costs.

    Exit code 1: there are too few defects for a certificate; the answer says how many it takes.
    A run that can only be read is certified too; its certificate is then not kept.
    """
    from drupe.evaluation.operating_point import Request, operating_point

    overall, of_types = _recalls(min_recall or [])
    items_a_day = _items_a_day(per_hour, hours, prevalence)
    request = Request(
        min_recall=overall,
        confidence=confidence,
        candidates=candidates,
        recall_of_types=of_types,
        per_group=per_group,
        review_budget=review_budget,
        reject_precision=reject_precision,
        prevalence=prevalence,
        costs=_costs(costs, cost or []),
        low=low,
        high=high,
    )
    if labels and not data:
        raise InputError("--labels: goes with --data, whose labels it is about; a run has its own")
    model = _model(
        source,
        one_dataset(data, store),
        one_dataset(run_data, store),
        cross_fit,
        defect,
        logits,
        store,
        labels,
    )
    _answer(operating_point(model, request), source, as_json, items_a_day)


def _items_a_day(per_hour: float | None, hours: float, prevalence: float | None) -> float | None:
    if per_hour is None:
        return None
    problems = []
    if prevalence is None:
        problems.append("--per-hour: needs --prevalence P, the share of defects on the line")
    if not 0 < per_hour <= MOST_PER_HOUR:
        problems.append(f"--per-hour: must be above 0, at most {MOST_PER_HOUR:g}, got {per_hour:g}")
    if not 0 < hours <= 24:
        problems.append(f"--hours: must be above 0, at most 24, got {hours:g}")
    if problems:
        raise InputError(problems)
    return per_hour * hours


def _answer(point: OperatingPoint, source: Path, as_json: bool, items_a_day: float | None) -> None:
    """Print what was found, keep its certificate in the run, and end with 1 where there is none."""
    from drupe.cli.operating_point import print_operating_point
    from drupe.evaluation.next_steps import next_steps
    from drupe.files import unless_read_only
    from drupe.runs.evaluation_file import record_certificate

    steps = next_steps(point, str(source))
    if as_json:
        told = {**point.to_json(), "next_steps": [step.to_json() for step in steps]}
        judged = point.test or point.calibration
        if items_a_day is not None and judged and judged.load:
            told["per_day"] = judged.load.of_items(items_a_day).to_json()
        print_json(told)
    else:
        print_operating_point(point, steps, items_a_day)
    if point.certificate and point.model.seed is not None:
        with unless_read_only(source, "the certificate"):
            _tell_replaced(record_certificate(source, point.certified_figures()), point.certificate)
    if point.refusal:
        raise typer.Exit(1)


def _tell_replaced(before: dict[str, Any] | None, now: Certificate) -> None:
    """Say which other promise the run's new certificate takes the place of."""
    from drupe.evaluation.intervals import format_confidence, format_target

    if before is None:
        return
    promises = [
        f"recall ≥ {format_target(recall)} at {format_confidence(confidence)}"
        for recall, confidence in (
            (before["min_recall"], before["confidence"]),
            (now.min_recall, now.confidence),
        )
    ]
    if promises[0] != promises[1]:
        print_note(f"The run's certificate is now for {promises[1]}; it was for {promises[0]}.")


def _recalls(words: list[str]) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Return the recall of all defects and that of types of them.

    Where only types are given, the lowest of theirs is asked of all.
    """
    overall: list[float] = []
    of_types: list[tuple[str, float]] = []
    problems = []
    for word in words:
        name, equals, number = word.rpartition("=")
        try:
            recall = float(number)
        except ValueError:
            problems.append(f"--min-recall: must be R or TYPE=R such as 0.99, got {word!r}")
            continue
        if equals:
            of_types.append((name, recall))
        else:
            overall.append(recall)
    if len(overall) > 1:
        problems.append(f"--min-recall: must be given once for all defects, got {len(overall)}")
    if problems:
        raise InputError(problems)
    lowest = min((recall for _, recall in of_types), default=0.99)
    return (overall[0] if overall else lowest), tuple(of_types)


def _costs(text: str | None, of_types: list[str]) -> Costs | None:
    from drupe.evaluation.lanes import Costs

    if text is None:
        if of_types:
            raise InputError("--cost: needs --costs M,F,R, what all other mistakes cost")
        return None
    try:
        miss, false_reject, review = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--costs: must be three numbers M,F,R, got {text!r}") from None
    own = {}
    for word in of_types:
        name, equals, number = word.rpartition("=")
        try:
            own[name] = float(number)
        except ValueError:
            equals = ""
        if not (equals and name):
            raise InputError(f"--cost: must be TYPE=M such as pit=50, got {word!r}")
    return Costs(miss, false_reject, review, tuple(own.items()))


def _model(
    source: Path,
    data: Path | None,
    run_data: Path | None,
    cross_fit: int | None,
    defect: str | None,
    logits: bool,
    store: Path,
    labels: str | None,
) -> ModelPredictions:
    from drupe.cli.evaluation import print_fixes, print_passed
    from drupe.data.listing import list_dataset
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
        from drupe.deployment.certify.fresh import calibrate_on_new

        model = calibrate_on_new(
            model, source, data, store, progress_on(), run_data=run_data, labels=labels
        )
        print_passed(list_dataset(data, either_defect=True).passed.to_json(), data)
        print_fixes(FixesRecord(**find_fixes(data, store, labels).to_json()), data)
        return model
    if cross_fit:
        from drupe.training.crossfit import calibrate_on_folds

        model = calibrate_on_folds(
            model, source, cross_fit, store, progress_on(), run_data=run_data
        )
    record = read_record(source)
    print_fixes(record.data.fixes if record else None)
    return model
