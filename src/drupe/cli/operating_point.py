"""An operating point as text for the terminal: thresholds, lanes, rates and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_CEILING, Context

from drupe.cli.console import print_fitting, print_line, print_prose
from drupe.cli.slices import print_lacking, print_promises, print_slices
from drupe.evaluation.certificate import Certificate, NotCertifiableError
from drupe.evaluation.intervals import (
    format_confidence,
    format_interval,
    format_percent,
    format_target,
)
from drupe.evaluation.next_steps import NextStep
from drupe.evaluation.operating_point import OperatingPoint, SplitFigures

CHANGES_SET = ("as it is", "crops", "share", "cross-fit")
"""Kinds of calibration sets whose defects are told."""


def print_operating_point(
    point: OperatingPoint, steps: Sequence[NextStep], items_a_day: float | None = None
) -> None:
    """Print the thresholds, what they do on each split, what that means, and ways to more.

    ``items_a_day`` says as well what a day of so many items brings, at the request's prevalence.
    """
    request = point.request
    claim = f"recall ≥ {format_target(request.min_recall)}"
    sure = format_confidence(request.confidence)
    if request.candidates > 1:
        sure += f" joint (for {request.candidates} candidates)"
    for caveat in point.model.caveats:
        print_prose(f"{point.model.name}: {caveat}.", style="yellow")
    if point.refusal:
        _print_refusal(point, point.refusal, f"{claim} at {sure} confidence")
        _print_steps(steps)
        return
    assert point.thresholds is not None
    assert point.calibration is not None
    certificate, lanes = point.certificate, point.thresholds
    if certificate is None:
        heading, style = "threshold given by hand, not certified", "bold"
    else:
        how = "approximately certified" if certificate.approximate else "certified"
        heading, style = f"{claim} {how} at {sure} confidence", "bold green"
    print_prose(f"{point.model.name}: {heading}", style)
    review = lanes.high > lanes.low
    print_prose(
        f"accept below {_digits(lanes.low)}, "
        + (
            f"review, and reject from {_digits(lanes.high)} on"
            if review
            else "reject from there on"
        )
    )
    if certificate:
        print_prose(
            f"{certificate.defects:,} distinct defects in calibration allow "
            f"{certificate.misses_allowed:,} misses; "
            f"{certificate.misses:,} lie below the threshold."
        )
    if point.model.seed is None:
        print_prose(
            "A CSV doesn't say which rows are copies of one item, or what the model learnt from: "
            "the claim takes every row as a distinct item that nothing was learnt from.",
            style="yellow",
        )
    if certificate and certificate.slices:
        print_promises(certificate.slices, sure)
    splits = [("calibration", point.calibration)]
    splits += [("test", point.test)] if point.test else []
    _print_lanes(splits, review)
    _print_rates(splits, certificate)
    for name, figures in splits:
        if figures.slices:
            print_slices(figures.slices, f"distinct items of {name}, not accepted at the threshold")
    if request.prevalence is not None:
        _print_load(splits[-1], request.prevalence)
        if items_a_day is not None:
            _print_day(splits[-1], request.prevalence, items_a_day)
    _print_meaning(point, claim)
    _print_steps(steps)


def _print_steps(steps: Sequence[NextStep]) -> None:
    """Print what other calibration sets and requests would bring, the present one first."""
    if not steps:
        return
    print_line("")
    print_prose(
        "Next steps, by the clean yield that they bring on average, and in 9 of 10 calibration "
        "sets drawn anew, from these scores (the commands: --json, or the report):"
    )
    for step in steps:
        figures = "too few" if step.clean_yield is None else format_percent(step.clean_yield)
        spread = ""
        if step.low is not None and step.high is not None:
            spread = format_interval(step.low, step.high, dash="-", sign="")
        print_prose(f"{figures:>7}  {spread:>9}  {_told(step)}", indent=" " * 20)
        if step.caveat:
            print_prose(f"{'':20}({step.caveat})", indent=" " * 20)
    print_prose(
        "What scores don't tell: more detail, views or several networks. Step by step: "
        "docs/poor_yield.md, my clean yield is poor: what now?"
    )


def _told(step: NextStep) -> str:
    misses = "" if step.misses_allowed is None else f", {step.misses_allowed:,} may be missed"
    if step.kind in CHANGES_SET:
        return f"{step.what}: {step.defects:,} defects{misses}"
    return step.what


def _print_refusal(point: OperatingPoint, refusal: NotCertifiableError, asked: str) -> None:
    print_line(f"{point.model.name}: not certified", style="bold red")
    if refusal.in_sample:
        print_prose(f"{refusal}.")
        return
    ways_of_a_run = (
        "Collect more (--data DIR), use every training defect (--cross-fit 5, approximate)"
    )
    if refusal.lacking:
        print_lacking(refusal)
        return
    print_prose(
        f"{asked} takes at least {refusal.needed_defects:,} distinct defects in calibration, none "
        f"of them missed; got {refusal.defects:,}. "
        + ("Collect more" if point.model.seed is None else ways_of_a_run)
        + ", or ask for less (--min-recall)."
    )


def _print_lanes(splits: list[tuple[str, SplitFigures]], review: bool) -> None:
    """Print how many items each lane gets; without a review lane there are two."""
    print_line("")
    rows: list[tuple[object, ...]] = []
    for name, figures in splits:
        counts = figures.counts
        clean = (counts.clean_accepted, counts.clean_reviewed, counts.clean_rejected)
        defects = (counts.defects_accepted, counts.defects_reviewed, counts.defects_rejected)
        rows += [(f"{name}, clean", *clean), (f"{name}, defects", *defects)]
    columns: tuple[str, ...] = ("", "accept", "review", "reject")
    if not review:
        columns, rows = (*columns[:2], columns[3]), [(*row[:2], row[3]) for row in rows]
    print_fitting(columns, rows)


def _digits(threshold: float) -> str:
    """Return all digits of a float32: rounded up, a threshold would accept what was not counted."""
    import numpy as np

    return str(np.float32(threshold)) if np.float32(threshold) == threshold else repr(threshold)


def _print_rates(splits: list[tuple[str, SplitFigures]], certificate: Certificate | None) -> None:
    print_line("")
    rows = []
    for name, figures in splits:
        recall = figures.counts.recall(figures.confidence, sides=1)
        vouched = certificate.recall if certificate and name == "calibration" else recall
        clean = figures.counts.clean_yield(figures.confidence)
        rows.append(
            (
                name,
                recall.percent(2),
                f"≥ {format_percent(vouched.low, 2, rounding='down')}",
                clean.percent(),
                format_interval(clean.low, clean.high, dash="-", sign=""),
            )
        )
    print_fitting(("", "recall", "lower bound", "clean yield", "interval"), rows)
    reviewed = [(name, figures.counts) for name, figures in splits if figures.counts.clean_reviewed]
    if reviewed:
        said = ", ".join(
            f"{format_percent((one.clean_accepted + one.clean_reviewed) / one.clean)} ({name})"
            for name, one in reviewed
        )
        print_prose(f"Clean yield where people accept every clean item in review: {said}.")


def _print_load(split: tuple[str, SplitFigures], prevalence: float) -> None:
    name, figures = split
    load = figures.load
    assert load is not None
    cost = "" if load.cost is None else f", cost {load.cost:,.3g}"
    at_most = _misses_at_most(figures, prevalence, load.per)
    print_line("")
    print_prose(
        f"Per 1,000 items with {format_percent(prevalence)} defects (rates of {name}): "
        f"{load.misses:.2g} misses (at most {at_most:.2g}, one-sided), "
        f"{load.reviews:.1f} reviews, {load.rejects:.1f} rejects "
        f"of which {load.false_rejects:.1f} clean{cost}."
    )


def _print_day(split: tuple[str, SplitFigures], prevalence: float, items: float) -> None:
    _, figures = split
    assert figures.load is not None
    day = figures.load.of_items(items)
    cost = "" if day.cost is None else f", cost {day.cost:,.0f}"
    print_prose(
        f"A day of {items:,.0f} items: {day.misses:,.0f} misses (at most "
        f"{_misses_at_most(figures, prevalence, items):,.0f}), {day.reviews:,.0f} reviews, "
        f"{day.rejects:,.0f} rejects of which {day.false_rejects:,.0f} clean{cost}."
    )


def _misses_at_most(figures: SplitFigures, prevalence: float, items: float) -> float:
    """Return the one-sided bound, two digits, rounded up: it must not look tighter than it is."""
    caught = figures.counts.recall(figures.confidence, sides=1)
    digits = Context(prec=2, rounding=ROUND_CEILING)
    return float(digits.create_decimal(repr(items * prevalence * (1 - caught.low))))


def _print_meaning(point: OperatingPoint, claim: str) -> None:
    test = point.test
    review = point.thresholds is not None and point.thresholds.high > point.thresholds.low
    print_line("")
    if point.certificate is None:
        print_prose(
            "A threshold chosen by looking at these items proves nothing; the lower bound of "
            "recall is a claim only if the threshold was fixed before."
        )
        if point.model.in_sample:
            print_prose(f"Calibration: {point.model.in_sample}.", style="yellow")
    elif point.model.inexact:
        print_prose(f"Approximate: {point.model.inexact}.")
    else:
        print_prose(
            "The certificate holds for crops of the same line, camera, light and labelling"
            + (", and counts a reviewed defect as caught." if review else ".")
        )
    for one in point.slice_refutations:
        if one.p_value <= 1 - point.request.confidence:
            print_prose(
                f"The test REFUTES {one.claim}: {one.misses:,} of {one.defects:,} missed, chance "
                f"{format_percent(one.p_value)} (adjusted for {len(point.slice_refutations)}).",
                style="bold red",
            )
    if test is None or point.certificate is None:
        return
    refuted = test.refutation <= 1 - point.request.confidence
    misses, defects = test.counts.defects_accepted, test.counts.defects
    found = (
        f"at {misses:,} of {defects:,} defects missed, the chance of so many or more would be "
        f"{format_percent(test.refutation)}"
        if misses
        else f"none of its {defects:,} defects is missed"
    )
    print_prose(
        f"The test {'REFUTES' if refuted else 'does not refute'} {claim}: {found}.",
        style="bold red" if refuted else "",
    )
