from __future__ import annotations

import json

import pytest

from drupe.errors import InputError
from drupe.study.definition.plan import plan
from drupe.study.execution.journal import Journal, Outcome
from drupe.study.verdict.assess import assess
from drupe.study.verdict.document import FailedRun
from run_files import decided, predictions
from study_files import FakeExecutor, finish, schedule, small_study, succeed, work_on

GOOD = decided(1000, prefix="train")
WHOLE = {
    "baseline": {"experiment": "BASE"},
    "criteria": {"accuracy": 0.9, "recall": 0.99, "latency_ms": 30, "size_mb": 150},
    "experiments": [
        {"id": "BASE"},
        {"id": "EXP-001", "kind": "threshold", "of": "BASE"},
        {"id": "NEW", "config": {"training": {"label_smoothing": 0.1}}},
        {"id": "EXP-004", "when": {"none_of": ["NEW"], "meet": "accuracy"}},
        {"id": "EXP-005", "kind": "comparison", "comparisons": [{"a": "NEW", "b": "EXP-004"}]},
    ],
    "comparisons": [{"a": "NEW", "b": "BASE"}, {"a": "EXP-004", "b": "BASE"}],
}


def training(**wrong):
    """Return what trains: experiments with so many wrong test items of 400, good calibration."""

    def does(job):
        if job.task.kind != "train":
            return succeed(job)
        count = wrong[job.task.experiment.replace("-", "_")]
        if count is None:
            return 2
        # Clean items stand last: what is wrong are false alarms.
        finish(job.task, decided(400, range(400 - count, 400)), GOOD)
        return 0

    return does


def verdict_of(tmp_path, does, **changes):
    work = work_on(small_study(tmp_path, **{**WHOLE, **changes}), tmp_path / "store")
    schedule(work, FakeExecutor(does))
    return assess(work, Journal(work.folder).outcomes())


def criteria_of(document, name: str) -> dict[str, str]:
    (found,) = (item for item in document["experiments"] if item["id"] == name)
    return {one["criterion"]: one["verdict"] for one in found["criteria"]}


def test_a_whole_study(tmp_path) -> None:
    found = verdict_of(tmp_path, training(BASE=40, NEW=8))
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))

    experiments = {item["id"]: item for item in document["experiments"]}
    assert criteria_of(document, "NEW") == dict.fromkeys(
        ("accuracy", "recall", "latency", "size"), "pass"
    )
    # 90 % as a number, for the baseline has nothing to be paired with.
    assert criteria_of(document, "BASE")["accuracy"] == "undecided"
    assert experiments["NEW"]["runs"] == ["NEW/seed-1", "NEW/seed-2"]
    assert experiments["NEW"]["deployed"] == "NEW/seed-1"
    assert "samples_ms" not in experiments["NEW"]["bench"]["results"][0]
    assert document["passes"] is True
    assert document["recommendation"]["experiment"] == "NEW"
    assert document["recommendation"]["run"] == "NEW/seed-1"
    assert document["decisions"]["EXP-004"]["runs"] is False
    assert (experiments["EXP-004"]["state"], experiments["EXP-005"]["state"]) == (
        "skipped",
        "missing",
    )
    assert experiments["EXP-005"]["reason"] == "no finished run of EXP-004"
    assert experiments["EXP-004"]["reason"].startswith("not run, because at least one reaches")
    assert document["failed"] == []


def test_holms_family_keeps_its_size_when_the_conditional_experiment_is_left_out(tmp_path) -> None:
    found = verdict_of(tmp_path, training(BASE=12, NEW=2))

    (one,) = found.comparisons
    assert (one.a, one.b) == ("NEW", "BASE")
    assert len(found.not_compared) == 2
    assert one.p_adjusted == pytest.approx(3 * one.paired.p_value)


def test_criteria_are_about_each_model_alone_and_a_recommendation_about_the_one_chosen(
    tmp_path,
) -> None:
    document = verdict_of(tmp_path, training(BASE=40, NEW=8)).to_json()

    experiments = {item["id"]: item for item in document["experiments"]}
    for name in ("EXP-001", "NEW"):
        assert experiments[name]["certificate"]["candidates"] == 1
        assert experiments[name]["certificate"]["confidence"] == 0.95
    # EXP-004 counts, whether it ran or not: it was planned as a candidate.
    joint = experiments["NEW"]["joint_certificate"]
    assert joint["candidates"] == document["candidates"] == 3
    assert joint["confidence"] == pytest.approx(1 - 0.05 / 3)
    assert experiments["EXP-001"]["joint_certificate"] is None
    assert criteria_of(document, "EXP-001") == {"recall": "pass"}


def test_a_model_that_is_certified_alone_may_not_be_the_one_chosen(tmp_path) -> None:
    """400 defects suffice for one model, not for the best of three: log(0.05 / 3) / log(0.99)."""

    def does(job):
        if job.task.kind != "train":
            return succeed(job)
        count = {"BASE": 40, "NEW": 8}[job.task.experiment]
        calibration = decided(1000, defects=400, prefix="train")
        finish(job.task, decided(400, range(400 - count, 400)), calibration)
        return 0

    document = verdict_of(tmp_path, does).to_json()

    assert criteria_of(document, "NEW")["recall"] == "pass"
    recommended = document["recommendation"]
    assert recommended["experiment"] is None
    # Of 200 clean test items, with every error among them, 40 and 8 are rejected.
    for name, accepted in (("BASE", "80.0"), ("NEW", "96.0")):
        assert (
            f"{name} is certified by itself for 99 % recall and accepts {accepted} % of clean test "
            "items there, but can't be certified as the one chosen of 3" in recommended["text"]
        )
    assert "or one model settled on before its results are seen" in recommended["changes_with"]
    needed = 408  # smallest n with 0.99^n <= 0.05 / 3
    assert 0.99**needed <= 0.05 / 3 < 0.99 ** (needed - 1)
    assert (
        f"NEW, to be the one chosen: {needed - 400} further calibration defects"
        in (recommended["changes_with"])
    )


def test_no_other_seed_takes_the_place_of_the_first(tmp_path) -> None:
    def does(job):
        return 2 if job.task.name == "NEW seed 1" else training(BASE=40, NEW=8)(job)

    document = verdict_of(tmp_path, does).to_json()

    (new,) = (item for item in document["experiments"] if item["id"] == "NEW")
    assert (new["state"], new["reason"]) == ("partly done", "NEW seed 1: exit code 2")
    assert (new["runs"], new["deployed"]) == (["NEW/seed-2"], None)
    assert new["certificate"] is None
    assert criteria_of(document, "NEW") == {
        "accuracy": "pass",  # of the seed that there is
        "recall": "undecided",
        "latency": "undecided",
        "size": "undecided",
    }
    assert document["recommendation"]["experiment"] == "BASE"
    assert [item["run"] for item in document["failed"]] == ["NEW seed 1"]
    assert document["comparisons"][0]["seeds"] == [2]


def test_an_experiment_that_failed_whole_says_why(tmp_path) -> None:
    found = verdict_of(tmp_path, training(BASE=40, NEW=None))

    new = next(item for item in found.experiments if item.id == "NEW")
    assert new.state == "failed"
    assert new.reason == "NEW seed 1: exit code 2; NEW seed 2: exit code 2"
    assert found.decisions["EXP-004"].reason == (
        "not run, because it can't be decided: NEW has no result"
    )
    assert not found.passes


def test_a_collapse_is_reported_as_such(tmp_path) -> None:
    found = verdict_of(tmp_path, training(BASE=40, NEW=200, EXP_004=10))

    new = next(item for item in found.experiments if item.id == "NEW")
    assert new.note == "collapsed to one decision for every item: seeds 1, 2"


def test_nothing_is_trained_to_judge(tmp_path) -> None:
    """Without its folds a run that learnt from everything has no certificate."""
    defaults = {"model": {"architecture": "test_resnet"}, "calibration": {"crossfit": 3}}
    study = small_study(tmp_path, defaults=defaults)
    work = work_on(study, tmp_path / "store")
    for task in plan(study, work.store):
        if task.kind == "train":
            finish(task, calibrated=False)

    document = assess(work, {}).to_json()

    assert [item["certificate"] for item in document["experiments"]] == [None, None]
    assert [item["state"] for item in document["experiments"]] == ["done", "done"]
    assert document["calibration"] == "cross-fitted on 3 folds (approximate)"


def test_it_says_how_calibration_was_set_aside_also_where_the_share_is_found_by_itself(
    tmp_path,
) -> None:
    auto = {"id": "AUTO", "config": {"calibration": {"holdout": "auto"}}}
    found = verdict_of(tmp_path, succeed, experiments=[{"id": "BASE"}, auto], comparisons=[])

    assert found.to_json()["calibration"] == (
        "held-out 25 % and held-out as many as allow three misses, a quarter to a half"
    )


def test_an_answer_about_an_earlier_run_does_not_count(tmp_path) -> None:
    work = work_on(small_study(tmp_path, **WHOLE), tmp_path / "store")
    schedule(work, FakeExecutor(training(BASE=40, NEW=8)))
    (work.folder / "NEW" / "seed-1" / "model.safetensors").write_bytes(b"other weights")

    document = assess(work, {}).to_json()

    assert criteria_of(document, "NEW")["latency"] == "undecided"
    assert criteria_of(document, "NEW")["size"] == "undecided"
    assert criteria_of(document, "BASE")["size"] == "pass"


def test_too_few_defects_are_said_with_how_many_it_takes(tmp_path) -> None:
    def does(job):
        if job.task.kind == "train":
            finish(job.task, decided(400), predictions(100, 1, prefix="train"))
            return 0
        return succeed(job)

    document = verdict_of(tmp_path, does).to_json()

    (new,) = (item for item in document["experiments"] if item["id"] == "NEW")
    recall = next(one for one in new["criteria"] if one["criterion"] == "recall")
    # log(0.05) / log(0.99) = 298.07, log(0.05 / 3) / log(0.99) = 407.4; 100 items hold 48 defects
    assert recall["settles_with"] == {"further": 299 - 48, "what": "calibration defects"}
    assert (
        "BASE, NEW: can't be certified as the one chosen of 3" in document["recommendation"]["text"]
    )
    assert (
        "BASE, NEW, to be the one chosen: 360 further calibration defects"
        in (document["recommendation"]["changes_with"])
    )


def test_tasks_that_the_study_no_longer_has_are_not_its_failures(tmp_path) -> None:
    work = work_on(small_study(tmp_path), tmp_path / "store")
    outcomes = {
        "GONE seed 1": Outcome("failed", "long ago"),
        "A seed 1": Outcome("failed", "killed"),
        "A seed 2": Outcome("failed", "killed"),
    }
    finish(next(task for task in plan(work.study, work.store) if task.name == "A seed 2"))

    # A seed 2 was finished since, by hand.
    assert assess(work, outcomes).failed == (FailedRun(run="A seed 1", reason="killed"),)


def test_a_threshold_that_could_not_be_certified_says_why(tmp_path) -> None:
    work = work_on(small_study(tmp_path, **WHOLE), tmp_path / "store")
    broken = Outcome("failed", "no space left on the device")

    rows = {row.id: row for row in assess(work, {"EXP-001": broken}).experiments}

    assert (rows["EXP-001"].state, rows["EXP-001"].reason) == ("failed", broken.reason)
    unknown = {row.id: row for row in assess(work, {}).experiments}["EXP-001"]
    assert (unknown.state, unknown.reason) == ("missing", "BASE has no finished run")


def test_a_damaged_answer_is_named_with_its_file(tmp_path) -> None:
    work = work_on(small_study(tmp_path, **WHOLE), tmp_path / "store")
    schedule(work, FakeExecutor(training(BASE=40, NEW=8)))
    file = work.folder / "NEW" / "export.json"
    document = json.loads(file.read_text())
    del document["answer"]["functions"][0]["size_bytes"]
    file.write_text(json.dumps(document))
    assert work.answer("NEW", "export") is None, "it isn't what was written, and is made anew"
    del document["digest"]  # an earlier version's has none
    file.write_text(json.dumps(document))

    with pytest.raises(InputError) as caught:
        assess(work, {})

    assert str(caught.value) == f"functions.0.size_bytes: required, but missing ({file})"


def test_before_anything_has_finished(tmp_path) -> None:
    work = work_on(small_study(tmp_path, **WHOLE), tmp_path / "store")

    document = json.loads(json.dumps(assess(work, {}).to_json(), allow_nan=False))

    assert {item["state"] for item in document["experiments"]} == {"missing"}
    assert document["test"] == {"images": 0, "defects": 0}
    assert document["recommendation"]["text"] == "Keep the baseline (BASE). No run finished."


def test_test_labels_that_a_model_had_picked_are_said_and_pass_nothing(tmp_path) -> None:
    honest = training(BASE=40, NEW=8)

    def does(job):
        code = honest(job)
        for file in (tmp_path / "store").rglob("run.json"):
            record = json.loads(file.read_text())
            record["data"]["fixes"] = {"suspects": {"test": 7}}
            file.write_text(json.dumps(record))
        return code

    found = verdict_of(tmp_path, does)
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    judged = criteria_of(document, "NEW")
    assert (judged["accuracy"], judged["recall"]) == ("undecided", "undecided")
    assert (judged["latency"], judged["size"]) == ("pass", "pass")
    assert document["passes"] is False
    (new,) = (item for item in found.experiments if item.id == "NEW")
    assert new.caveats == (
        "7 test labels were changed because a model disagreed, which favours models like it",
    )
    assert "7 test labels were changed" in found.recommendation.changes_with
