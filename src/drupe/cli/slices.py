"""Types of defects and groups as tables for the terminal: counts, promises, what is lacking."""

from __future__ import annotations

from collections.abc import Sequence

from drupe.cli.console import print_fitting, print_line, print_prose
from drupe.evaluation.certificate import NotCertifiableError, SliceCertificate
from drupe.evaluation.intervals import format_confidence, format_target
from drupe.evaluation.slice_tables import (
    GROUP_COLUMNS,
    TYPE_COLUMNS,
    Row,
    group_rows,
    type_rows,
    worst_in_words,
)
from drupe.evaluation.slices import Slices
from drupe.evaluation.type_confusion import TypeConfusion
from drupe.evaluation.type_tables import (
    WHAT,
    confusion_columns,
    confusion_in_words,
    confusion_rows,
)

SHOWN = 20
"""Groups shown; the rest stands in --json."""


def print_slices(slices: Slices, where: str) -> None:
    """Print recall of each type, recall and yield of each group, and the worst group.

    ``where`` says which items were counted.
    """
    if slices.types:
        _print_rows(f"Each type of defect ({where}):", TYPE_COLUMNS, type_rows(slices.types))
    if slices.groups:
        _print_rows(f"Each group ({where}):", GROUP_COLUMNS, group_rows(slices.groups))
        for sentence, is_shown in worst_in_words(slices.groups):
            print_prose(sentence, style="bold red" if is_shown else "")


def _print_rows(heading: str, columns: Row, rows: list[Row]) -> None:
    print_line("")
    print_prose(heading)
    print_fitting(columns, rows[:SHOWN])
    if len(rows) > SHOWN:
        print_line(f"… and {len(rows) - SHOWN:,} more in --json")


def print_confusion(confusion: TypeConfusion, where: str) -> None:
    """Print which type was said of defects of which; ``where`` says which items were counted."""
    print_line("")
    print_prose(f"{WHAT} ({where}):")
    print_fitting(confusion_columns(confusion), confusion_rows(confusion))
    for sentence in confusion_in_words(confusion):
        print_prose(sentence)


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
