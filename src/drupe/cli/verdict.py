"""A study's verdict on a terminal: criteria, figures, comparisons, the recommendation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from drupe.cli.console import print_fitting, print_line, print_prose

if TYPE_CHECKING:
    from drupe.study.verdict.document import ExperimentVerdict, StudyVerdict
    from drupe.study.verdict.smoke_checks import Check


def print_verdict(found: StudyVerdict) -> None:
    """Print the answer first under each heading, details below."""
    print_line("")
    print_line(f"{found.study}: {found.question}" + (" (smoke test)" if found.smoke else ""))
    for one in found.failed:
        print_line(f"failed: {one.run}: {one.reason}", style="bold red")
    for deviation in found.deviations:
        print_line(f"deviation from the protocol: {deviation.what}", style="yellow")
    if not any(item.figures for item in found.experiments):
        print_prose(found.recommendation.text)
        return
    print_line(
        f"Test: {found.test.images:,} distinct images, {found.test.defects:,} defects; "
        f"calibration: {found.calibration}"
    )
    print_line("")
    print_fitting(
        ("at 0.5", "seeds", "accuracy", "interval", "± seeds", "recall", "yield", "AUROC"),
        [row for item in found.experiments for row in _figures(item)],
    )
    for item in found.experiments:
        for caveat in item.caveats:
            print_prose(f"Mind: {item.id}: {caveat}.", style="yellow", indent="  ")
    _print_criteria(found)
    _print_comparisons(found)
    for item in found.experiments:
        if item.note:
            print_line(f"{item.id}: {item.note}", style="bold red")
        if item.reason:
            print_line(f"{item.id}: {item.state}: {item.reason}")
    print_line("")
    print_prose(found.recommendation.text)
    print_prose(f"What would change it: {found.recommendation.changes_with}.")


def _figures(item: ExperimentVerdict) -> Iterator[tuple[object, ...]]:
    from drupe.evaluation.intervals import format_interval, format_percent

    figures = item.figures
    if figures is None:
        return
    spread = figures.accuracy_by_seed.deviation
    yield (
        item.id,
        len(item.seeds) or "-",
        format_percent(figures.accuracy.mean),
        format_interval(figures.accuracy.low, figures.accuracy.high, dash="-", sign=""),
        "-" if spread is None else f"{100 * spread:.1f}",
        format_percent(figures.recall.mean),
        format_percent(figures.clean_yield.mean),
        f"{figures.auroc.mean:.3f}",
    )


def _print_criteria(found: StudyVerdict) -> None:
    """Print a table per criterion: what is required stands above it."""
    from drupe.reporting.verdict import criterion_rows

    criteria: dict[str, list[tuple[object, ...]]] = {}
    for row in criterion_rows(found):
        cells = (row.experiment, row.verdict, row.found, row.settles_with)
        criteria.setdefault(f"{row.criterion} {row.required}", []).append(cells)
    for name, rows in criteria.items():
        print_line("")
        columns = (name, "verdict", "found", "settled by")
        shown = len(columns) if any(row[-1] for row in rows) else len(columns) - 1
        print_fitting(columns[:shown], [row[:shown] for row in rows])


def _print_comparisons(found: StudyVerdict) -> None:
    from drupe.evaluation.intervals import format_points, format_points_interval

    rows = [
        (
            f"{item.a} - {item.b}",
            format_points(item.paired.difference),
            format_points_interval(item.paired.low, item.paired.high),
            f"{item.p_adjusted:.2g}",
            f"{100 * item.detectable:.1f}",
            "yes" if item.is_shown else "no",
        )
        for item in found.comparisons
    ]
    if rows:
        print_line("")
        columns = ("accuracy", "points", "interval", "adjusted p", "detectable", "shown")
        print_fitting(columns, rows)
    for pair in found.not_compared:
        print_line(f"{pair.a} - {pair.b}: not compared, no finished run of one of them")


def print_checks(checks: Sequence[Check]) -> None:
    """Print what a smoke test has checked."""
    rows = [(one.name, "yes" if one.passed else "NO", one.detail) for one in checks]
    print_line("")
    print_line("Smoke test: its figures mean nothing, only that everything runs.")
    print_line("")
    for name, passed, detail in rows:
        print_line(f"{passed:<4}{name}: {detail}", style="" if passed == "yes" else "bold red")
