"""Types of defects and groups as tables for the terminal: counts, promises, what is lacking."""

from __future__ import annotations

from collections.abc import Sequence

from drupe.cli.console import print_fitting, print_line, print_prose
from drupe.evaluation.certificate import NotCertifiableError, SliceCertificate
from drupe.evaluation.intervals import (
    Proportion,
    format_confidence,
    format_interval,
    format_percent,
    format_target,
)
from drupe.evaluation.slices import CONFIDENCE, Slice, Slices, worst_recall, worst_yield

SHOWN = 20
"""Groups shown; the rest stands in --json."""

UNKNOWN = "(not given)"


def print_slices(slices: Slices, where: str) -> None:
    """Print recall of each type, recall and yield of each group, and the worst group.

    ``where`` says which items were counted.
    """
    if slices.types:
        print_line("")
        print_prose(f"Each type of defect ({where}):")
        rows = [(*_defects(one),) for one in _worst_first(slices.types)]
        print_fitting(("", "defects", "missed", "recall", "95 % interval"), rows[:SHOWN])
        _print_rest(len(rows))
    if slices.groups:
        print_line("")
        print_prose(f"Each group ({where}):")
        rows = [(*_defects(one), *_rate(one.clean_yield())) for one in _worst_first(slices.groups)]
        columns = ("", "defects", "missed", "recall", "interval", "clean yield", "interval")
        print_fitting(columns, rows[:SHOWN])
        _print_rest(len(rows))
        _print_worst(slices.groups)


def print_promises(promised: Sequence[SliceCertificate], sure: str) -> None:
    """Print what is promised of types and groups, and the counts that prove it."""
    print_line("")
    print_prose(f"Certified together with it, all at {sure} confidence:")
    rows = [
        (
            one.name,
            f"≥ {format_target(one.min_recall)}",
            f"{one.defects:,}",
            f"{one.misses_allowed:,}",
            f"{one.misses:,}",
        )
        for one in promised
    ]
    print_fitting(("", "recall", "defects", "misses allowed", "missed"), rows)


def print_lacking(refusal: NotCertifiableError) -> None:
    """Print which slices have too few defects for what was asked, and how many it takes."""
    print_prose(
        "It takes so many distinct defects in calibration, none of them missed, at "
        f"{format_confidence(refusal.confidence)} confidence:"
    )
    rows = [("all defects", refusal.min_recall, refusal.needed_defects, refusal.defects)]
    rows += [(one.name, one.min_recall, one.needed, one.defects) for one in refusal.lacking]
    print_fitting(
        ("", "recall", "needed", "got", "lacking"),
        [
            (
                name,
                f"≥ {format_target(recall)}",
                f"{needed:,}",
                f"{got:,}",
                f"{needed - got:,}" if needed > got else "",
            )
            for name, recall, needed, got in rows
        ],
    )
    print_prose("Collect more of these (--data DIR), or ask for less of them.")


def _worst_first(slices: Sequence[Slice]) -> list[Slice]:
    def rank(one: Slice) -> tuple[float, float, str]:
        rate = one.recall().rate
        return (2.0 if one.worse_recall is None else one.worse_recall, rate or 0.0, one.name)

    return sorted(slices, key=rank)


def _defects(one: Slice) -> tuple[str, ...]:
    return (one.name or UNKNOWN, f"{one.defects:,}", f"{one.misses:,}", *_rate(one.recall()))


def _rate(rate: Proportion) -> tuple[str, str]:
    if not rate.trials:
        return "", ""
    return rate.percent(), format_interval(rate.low, rate.high, dash="-", sign="")


def _print_rest(rows: int) -> None:
    if rows > SHOWN:
        print_line(f"… and {rows - SHOWN:,} more in --json")


def _print_worst(groups: Sequence[Slice]) -> None:
    """Name the worst group by recall and by yield, and whether chance alone could make it so."""
    by_recall, by_yield = worst_recall(groups), worst_yield(groups)
    judged = (
        ("recall", by_recall, by_recall.worse_recall if by_recall else None),
        ("clean yield", by_yield, by_yield.worse_yield if by_yield else None),
    )
    for what, worst, chance in judged:
        if worst is None or chance is None:
            continue
        is_shown = chance <= 1 - CONFIDENCE
        verdict = "shown to be worse than the others" if is_shown else "not shown to be worse"
        print_prose(
            f"Worst {what}: {worst.name or UNKNOWN}, {verdict} (chance of so many mistakes were "
            f"all alike: {format_percent(chance)}, adjusted for {len(groups)} groups).",
            style="bold red" if is_shown else "",
        )
