"""Each experiment against its criteria: the evidence of finished runs, exports and benches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drupe.deployment.answers import BenchAnswer, ExportAnswer
from drupe.evaluation.criterion_verdict import BaselineComparison, CriterionVerdict
from drupe.evaluation.intervals import format_percent
from drupe.evaluation.operating_point import OperatingPoint
from drupe.evaluation.paired import clustered_mean_interval, correct_decisions
from drupe.evaluation.pass_fail_rules import (
    judge_better,
    judge_certified_recall,
    judge_latency,
    judge_rate,
    judge_size,
    not_measured,
    without_pass,
)
from drupe.study.definition.spec import Criteria
from drupe.study.verdict.figures import Measured, TestedExperiment

MEGABYTE = 1_000_000
LATENCY_SHARE = 0.95


@dataclass(frozen=True)
class ExperimentEvidence:
    """Everything that an experiment is judged by; None: not there (yet).

    ``tested`` are its test predictions, ``baseline`` those to beat (None: there are none, or the
    experiment is the baseline), called ``baseline_name``; ``point`` is where the run to deploy
    would operate by itself: a certificate for the one chosen of many is the recommendation's.
    """

    tested: TestedExperiment | None = None
    baseline: TestedExperiment | None = None
    baseline_name: str = ""
    point: OperatingPoint | None = None
    export: ExportAnswer | None = None
    bench: BenchAnswer | None = None


def judge(
    criteria: Criteria, evidence: ExperimentEvidence, measured: Measured
) -> tuple[CriterionVerdict, ...]:
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


def _accuracy(
    required: float, evidence: ExperimentEvidence, measured: Measured
) -> CriterionVerdict:
    """Judge accuracy paired with the baseline where it has predictions, else by the number."""
    tested, baseline = evidence.tested, evidence.baseline
    if tested is None:
        number = f"{100 * required:g} %"
        beaten = f"{evidence.baseline_name} ({number})" if baseline else number
        return not_measured("accuracy", f"≥ {beaten}")
    correct = correct_decisions(tested.tables)
    items = np.arange(correct.shape[1])
    rate = clustered_mean_interval(correct, items, measured.confidence, sides=1)
    alone = without_pass(judge_rate("accuracy", rate, required), tested.doubt)
    if baseline is None:
        return alone
    _, difference = measured.difference(tested, baseline, sides=1)
    paired = judge_better("accuracy", difference, evidence.baseline_name)
    number = f"against {format_percent(required, decimals=2)} as a number: {alone.verdict}"
    judged = CriterionVerdict(
        criterion=paired.criterion,
        required=f"{paired.required} ({100 * required:g} %)",
        verdict=paired.verdict,
        reason=f"{paired.reason}; {number}",
        evidence=BaselineComparison(paired=difference, accuracy=rate, number=alone.verdict),
        settles_with=paired.settles_with,
    )
    return without_pass(judged, tested.doubt)


def judge_recall(
    required: float, evidence: ExperimentEvidence, confidence: float
) -> CriterionVerdict:
    """Judge recall at the certified threshold, by calibration and by the test."""
    point = evidence.point
    if point is None or point.model.calibration is None or point.model.test is None:
        return not_measured("recall", f"≥ {100 * required:g} %")
    test = point.model.test.distinct
    misses = point.test.counts.defects_accepted if point.test else 0
    judged = judge_certified_recall(
        point.certificate,
        required=required,
        confidence=confidence,
        calibration_defects=int(point.model.calibration.distinct.is_defect.sum()),
        test_misses=misses,
        test_defects=int(test.is_defect.sum()),
    )
    return without_pass(judged, point.model.test_doubt)


def _latency(limit: float, evidence: ExperimentEvidence, confidence: float) -> CriterionVerdict:
    required = f"p{100 * LATENCY_SHARE:g} < {limit:g} ms"
    timing = evidence.bench.first if evidence.bench else None
    if timing is None or not timing.samples_ms:
        return not_measured("latency", required)
    return judge_latency(timing.samples_ms, limit, share=LATENCY_SHARE, confidence=confidence)


def _size(limit_mb: float, evidence: ExperimentEvidence) -> CriterionVerdict:
    if evidence.export is None or not evidence.export.functions:
        return not_measured("size", f"< {limit_mb:g} MB")
    preferred = evidence.export.functions[0]
    return judge_size(preferred.size_bytes, round(limit_mb * MEGABYTE))
