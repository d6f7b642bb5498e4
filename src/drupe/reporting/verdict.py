"""A study's verdict, and a smoke test's, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drupe.evaluation.criterion_verdict import (
    BaselineComparison,
    Evidence,
    LatencyEvidence,
    RecallEvidence,
    SizeEvidence,
)
from drupe.evaluation.intervals import (
    Proportion,
    format_interval,
    format_percent,
    format_points,
    format_points_interval,
)
from drupe.evaluation.paired import ClusteredMean, PairedDifference
from drupe.reporting.markdown import render
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
            item.id,
            one.criterion,
            one.required,
            one.verdict,
            evidence_text(one.evidence),
            one.reason,
            f"{one.settles_with.further:,} {one.settles_with.what}" if one.settles_with else "",
        )
        for item in verdict.experiments
        for one in item.criteria
    )


def evidence_text(evidence: Evidence) -> str:
    """Return the figure that a verdict rests on, with its bounds, in a few characters."""
    match evidence:
        case BaselineComparison(paired=found) | (PairedDifference() as found):
            bounds = format_points_interval(found.low, found.high)
            return f"{format_points(found.difference)} ({bounds})"
        case ClusteredMean(mean=rate) | Proportion(rate=rate):
            bounds = format_interval(evidence.low, evidence.high, dash="-", sign="")
            return f"{format_percent(rate)} ({bounds})"
        case LatencyEvidence():
            return f"{evidence.value_ms:.2f} ms"
        case SizeEvidence():
            return f"{evidence.size_bytes / 1e6:.1f} MB"
        case RecallEvidence(certificate=certificate, test=test):
            if certificate is None:
                return "no certificate"
            kind = "" if certificate.is_exact else ", approx."
            return f"misses {test.trials - test.successes} of {test.trials}{kind}"
    return "not measured"


def verdict_markdown(verdict: StudyVerdict) -> str:
    """Return ``verdict.md``."""
    return render("verdict.md.j2", verdict=verdict, rows=criterion_rows(verdict))


def smoke_markdown(verdict: StudyVerdict, checks: Sequence[Check]) -> str:
    """Return ``smoke.md``: what was checked; no figure in it says anything about models."""
    return render("smoke.md.j2", verdict=verdict, checks=checks)
