from __future__ import annotations

import pytest

from drupe.deployment.answers import BenchAnswer, ExportAnswer
from drupe.evaluation.criterion_verdict import BaselineComparison, RecallEvidence
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import OperatingPoint, Request, operating_point
from drupe.study.definition.spec import Criteria
from drupe.study.verdict.evidence import ExperimentEvidence, judge, judge_recall
from drupe.study.verdict.figures import Measured, measure
from run_files import decided, predictions, write_run
from study_files import exported, timed

BARE = Criteria(accuracy=0.9405, recall=None)


def accuracy_of(folder, *right: int) -> tuple[Measured, ExperimentEvidence]:
    """Return one experiment that has so many of 1,226 crops right, by seed."""
    found = [
        (seed, write_run(folder / str(seed), test=decided(1226, range(1226 - count), defects=566)))
        for seed, count in enumerate(right)
    ]
    measured = measure({"A": found}, 0.95)
    return measured, ExperimentEvidence(tested=measured.tested["A"])


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        # Binomial tails of 1,226 at 0.9405, summed as exact fractions
        (1167, "pass"),  # P(X ≥ 1,167) = 0.0489
        (1166, "undecided"),  # 0.0633
        (1139, "undecided"),  # P(X ≤ 1,139) = 0.0538
        (1138, "fail"),  # 0.0424
    ],
)
def test_a_run_alone_needs_1167_of_1226_for_9405_as_a_number(tmp_path, right, verdict) -> None:
    measured, evidence = accuracy_of(tmp_path, right)

    (judged,) = judge(BARE, evidence, measured)

    assert judged.verdict == verdict
    assert judged.required == "≥ 94.05 %"
    assert (judged.settles_with is not None) == (verdict == "undecided")


def test_three_alike_seeds_prove_no_more_than_one(tmp_path) -> None:
    measured, evidence = accuracy_of(tmp_path, 1166, 1166, 1166)

    assert judge(BARE, evidence, measured)[0].verdict == "undecided"


@pytest.mark.parametrize(
    ("wrong", "baseline", "verdict", "number"),
    [
        (range(12), range(60), "pass", "pass"),
        (range(60), range(12), "fail", "undecided"),
        (range(40), range(41), "undecided", "pass"),
        # Worse than the number, and yet better than the baseline that was trained here.
        (range(100), range(160), "pass", "fail"),
    ],
)
def test_accuracy_is_paired_with_the_baseline_where_it_has_predictions(
    tmp_path, wrong, baseline, verdict, number
) -> None:
    runs = {
        name: [(1, write_run(tmp_path / name, test=decided(1226, places)))]
        for name, places in (("A", wrong), ("BASE", baseline))
    }
    measured = measure(runs, 0.95)
    evidence = ExperimentEvidence(
        tested=measured.tested["A"], baseline=measured.tested["BASE"], baseline_name="BASE"
    )

    (judged,) = judge(BARE, evidence, measured)

    assert isinstance(judged.evidence, BaselineComparison)
    assert (judged.verdict, judged.evidence.number) == (verdict, number)
    assert judged.evidence.paired.sides == 1
    assert judged.required == "≥ BASE (94.05 %)"
    assert f"against 94.05 % as a number: {number}" in judged.reason


def certified(folder, candidates: int = 1, missed: int = 0, **others) -> OperatingPoint:
    run = write_run(folder, test=decided(1226, range(missed), defects=566), **others)
    return operating_point(read_run_predictions(run), Request(candidates=candidates))


GOOD = decided(1000, prefix="train")


@pytest.mark.parametrize(
    ("missed", "verdict"),
    [
        (0, "pass"),
        (9, "pass"),  # P(Bin(566, 0.01) ≥ 9) = 0.119
        (10, "pass"),  # 0.062
        (11, "fail"),  # 0.029
        (566, "fail"),
    ],
)
def test_a_certificate_passes_unless_the_test_refutes_it(tmp_path, missed, verdict) -> None:
    point = certified(tmp_path, missed=missed, calibration=GOOD)

    judged = judge_recall(0.99, ExperimentEvidence(point=point), 0.95)

    assert judged.verdict == verdict
    assert isinstance(judged.evidence, RecallEvidence)
    assert judged.evidence.test.trials == 566


def test_an_approximate_certificate_alone_is_undecided_but_can_fail(tmp_path) -> None:
    text = "the scores come from 5 networks"
    point = certified(tmp_path / "a", calibration=GOOD, approximate=text)
    refuted = certified(tmp_path / "b", missed=11, calibration=GOOD, approximate=text)

    judged = judge_recall(0.99, ExperimentEvidence(point=point), 0.95)

    assert judged.verdict == "undecided"
    assert judged.settles_with is not None
    assert (judged.settles_with.further, judged.settles_with.what) == (
        299,
        "fresh defects (--data)",
    )
    assert judge_recall(0.99, ExperimentEvidence(point=refuted), 0.95).verdict == "fail"


def test_labels_that_a_model_had_picked_pass_nothing_and_can_fail(tmp_path) -> None:
    for name, suspects in (("c", {"calibration": 2}), ("t", {"test": 1})):
        point = certified(tmp_path / name, calibration=GOOD, suspects=suspects)
        judged = judge_recall(0.99, ExperimentEvidence(point=point), 0.95)
        assert judged.verdict == "undecided"
        assert "changed because a model disagreed" in judged.reason
    harmless = certified(tmp_path / "f", calibration=GOOD, suspects={"fit": 9})
    assert judge_recall(0.99, ExperimentEvidence(point=harmless), 0.95).verdict == "pass"
    refuted = certified(tmp_path / "r", missed=11, calibration=GOOD, suspects={"test": 1})
    assert judge_recall(0.99, ExperimentEvidence(point=refuted), 0.95).verdict == "fail"

    runs = [(1, write_run(tmp_path / "a", test=decided(1226, defects=566), suspects={"test": 1}))]
    measured = measure({"A": runs}, 0.95)
    (accuracy,) = judge(BARE, ExperimentEvidence(tested=measured.tested["A"]), measured)
    assert accuracy.verdict == "undecided"
    assert "1 test label was changed" in accuracy.reason


@pytest.mark.parametrize(("defects", "verdict"), [(298, "undecided"), (299, "pass")])
def test_too_few_defects_say_how_many_are_missing(tmp_path, defects, verdict) -> None:
    """log(0.05) / log(0.99) = 298.07 defects."""
    calibration = decided(1000, defects=defects, prefix="train")
    point = certified(tmp_path, calibration=calibration)

    judged = judge_recall(0.99, ExperimentEvidence(point=point), 0.95)

    assert judged.verdict == verdict
    if verdict == "undecided":
        assert judged.settles_with is not None
        assert (judged.settles_with.further, judged.settles_with.what) == (
            1,
            "calibration defects",
        )


def answered(milliseconds: float, size_bytes: int) -> ExperimentEvidence:
    return ExperimentEvidence(
        bench=BenchAnswer.model_validate(timed(milliseconds)),
        export=ExportAnswer.model_validate(exported(size_bytes)),
    )


def test_latency_and_size_come_from_bench_and_export(tmp_path) -> None:
    asked = Criteria(recall=None, latency_ms=30, size_mb=150)
    measured = measure({}, 0.95)

    none = judge(asked, ExperimentEvidence(), measured)
    assert [(one.verdict, one.reason) for one in none] == [("undecided", "not measured")] * 2
    fast = judge(asked, answered(9.0, 10_000_000), measured)
    assert [one.verdict for one in fast] == ["pass", "pass"]
    slow = judge(asked, answered(30.0, 150_000_000), measured)
    assert [one.verdict for one in slow] == ["fail", "fail"]


def test_what_was_not_measured_is_undecided_and_what_is_not_asked_is_not_judged(tmp_path) -> None:
    run = write_run(tmp_path, test=predictions(100, 1))
    measured = measure({"A": [(1, run)]}, 0.95)

    judged = judge(Criteria(accuracy=0.9), ExperimentEvidence(), measured)

    assert [(one.criterion, one.verdict) for one in judged] == [
        ("accuracy", "undecided"),
        ("recall", "undecided"),
    ]
    assert judge(Criteria(recall=None), ExperimentEvidence(), measured) == ()
