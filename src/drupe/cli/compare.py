"""``drupe compare``: models on the same images, with intervals for their differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drupe.cli.console import print_error, print_fitting, print_json, print_line, print_prose
from drupe.cli.options import Defect, Json, Logits, examples
from drupe.errors import InputError

if TYPE_CHECKING:
    from drupe.evaluation.candidates import Lineup
    from drupe.evaluation.comparison import Comparison, PairResult
    from drupe.evaluation.historic import HistoricComparison

EXAMPLES = examples(
    "drupe compare runs/quickstart/PLAIN runs/quickstart/SMOOTH     seeds averaged",
    "drupe compare ours.csv theirs.csv --metric accuracy --margin 0.01",
    "drupe compare RUN --number 0.9405",
)


Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN|CSV...",
        help="The reference, then the others: runs, folders of seed-N runs, or CSV files.",
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="accuracy, recall, clean_yield or auroc; repeat for several. Each one that is "
        "looked at costs power.",
    ),
]
Confidence = Annotated[
    float, typer.Option(metavar="C", help="Of the intervals; tests have level 1 - C.")
]
Margin = Annotated[
    float, typer.Option(metavar="D", help="How much worse is still not inferior, as a rate.")
]
MinRecall = Annotated[
    float, typer.Option(metavar="R", help="Certified recall at which clean yield is compared.")
]
Number = Annotated[
    float | None,
    typer.Option(metavar="A", help="A bare accuracy to compare with, such as 0.9405."),
]


def compare(
    sources: Sources,
    confidence: Confidence = 0.95,
    margin: Margin = 0.0,
    metric: Metrics = None,
    min_recall: MinRecall = 0.99,
    number: Number = None,
    draw_seeds: Annotated[
        bool,
        typer.Option(
            "--draw-seeds",
            help="Of clean yield: count which seeds were drawn too, not only which calibration.",
        ),
    ] = False,
    logits: Logits = False,
    defect: Defect = None,
    as_json: Json = False,
) -> None:
    """Compare models on the very same images: paired, copies counted once, seeds averaged.

    Every other model is compared with the first; p-values are Holm's over all that is shown.
    """
    from drupe.evaluation.candidates import read_lineup
    from drupe.evaluation.certificate import check_target
    from drupe.evaluation.comparison import (
        METRICS,
        check_comparison,
        compare,
    )
    from drupe.evaluation.historic import compare_with_number

    if len(sources) == 1 and number is None:
        raise InputError("compare: needs two models, or one and --number, got one model")
    unknown = sorted(set(metric or ()) - set(METRICS))
    if unknown:
        raise InputError(f"--metric: must be one of {', '.join(METRICS)}, got {', '.join(unknown)}")
    check_comparison(confidence, margin)
    check_target(min_recall, confidence)
    lineup = read_lineup(
        sources, defect, min_recall=min_recall, confidence=confidence, score_is_logit=logits
    )
    if "clean_yield" in (metric or ()):
        _require_thresholds(lineup.notes)
    found = None
    if len(sources) > 1:
        found = compare(
            lineup.candidates,
            groups=lineup.groups,
            metrics=[name for name in METRICS if name in metric] if metric else None,
            confidence=confidence,
            margin=margin,
            min_recall=min_recall,
            draw_seeds=draw_seeds,
        )
    historic = [
        compare_with_number(one, number, groups=lineup.groups, confidence=confidence)
        for one in lineup.candidates
        if number is not None
    ]
    _answer(found, historic, lineup, as_json)


def _answer(
    found: Comparison | None, historic: Sequence[HistoricComparison], lineup: Lineup, as_json: bool
) -> None:
    if as_json:
        document: dict[str, Any] = found.to_json() if found else {"pairs": []}
        document["against_number"] = [one.to_json() for one in historic]
        print_json(document | {"notes": list(lineup.notes), "caveats": list(lineup.caveats)})
        return
    if found:
        print_comparison(found)
    for one in historic:
        print_historic(one)
    for note in (*(f"No clean yield: {one}" for one in lineup.notes), *lineup.caveats):
        print_line("")
        print_prose(f"{note}.", style="yellow")


def _require_thresholds(notes: Sequence[str]) -> None:
    """Stop with "no" where the metric asked for needs certificates that there are not."""
    for note in notes:
        print_error(f"no clean yield: {note}")
    if notes:
        raise typer.Exit(1)


def print_comparison(found: Comparison) -> None:
    """Print a table per pair, then what each says."""
    from drupe.evaluation.intervals import format_confidence

    print_prose(
        f"{found.images:,} images ({found.groups:,} distinct), {found.defects:,} defects; "
        f"differences in percentage points, {format_confidence(found.confidence)} intervals"
    )
    margin = f"within {100 * found.margin:g}"
    for a, b in dict.fromkeys((pair.a, pair.b) for pair in found.pairs):
        pairs = [pair for pair in found.pairs if (pair.a, pair.b) == (a, b)]
        print_line("")
        print_line(f"{a} minus {b}", style="bold")
        rows = [_row(pair) for pair in pairs]
        columns = ("", "difference", "interval", "p", "adjusted", "detectable", margin)
        print_fitting(columns, rows)
        for line in (*_seed_lines(pairs), *_drawn_lines(pairs)):
            print_prose(line, indent="    ")
        print_line("")
        print_prose(_meaning(pairs, found.confidence))
    print_line("")
    print_prose(
        f"Accuracy and recall at the threshold 0.5, clean yield at the certified one. adjusted: "
        f"Holm over {found.family_size} tests. detectable: the true difference that this test set "
        f"would have shown with 80 % power. {margin}: by the one-sided bound, not adjusted."
    )


def _row(pair: PairResult) -> tuple[object, ...]:
    from drupe.evaluation.intervals import format_points, format_points_interval

    return (
        pair.metric.replace("_", " "),
        format_points(pair.difference),
        format_points_interval(pair.low, pair.high),
        _chance(pair.p_value),
        _chance(pair.p_adjusted),
        f"{100 * pair.detectable:.1f}",
        "yes" if pair.non_inferior else "not shown",
    )


def _chance(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else "<0.001"


def _seed_lines(pairs: list[PairResult]) -> list[str]:
    """Say per seed how many images only one of the two decides right; description only."""
    return [
        f"  {'this pair' if item.seed is None else f'seed {item.seed}'}: only {pair.a} right on "
        f"{item.only_a}, only {pair.b} on {item.only_b} (McNemar p = {item.p_value:.2g})"
        for pair in pairs
        if pair.metric == "accuracy"
        for item in pair.mcnemar
    ]


def _drawn_lines(pairs: list[PairResult]) -> Iterator[str]:
    """Yield what of a difference of clean yields is left when calibration is drawn anew."""
    from drupe.evaluation.intervals import format_points_interval

    for pair in pairs:
        if pair.drawn:
            over = ", ".join(pair.drawn.over)
            yield (
                f"  clean yield, over {pair.drawn.draws:,} draws of {over}: "
                f"{format_points_interval(pair.drawn.low, pair.drawn.high)} "
                f"(p = {_chance(pair.drawn.p_value)})"
            )


def _meaning(pairs: list[PairResult], confidence: float) -> str:
    shown = [pair for pair in pairs if pair.is_shown(confidence)]
    lucky = [pair for pair in pairs if pair.p_adjusted <= 1 - confidence and pair not in shown]
    sentences = [
        f"The clean yields of {pair.a} and {pair.b} differ on these items, but another draw of "
        "calibration could turn that: not shown."
        for pair in lucky
    ]
    if not shown and not lucky:
        return "No difference is shown; the intervals say which are not excluded."
    for pair in shown:
        better, worse = (pair.a, pair.b) if pair.difference > 0 else (pair.b, pair.a)
        sentences.append(f"{better} has a higher {pair.metric.replace('_', ' ')} than {worse}.")
    return " ".join(sentences)


def print_historic(found: HistoricComparison) -> None:
    """Print a model's accuracy against a bare number."""
    from drupe.evaluation.historic import UNPAIRED
    from drupe.evaluation.intervals import describe_interval, format_percent, format_points

    rate = found.rate
    print_line("")
    print_prose(
        f"{found.name} against {format_percent(found.number, 2)}: accuracy "
        f"{format_percent(rate.mean, 2)}, "
        f"{describe_interval(rate.low, rate.high, rate.confidence, rate.sides, 2)}, difference "
        f"{format_points(found.difference)} points, p = {found.p_value:.2g} (not adjusted). "
        f"{UNPAIRED}"
    )
