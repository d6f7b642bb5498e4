"""Each experiment against its criteria: the evidence of finished runs, exports and benches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from drupe.evaluation.criteria import (
    Judged,
    judge_better,
    judge_certified_recall,
    judge_latency,
    judge_rate,
    judge_size,
    not_measured,
)
from drupe.evaluation.intervals import format_percent
from drupe.evaluation.operating_point import OperatingPoint
from drupe.evaluation.paired import clustered_mean_interval, correct_decisions
from drupe.study.definition.spec import Criteria
from drupe.study.verdict.figures import Measured, Tested

MEGABYTE = 1_000_000
LATENCY_SHARE = 0.95

Answer = Mapping[str, Any] | None
"""What ``drupe export --json`` or ``drupe bench --json`` said; None before they have run."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one experiment.

    ``tested`` are its test predictions, ``baseline`` those to beat (None: there are none, or the
    experiment is the baseline), called ``baseline_name``; ``point`` is where the run to deploy
    would operate by itself: a certificate for the one chosen of many is the recommendation's.
    """

    tested: Tested | None = None
    baseline: Tested | None = None
    baseline_name: str = ""
    point: OperatingPoint | None = None
    export: Answer = None
    bench: Answer = None


def judge(criteria: Criteria, evidence: Evidence, measured: Measured) -> tuple[Judged, ...]:
    """Return the verdict on each criterion that is asked for."""
    judged = []
    if criteria.accuracy is not None:
        judged.append(_accuracy(criteria.accuracy, evidence, measured))
    if criteria.recall is not None:
        judged.append(judge_recall(criteria.recall, evidence, measured.confidence))
    if criteria.latency_ms is not None:
        judged.append(_latency(criteria.latency_ms, evidence, measured.confidence))
    if criteria.size_mb is not None:
        judged.append(_size(criteria.size_mb, evidence))
    return tuple(judged)


def _accuracy(required: float, evidence: Evidence, measured: Measured) -> Judged:
    """Judge accuracy paired with the baseline where it has predictions, else by the number."""
    tested, baseline = evidence.tested, evidence.baseline
    if tested is None:
        number = f"{100 * required:g} %"
        beaten = f"{evidence.baseline_name} ({number})" if baseline else number
        return not_measured("accuracy", f"≥ {beaten}")
    correct = correct_decisions(tested.tables)
    items = np.arange(correct.shape[1])
    rate = clustered_mean_interval(correct, items, measured.confidence, sides=1)
    alone = judge_rate("accuracy", rate, required)
    if baseline is None:
        return alone
    _, difference = measured.difference(tested, baseline, sides=1)
    paired = judge_better("accuracy", difference, evidence.baseline_name)
    number = f"against {format_percent(required, decimals=2)} as a number: {alone.verdict}"
    return replace(
        paired,
        required=f"{paired.required} ({100 * required:g} %)",
        reason=f"{paired.reason}; {number}",
        evidence={**paired.evidence, "accuracy": alone.evidence, "number": alone.verdict},
    )


def judge_recall(required: float, evidence: Evidence, confidence: float) -> Judged:
    """Judge recall at the certified threshold, by calibration and by the test."""
    point = evidence.point
    if point is None or point.model.calibration is None or point.model.test is None:
        return not_measured("recall", f"≥ {100 * required:g} %")
    test = point.model.test.distinct
    misses = point.test.counts.defects_accepted if point.test else 0
    return judge_certified_recall(
        point.certificate,
        required=required,
        confidence=confidence,
        calibration_defects=int(point.model.calibration.distinct.is_defect.sum()),
        test_misses=misses,
        test_defects=int(test.is_defect.sum()),
    )


def latency_of(answer: Answer) -> Mapping[str, Any] | None:
    """Return the timing of the function that would run: the bench's first."""
    results = answer.get("results") if answer else None
    first = results[0] if isinstance(results, list) and results else None
    return first if isinstance(first, dict) else None


def _latency(limit: float, evidence: Evidence, confidence: float) -> Judged:
    required = f"p{100 * LATENCY_SHARE:g} < {limit:g} ms"
    timing = latency_of(evidence.bench)
    if timing is None or not timing.get("samples_ms"):
        return not_measured("latency", required)
    return judge_latency(timing["samples_ms"], limit, share=LATENCY_SHARE, confidence=confidence)


def _size(limit_mb: float, evidence: Evidence) -> Judged:
    functions = evidence.export.get("functions") if evidence.export else None
    if not isinstance(functions, list) or not functions:
        return not_measured("size", f"< {limit_mb:g} MB")
    return judge_size(int(functions[0]["size_bytes"]), round(limit_mb * MEGABYTE))
