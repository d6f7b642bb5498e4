from __future__ import annotations

from dataclasses import replace

import pytest

from drupe.evaluation.certificate import Certificate
from drupe.evaluation.criterion_verdict import (
    BaselineComparison,
    Evidence,
    LatencyEvidence,
    NotMeasured,
    RecallEvidence,
    SizeEvidence,
)
from drupe.evaluation.intervals import Proportion
from drupe.evaluation.paired import ClusteredMean, PairedDifference
from drupe.reporting.verdict import evidence_text, smoke_markdown, verdict_markdown
from drupe.study.verdict.assess import assess
from drupe.study.verdict.document import FailedRun, StudyVerdict
from drupe.study.verdict.smoke_checks import Check
from run_files import decided, predictions
from study_files import FakeExecutor, finish, schedule, small_study, succeed, work_on

RATE = ClusteredMean(0.909, 0.89044, 0.92561, 0.95, 1, 3, 800, 800, 812.5)
DIFFERENCE = PairedDifference(-0.012, -0.031, 0.008, 0.01, 0.2, 0.95, 1, 800, 800, 90)
COMPARISON = BaselineComparison(paired=DIFFERENCE, accuracy=RATE, number="fail")
CERTIFICATE = Certificate(0.2, 0.99, 0.95, 473, 300, 1, 1, 250)
TEST = Proportion(385, 386, sides=1)


def recall(certificate: Certificate | None) -> RecallEvidence:
    return RecallEvidence(certificate=certificate, test=TEST, refutation_p_value=0.9)


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (RATE, "90.9 % (89.0-92.6)"),
        (Proportion(0, 100, sides=1), "0 % (0-3.0)"),
        (DIFFERENCE, "-1.2 (-3.1 to +0.8)"),
        (COMPARISON, "-1.2 (-3.1 to +0.8)"),
        (recall(CERTIFICATE), "misses 1 of 386"),
        (recall(replace(CERTIFICATE, approximate="5 networks")), "misses 1 of 386, approx."),
        (recall(None), "no certificate"),
        (
            LatencyEvidence(
                quantile=0.95, value_ms=3.456, low_ms=3.0, high_ms=4.0, samples=500, confidence=0.95
            ),
            "3.46 ms",
        ),
        (SizeEvidence(size_bytes=13_460_000), "13.5 MB"),
        (NotMeasured(), "not measured"),
    ],
)
def test_evidence_is_said_in_a_few_characters(evidence: Evidence, text: str) -> None:
    assert evidence_text(evidence) == text


@pytest.fixture
def verdict(tmp_path) -> StudyVerdict:
    """The verdict on A, certified, and B, whose calibration has too few defects."""

    def does(job):
        if job.task.kind != "train":
            return succeed(job)
        good = decided(1000, prefix="train")
        few = predictions(100, 1, prefix="train")
        finish(job.task, decided(400, range(392, 400)), good if job.task.experiment == "A" else few)
        return 0

    work = work_on(small_study(tmp_path, criteria={"accuracy": 0.9}), tmp_path / "store")
    schedule(work, FakeExecutor(does))
    return assess(work, {})


def test_certified_thresholds_and_refusals_are_rows(verdict) -> None:
    lines = verdict_markdown(verdict).splitlines()
    start = lines.index("## At the certified threshold")
    rows = [line for line in lines[start : lines.index("## Planned comparisons")] if "| " in line]

    threshold = verdict.experiments[0].certificate.threshold
    assert rows[2] == f"| A | {threshold:.4g} | 500 | 1 | 0 of 200 | 98.5 % | 96.0 % |"
    refusal = "recall ≥ 0.99 can't be certified at confidence 0.95: it takes at least 299 distinct "
    assert rows[3] == f"| B | none: {refusal}defects in calibration, got 48 | | | | | |"


def test_a_smoke_test_says_what_did_not_run(verdict) -> None:
    failed = verdict.model_copy(update={"failed": (FailedRun(run="A seed 1", reason="killed"),)})
    checks = [Check("images counted", True, "fit 9"), Check("folds run", False, "A: killed")]

    text = smoke_markdown(failed, checks)

    assert "Something did not run." in text
    assert "| images counted | yes | fit 9 |" in text
    assert "| folds run | **no** | A: killed |" in text
    assert text.endswith("\nFailed: A seed 1: killed\n")
    assert "Everything ran." in smoke_markdown(verdict, checks[:1])
