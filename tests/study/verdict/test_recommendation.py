from __future__ import annotations

from dataclasses import replace

import pytest

from drupe.evaluation.criterion_verdict import CriterionVerdict, NotMeasured, Settlement
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.study.definition.spec import Baseline
from drupe.study.verdict.recommendation import RecommendationCandidate, recommend
from run_files import decided, write_run

BASE = Baseline(experiment="BASE", name="ResNet50")


@pytest.fixture
def candidate(tmp_path):
    """Build a certified candidate that rejects so many of 1,000 clean test items."""

    def build(
        name: str, rejected: int, p50_ms: float | None = 1.0, *criteria: CriterionVerdict
    ) -> RecommendationCandidate:
        run = write_run(
            tmp_path / name,
            test=decided(1300, range(300, 300 + rejected), defects=300),
            calibration=decided(1200, defects=600, prefix="train"),
        )
        point = operating_point(read_run_predictions(run), Request())
        return RecommendationCandidate(name, f"{name}/seed-1", criteria, point, p50_ms)

    return build


def judged(criterion: str, verdict, settles: Settlement | None = None) -> CriterionVerdict:
    return CriterionVerdict(
        criterion=criterion,
        required="≥ 99 %",
        verdict=verdict,
        reason="why",
        evidence=NotMeasured(),
        settles_with=settles,
    )


def test_the_fastest_within_the_margin_of_the_best_is_taken(candidate) -> None:
    best, near, far = candidate("BEST", 10, 50), candidate("NEAR", 15, 5), candidate("FAR", 60, 1)

    found = recommend([best, near, far], BASE, 0.02, 0.95)

    assert (found.experiment, found.run) == ("NEAR", near.run)
    assert found.text.startswith(
        "Take NEAR further: it fails no criterion and accepts 98.5 % of clean test items at the "
        "threshold certified for 99 % recall, 5 ms."
    )
    assert "BEST accepts 99.0 %, but is slower" in " ".join(found.text.split())
    assert found.changes_with == "nothing: every criterion is met"


def test_the_lower_bound_decides_not_the_point_figure(candidate) -> None:
    # 1.5 points behind, as a figure within 2; but its bound is at 2.2.
    best, near = candidate("BEST", 0, 50), candidate("NEAR", 15, 5)

    assert recommend([best, near], BASE, 0.02, 0.95).experiment == "BEST"
    assert recommend([best, near], BASE, 0.025, 0.95).experiment == "NEAR"


def test_what_fails_a_criterion_is_out_however_good(candidate) -> None:
    best = candidate("BEST", 0, 1, judged("latency", "fail"))
    good = candidate("GOOD", 90, 9)

    assert recommend([best, good], BASE, 0.02, 0.95).experiment == "GOOD"


def test_without_latencies_the_best_yield_is_taken(candidate) -> None:
    found = recommend(
        [candidate("A", 12, None), candidate("B", 10, None), candidate("C", 11, None)],
        BASE,
        0.02,
        0.95,
    )

    assert found.experiment == "B"
    assert "latency was not measured. A, C would do as well." in found.text


def test_undecided_is_no_failure_and_is_named_with_what_settles_it(candidate) -> None:
    one = judged("recall", "undecided", Settlement(1234, "fresh defects (--data)"))
    other = judged("size", "undecided")

    found = recommend([candidate("A", 10, 3.0, one, other)], BASE, 0.02, 0.95)

    assert found.experiment == "A"
    assert found.text.endswith("Still undecided: recall, size.")
    assert found.changes_with == ("recall: 1,234 further fresh defects (--data); size: why")


def test_the_baseline_is_kept_where_nothing_may_take_its_place(candidate) -> None:
    uncertified = replace(candidate("B", 10), point=None)
    failing = candidate("A", 10, 3.0, judged("accuracy", "fail"), judged("size", "fail"))

    found = recommend([failing, uncertified], BASE, 0.02, 0.95)

    assert (found.experiment, found.run) == (None, None)
    assert found.text == (
        "Keep the baseline (BASE, ResNet50). A fails accuracy, size; B has no certificate."
    )
    assert found.changes_with == "A, accuracy: a better model; A, size: a smaller model"
    assert found.model_dump()["run"] is None


def test_to_keep_the_baseline_can_be_the_rules_answer(candidate) -> None:
    found = recommend([candidate("BASE", 5, 1), candidate("A", 90, 2)], BASE, 0.02, 0.95)

    assert found.experiment == "BASE"
    assert found.text.startswith("Keep the baseline. ")


def test_to_reject_everything_is_no_answer(candidate) -> None:
    found = recommend([candidate("A", 1000)], Baseline(), 0.02, 0.95)

    assert found.experiment is None
    assert found.text == (
        "No model can be recommended. A accepts no clean item at its certified threshold."
    )


def test_nothing_finished_recommends_nothing() -> None:
    found = recommend([], Baseline(), 0.02, 0.95)

    assert found.text == "No model can be recommended. No run finished."
    assert found.changes_with == "finished runs"
