"""``drupe threshold``: the decision threshold with an exact guarantee on missed defects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from drupe.cli.console import print_json, print_line, stdout, table
from drupe.cli.options import STORE, Defect, Json, Logits, Store, examples
from drupe.cli.progress import progress_on
from drupe.errors import InputError

if TYPE_CHECKING:
    from drupe.evaluation.lanes import Costs
    from drupe.evaluation.operating_point import OperatingPoint, SplitFigures
    from drupe.evaluation.source import ModelPredictions

EXAMPLES = examples(
    "drupe threshold drupe-store/runs/train/lite0/seed-42",
    "drupe threshold scores.csv --min-recall 0.995 --json",
    "drupe threshold RUN --review-budget 0.05 --prevalence 0.02 --costs 40,0.1,0.5",
    "drupe threshold RUN --cross-fit 5       more defects, approximate guarantee",
    "drupe threshold RUN --data fresh/crops  before going live",
    "drupe threshold RUN --low 0.1 --high 0.9",
)


def threshold(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|CSV", help="A finished run, or a CSV path,label,score of one split."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Certify a run on these newly collected, labelled crops instead."
        ),
    ] = None,
    min_recall: Annotated[
        float, typer.Option(metavar="R", help="Share of defects that must be caught.")
    ] = 0.99,
    confidence: Annotated[
        float, typer.Option(metavar="C", help="With which that must hold.")
    ] = 0.95,
    candidates: Annotated[
        int,
        typer.Option(
            metavar="M", min=1, help="From how many models this one is chosen: raises confidence."
        ),
    ] = 1,
    review_budget: Annotated[
        float, typer.Option(metavar="B", help="Share of items that people may review.")
    ] = 0.0,
    reject_precision: Annotated[
        float | None,
        typer.Option(metavar="P", help="Share of defects among rejects, instead of a budget."),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(metavar="P", help="Share of defects on the line: gives load per 1,000."),
    ] = None,
    costs: Annotated[
        str | None,
        typer.Option(metavar="M,F,R", help="Cost of a miss, a false reject, a review."),
    ] = None,
    cross_fit: Annotated[
        int | None,
        typer.Option(
            metavar="K", min=2, max=20, help="Train K folds; scores for every training defect."
        ),
    ] = None,
    low: Annotated[
        float | None, typer.Option(metavar="T", help="Judge this threshold; nothing is certified.")
    ] = None,
    high: Annotated[
        float | None, typer.Option(metavar="T", help="Reject from this score on.")
    ] = None,
    logits: Logits = False,
    defect: Defect = None,
    store: Store = STORE,
    as_json: Json = False,
) -> None:
    """Find the highest threshold that provably catches enough defects, and what it costs.

    Exit code 1: there are too few defects for a certificate; the answer says how many it takes.
    """
    from drupe.evaluation.operating_point import Request, operating_point, record_certificate

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
    model = _model(source, data, cross_fit, defect, logits, store)
    point = operating_point(model, request)
    if point.certificate and model.seed is not None:
        record_certificate(source, point)
    if as_json:
        print_json(point.to_json())
    else:
        print_operating_point(point)
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
    cross_fit: int | None,
    defect: str | None,
    logits: bool,
    store: Path,
) -> ModelPredictions:
    from drupe.evaluation.source import read_csv, read_run_predictions

    if data and cross_fit:
        raise InputError("--data, --cross-fit: only one of them can give the calibration items")
    if not source.is_dir():
        if data or cross_fit:
            raise InputError(
                f"{source}: --data and --cross-fit need a run directory, because a network has "
                "to be run; got a file"
            )
        return read_csv(source, defect, score_is_logit=logits)
    if logits:
        raise InputError("--logits: is for CSV files; a run's scores are never logits")
    model = read_run_predictions(source, defect)
    if data:
        from drupe.training.fresh import certify_on_fresh

        return certify_on_fresh(model, source, data, store, progress_on())
    if cross_fit:
        from drupe.training.crossfit import certify_on_folds

        return certify_on_folds(model, source, cross_fit, store, progress_on())
    return model


def print_operating_point(point: OperatingPoint) -> None:
    """Print the thresholds, what they do on each split, and what that means."""
    from drupe.evaluation.intervals import format_confidence, format_percent

    request, console = point.request, stdout()
    claim = f"recall ≥ {format_percent(request.min_recall, decimals=2)}".replace(".00 %", " %")
    sure = format_confidence(request.confidence)
    if point.refusal:
        print_line(f"{point.model.name}: not certified", style="bold red")
        console.print(
            f"{claim} at {sure} confidence takes at least {point.refusal.needed_defects:,} "
            f"distinct defects in calibration, none of them missed; there are "
            f"{point.refusal.defects:,}. Collect more (--data DIR), use every training defect "
            "(--cross-fit 5, approximate), or ask for less (--min-recall).",
            markup=False,
        )
        return
    assert point.thresholds is not None
    assert point.calibration is not None
    certificate, lanes = point.certificate, point.thresholds
    if certificate is None:
        print_line(f"{point.model.name}: threshold given by hand, not certified", style="bold")
    else:
        how = "approximately certified" if certificate.approximate else "certified"
        print_line(f"{point.model.name}: {claim} {how} at {sure} confidence", style="bold green")
    review = lanes.high > lanes.low
    console.print(
        f"accept below {lanes.low:.6g}, "
        + (f"review, and reject from {lanes.high:.6g} on" if review else "reject from there on")
    )
    if certificate:
        console.print(
            f"{certificate.defects:,} distinct defects in calibration allow "
            f"{certificate.misses_allowed:,} misses; "
            f"{certificate.misses:,} lie below the threshold."
        )
    splits = [("calibration", point.calibration)]
    splits += [("test", point.test)] if point.test else []
    _print_lanes(splits)
    _print_rates(splits)
    if request.prevalence is not None:
        _print_load(splits[-1], request.prevalence)
    _print_meaning(point, claim)


def _print_lanes(splits: list[tuple[str, SplitFigures]]) -> None:
    print_line("")
    rows: list[tuple[object, ...]] = []
    for name, figures in splits:
        counts = figures.counts
        clean = (counts.clean_accepted, counts.clean_reviewed, counts.clean_rejected)
        defects = (counts.defects_accepted, counts.defects_reviewed, counts.defects_rejected)
        rows += [(f"{name}, clean", *clean), (f"{name}, defects", *defects)]
    stdout().print(table(("", "accept", "review", "reject"), rows))


def _print_rates(splits: list[tuple[str, SplitFigures]]) -> None:
    from drupe.evaluation.intervals import format_percent

    print_line("")
    rows = []
    for name, figures in splits:
        recall = figures.counts.recall(figures.confidence, sides=1)
        clean = figures.counts.clean_yield(figures.confidence)
        low, high = format_percent(clean.low, sign=""), format_percent(clean.high, sign="")
        rows.append(
            (
                name,
                recall.percent(2),
                f"≥ {format_percent(recall.low, 2)}",
                clean.percent(),
                f"{low}-{high}",
            )
        )
    stdout().print(table(("", "recall", "lower bound", "clean yield", "interval"), rows))


def _print_load(split: tuple[str, SplitFigures], prevalence: float) -> None:
    from drupe.evaluation.intervals import format_percent

    name, figures = split
    load = figures.load
    assert load is not None
    cost = "" if load.cost is None else f", cost {load.cost:,.2f}"
    stdout().print(
        f"\nPer 1,000 items with {format_percent(prevalence)} defects (rates of {name}): "
        f"{load.misses:.2f} misses, {load.reviews:.1f} reviews, {load.rejects:.1f} rejects "
        f"of which {load.false_rejects:.1f} clean{cost}.",
        markup=False,
    )


def _print_meaning(point: OperatingPoint, claim: str) -> None:
    from drupe.evaluation.intervals import format_percent

    console, test = stdout(), point.test
    print_line("")
    if point.certificate is None:
        console.print(
            "A threshold chosen by looking at these items proves nothing; the lower bound of "
            "recall is a claim only if the threshold was fixed before.",
            markup=False,
        )
    elif point.model.approximate:
        console.print(f"Approximate: {point.model.approximate}", markup=False)
    else:
        console.print(
            "The certificate holds for crops of the same line, camera, light and labelling.",
            markup=False,
        )
    if test is None or point.certificate is None:
        return
    refuted = test.refutation <= 1 - point.request.confidence
    misses, defects = test.counts.defects_accepted, test.counts.defects
    console.print(
        f"The test {'REFUTES' if refuted else 'does not refute'} {claim}: at {misses:,} of "
        f"{defects:,} defects missed, "
        f"the chance of so many or more would be {format_percent(test.refutation)}.",
        style="bold red" if refuted else "",
        markup=False,
    )
