"""A study's verdict, and a smoke test's, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drupe.evaluation.intervals import format_percent
from drupe.reporting.markdown import points, render
from drupe.study.verdict.document import StudyVerdict
from drupe.study.verdict.smoke_checks import Check


@dataclass(frozen=True)
class CriterionRow:
    """A line of the table of criteria: what was found, and what would settle it."""

    experiment: str
    criterion: str
    required: str
    verdict: str
    found: str
    reason: str
    settles_with: str


def criterion_rows(verdict: StudyVerdict) -> tuple[CriterionRow, ...]:
    """Return a row per experiment and criterion, experiments in the study's order."""
    return tuple(
        CriterionRow(
            item.experiment.id,
            judged.criterion,
            judged.required,
            judged.verdict,
            evidence_text(judged.evidence),
            judged.reason,
            f"{judged.settles_with.further:,} {judged.settles_with.what}"
            if judged.settles_with
            else "",
        )
        for item in verdict.experiments
        for judged in item.judged
    )


def evidence_text(evidence: dict[str, Any]) -> str:
    """Return the figure that a verdict rests on, with its bounds, in a few characters."""
    if "difference" in evidence:
        low, high = points(evidence["low"]), points(evidence["high"])
        return f"{points(evidence['difference'])} ({low} to {high})"
    if "mean" in evidence:
        low = format_percent(evidence["low"], sign="", rounding="down")
        high = format_percent(evidence["high"], sign="", rounding="up")
        return f"{format_percent(evidence['mean'])} ({low}-{high})"
    if "value_ms" in evidence:
        return f"{evidence['value_ms']:.2f} ms"
    if "size_bytes" in evidence:
        return f"{evidence['size_bytes'] / 1e6:.1f} MB"
    if "test" in evidence:
        return _recall_text(evidence)
    return "not measured"


def _recall_text(evidence: dict[str, Any]) -> str:
    certificate, test = evidence["certificate"], evidence["test"]
    if certificate is None:
        return "no certificate"
    missed = test["trials"] - test["successes"]
    kind = "" if certificate["approximate"] is None else ", approx."
    return f"misses {missed} of {test['trials']}{kind}"


def verdict_markdown(verdict: StudyVerdict) -> str:
    """Return ``verdict.md``."""
    return render("verdict.md.j2", verdict=verdict, rows=criterion_rows(verdict))


def smoke_markdown(verdict: StudyVerdict, checks: Sequence[Check]) -> str:
    """Return ``smoke.md``: what was checked; no figure in it says anything about models."""
    return render("smoke.md.j2", verdict=verdict, checks=checks)
