"""The report's section about types of defects and groups."""

from __future__ import annotations

from dataclasses import dataclass

from drupe.evaluation.metrics import ARGMAX_THRESHOLD
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
from drupe.reporting.study_files import StudyFiles, StudyRun

SHOWN = 100
"""Rows of a table; the worst come first."""


@dataclass(frozen=True)
class SliceView:
    """A table of slices: ``left_out`` rows are only counted. ``notes``: sentences below it."""

    title: str
    columns: Row
    rows: tuple[Row, ...]
    left_out: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlicesSection:
    """Types and groups of the test items of one run; ``where``: at which threshold.

    promises: what its certificate says of them.
    """

    run: str
    where: str
    tables: tuple[SliceView, ...]
    promises: tuple[str, ...]


def slices_section(study: StudyFiles) -> SlicesSection | None:
    """Return the section for the recommended run, else the first; None where nothing is known."""
    wanted = study.verdict.recommendation.run if study.verdict else None
    run = next((one for one in study.runs if one.key == wanted), study.runs[0])
    threshold = run.certificate.threshold if run.certificate else ARGMAX_THRESHOLD
    slices = Slices.of(run.test.distinct, threshold)
    if slices is None:
        return None
    views = [*_views(slices), *_said(run)]
    kind = "certified threshold" if run.certificate else "threshold"
    return SlicesSection(run.name, f"{kind} {threshold:.4g}", tuple(views), tuple(_promises(run)))


def _views(slices: Slices) -> list[SliceView]:
    views = []
    if slices.types:
        rows = type_rows(slices.types)
        views.append(_view("Types of defects", TYPE_COLUMNS, rows))
    if slices.groups:
        notes = tuple(sentence for sentence, _ in worst_in_words(slices.groups))
        views.append(_view("Groups", GROUP_COLUMNS, group_rows(slices.groups), notes))
    return views


def _said(run: StudyRun) -> list[SliceView]:
    """Return the confusion of types, where the run tells them apart."""
    if run.types_said is None:
        return []
    confusion = TypeConfusion.of_record(run.types_said)
    notes = tuple(confusion_in_words(confusion))
    rows = confusion_rows(confusion)
    return [_view(f"{WHAT}, whatever the decision", confusion_columns(confusion), rows, notes)]


def _view(title: str, columns: Row, rows: list[Row], notes: tuple[str, ...] = ()) -> SliceView:
    return SliceView(title, columns, tuple(rows[:SHOWN]), max(0, len(rows) - SHOWN), notes)


def _promises(run: StudyRun) -> list[str]:
    promised = run.certificate.slices if run.certificate else ()
    return [
        f"{one.claim}: {one.misses:,} of {one.defects:,} calibration defects missed, "
        f"{one.misses_allowed:,} allowed"
        for one in promised
    ]
