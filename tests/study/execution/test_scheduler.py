from __future__ import annotations

import json

import pytest

from drupe.runs.record import read_record
from drupe.study.definition.plan import plan
from drupe.study.execution.executor import Ended
from drupe.study.execution.journal import Journal
from drupe.study.execution.scheduler import LOST_TRIES, Scheduler
from run_files import decided
from study_files import FakeExecutor, finish, schedule, small_study, succeed, work_on

WHOLE = {"criteria": {"accuracy": 0.9, "latency_ms": 30, "size_mb": 150}}
CONDITIONAL = {
    "criteria": {"accuracy": 0.9},
    "experiments": [
        {"id": "C", "when": {"none_of": ["A", "B"], "meet": "accuracy"}},
        {"id": "A"},
        {"id": "B"},
    ],
}


def states(outcomes) -> dict[str, str]:
    return {name: outcome.state for name, outcome in outcomes.items()}


def test_first_seeds_come_first_and_the_exclusive_lane_is_alone(tmp_path) -> None:
    executor = FakeExecutor()

    outcomes = schedule(work_on(small_study(tmp_path, **WHOLE), tmp_path / "store"), executor)

    trained = [name for name in executor.started if "seed" in name]
    assert trained == ["A seed 1", "B seed 1", "A seed 2", "B seed 2"]
    assert executor.started[-2:] == ["A bench", "B bench"]
    assert frozenset({"A bench"}) in executor.at_once
    assert frozenset({"B bench"}) in executor.at_once
    assert frozenset({"A seed 1", "B seed 1"}) in executor.at_once
    assert set(states(outcomes).values()) == {"done"}


def test_lanes_overlap_and_none_is_overfull(tmp_path) -> None:
    executor = FakeExecutor(slots={"gpu": 1, "cpu": 1})  # which asserts that it is never overfull

    schedule(work_on(small_study(tmp_path, **WHOLE), tmp_path / "store"), executor)

    assert any({"A export"} < names for names in executor.at_once)
    assert not any(sum("seed" in name for name in names) > 1 for names in executor.at_once)


def test_finished_work_is_not_redone(tmp_path) -> None:
    work = work_on(small_study(tmp_path, **WHOLE), tmp_path / "store")
    schedule(work, FakeExecutor())
    executor = FakeExecutor()

    outcomes = schedule(work, executor)

    assert executor.started == []
    assert outcomes["A seed 1"].reason == "done before"
    assert outcomes["B bench"].reason == "done before"


def test_a_slow_certificate_holds_up_no_start(tmp_path) -> None:
    """The first certificate takes as long as everything that doesn't need it."""
    executor = FakeExecutor(slots={"gpu": 1, "cpu": 1})
    take = executor.ended

    def ended(seconds: float):
        executor.running.sort(key=lambda job: job.task.name == "A certify")  # the last to end
        return take(seconds)

    executor.ended = ended
    outcomes = schedule(work_on(small_study(tmp_path), tmp_path / "store"), executor)

    beside = set().union(*(names for names in executor.at_once if "A certify" in names))
    assert {"B seed 1", "A seed 2", "B seed 2"} <= beside
    assert executor.certified == ["A certify", "B certify"]
    assert set(states(outcomes).values()) == {"done"}


def test_a_certificate_that_is_killed_is_made_again_and_a_failure_is_its_own(tmp_path) -> None:
    ends = {"A certify": iter([-9]), "B certify": iter([1])}

    def certifies(job):
        return next(ends[job.task.name], 0) or succeed(job)

    executor = FakeExecutor(certifies=certifies)
    work = work_on(small_study(tmp_path, **WHOLE), tmp_path / "store")

    outcomes = schedule(work, executor)

    assert executor.certified.count("A certify") == 2
    assert outcomes["A certify"].reason.startswith("certified at ")
    assert outcomes["A bench"].state == "done"
    assert (outcomes["B certify"].state, outcomes["B certify"].reason) == ("failed", "exit code 1")
    assert outcomes["B export"].reason == "B certify has no result"
    events = [e.reason for e in Journal(work.folder).events() if e.task == "A certify"]
    assert "killed by signal 9: to be tried again" in events


def test_a_killed_run_is_tried_again_and_others_go_on(tmp_path) -> None:
    kills = iter([-9])

    def does(job):
        killed = job.task.name == "A seed 1" and next(kills, 0)
        return killed or succeed(job)

    executor = FakeExecutor(does)
    work = work_on(small_study(tmp_path), tmp_path / "store")

    outcomes = schedule(work, executor)

    assert executor.started.count("A seed 1") == 2
    assert set(states(outcomes).values()) == {"done"}
    events = [e.reason for e in Journal(work.folder).events() if e.task == "A seed 1"]
    assert "killed by signal 9: to be tried again" in events


def test_retries_end_and_the_failure_takes_along_only_what_needs_it(tmp_path) -> None:
    def does(job):
        if job.task.name != "A seed 1":
            return succeed(job)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.write_text("epoch 1\nepoch 2\nout of memory\n")
        return -9

    executor = FakeExecutor(does)
    outcomes = schedule(work_on(small_study(tmp_path, retries=2), tmp_path / "store"), executor)

    assert executor.started.count("A seed 1") == 3
    assert outcomes["A seed 1"].state == "failed"
    assert outcomes["A seed 1"].reason == ("killed by signal 9: epoch 1 / epoch 2 / out of memory")
    assert (outcomes["A certify"].state, outcomes["A certify"].reason) == (
        "skipped",
        "A seed 1 has no result",
    )
    others = {name: state for name, state in states(outcomes).items() if name[0] == "B"}
    assert set(others.values()) == {"done"}
    assert outcomes["A seed 2"].state == "done"


def test_what_fails_by_itself_is_not_tried_again(tmp_path) -> None:
    executor = FakeExecutor(lambda job: 2 if job.task.name == "B seed 2" else succeed(job))

    outcomes = schedule(work_on(small_study(tmp_path), tmp_path / "store"), executor)

    assert executor.started.count("B seed 2") == 1
    assert outcomes["B seed 2"].reason == "exit code 2"
    assert outcomes["B certify"].state == "done"  # of the first seed


def test_a_lost_machine_costs_no_retry_but_not_for_ever(tmp_path) -> None:
    ends = iter([*[("lost", -9)] * 2, ("killed", -9), ("done", 0)])

    def does(job):
        if job.task.name != "A seed 1":
            return succeed(job)
        how, code = next(ends)
        return succeed(job) if how == "done" else Ended(job.task, code, lost=how == "lost")

    executor = FakeExecutor(does)
    outcomes = schedule(work_on(small_study(tmp_path), tmp_path / "store"), executor)
    assert executor.started.count("A seed 1") == 4
    assert outcomes["A seed 1"].state == "done"

    def lose(job):
        return Ended(job.task, 1, lost=True) if job.task.name == "A seed 1" else succeed(job)

    executor = FakeExecutor(lose)
    outcomes = schedule(work_on(small_study(tmp_path), tmp_path / "other"), executor)
    assert executor.started.count("A seed 1") == LOST_TRIES + 1
    assert outcomes["A seed 1"].reason == "its machine was lost"


@pytest.mark.parametrize(
    ("wrong", "runs"), [({"A": 20, "B": 20}, True), ({"A": 5, "B": 20}, False)]
)
def test_a_condition_is_decided_after_what_it_waits_for(tmp_path, wrong, runs) -> None:
    def does(job):
        finish(job.task, decided(100, range(wrong.get(job.task.experiment, 0))))
        return 0

    executor = FakeExecutor(does)
    work = work_on(small_study(tmp_path, **CONDITIONAL), tmp_path / "store")
    scheduler = Scheduler(
        plan(work.study, work.store), work, executor, Journal(work.folder), lambda outcomes: None
    )

    outcomes = scheduler.run()

    assert ("C seed 1" in executor.started) == runs
    assert outcomes["C seed 1"].state == ("done" if runs else "skipped")
    assert outcomes["C certify"].state == ("done" if runs else "skipped")
    first_c = executor.started.index("C seed 1") if runs else 4
    assert first_c == 4  # after both seeds of A and B
    reason = scheduler.decisions["C"].reason
    if runs:
        assert reason == "run, because none reaches 90.00 %: A 80.00 %, B 80.00 %"
    else:
        assert reason == "not run, because at least one reaches 90.00 %: A 95.00 %, B 80.00 %"
        assert outcomes["C seed 2"].reason == reason


def test_a_condition_counts_the_runs_of_now_only(tmp_path) -> None:
    store = tmp_path / "store"
    old = work_on(small_study(tmp_path, **CONDITIONAL), store)
    for task in plan(old.study, store):
        if task.kind == "train" and task.experiment in "AB":
            finish(task)  # all right
    defaults = {"model": {"architecture": "test_resnet"}, "training": {"epochs": 3}}
    new = work_on(small_study(tmp_path, **CONDITIONAL, defaults=defaults), store)

    outcomes = schedule(new, FakeExecutor(), plan(new.study, store, only={"C"}))

    assert outcomes["C seed 1"].state == "skipped"
    assert outcomes["C seed 1"].reason == (
        "not run, because it can't be decided: A has no result, B has no result"
    )


def test_ctrl_c_stops_what_runs_and_says_so(tmp_path) -> None:
    def does(job):
        if job.task.name == "A seed 1":
            return succeed(job)
        raise KeyboardInterrupt

    work, executor = work_on(small_study(tmp_path), tmp_path / "store"), FakeExecutor(does)

    with pytest.raises(KeyboardInterrupt):
        schedule(work, executor)

    assert executor.stopped
    last = Journal(work.folder).outcomes()
    assert last["A seed 1"].state == "done"
    assert last["B seed 1"].state == "interrupted"
    assert last["B seed 1"].reason == "the study was stopped"
    again = FakeExecutor()
    assert set(states(schedule(work, again)).values()) == {"done"}
    assert "A seed 1" not in again.started


def test_a_changed_experiment_is_run_anew_and_the_old_one_kept(tmp_path) -> None:
    store = tmp_path / "store"
    schedule(work_on(small_study(tmp_path), store), FakeExecutor())
    experiments = [{"id": "A"}, {"id": "B", "config": {"training": {"label_smoothing": 0.1}}}]
    work, executor = work_on(small_study(tmp_path, experiments=experiments), store), FakeExecutor()
    old = read_record(work.folder / "B" / "seed-1").identity

    outcomes = schedule(work, executor)

    assert executor.started == ["B seed 1", "B seed 2"]
    assert set(states(outcomes).values()) == {"done"}
    assert read_record(work.folder / "B" / "seed-1").identity != old
    (kept,) = (work.folder / "superseded").glob("B-seed-1-*")
    assert read_record(kept).identity == old
    reasons = [event.reason for event in Journal(work.folder).events() if event.state == "running"]
    assert sum(str(kept) in reason for reason in reasons) == 1


def test_a_run_on_other_data_than_the_studys_is_no_result(tmp_path) -> None:
    def does(job):
        finish(job.task, fingerprint="e" * 64 if job.task.name == "A seed 2" else "f" * 64)
        return 0

    outcomes = schedule(work_on(small_study(tmp_path), tmp_path / "store"), FakeExecutor(does))

    assert outcomes["A seed 2"].state == "failed"
    assert "have the images, labels or fixes changed" in outcomes["A seed 2"].reason
    assert outcomes["B seed 2"].state == "done"


def test_an_answer_that_is_no_json_is_that_tasks_failure(tmp_path) -> None:
    def does(job):
        code = succeed(job)
        if job.task.name == "A export":
            job.answer.write_text("{")
        return code

    outcomes = schedule(
        work_on(small_study(tmp_path, **WHOLE), tmp_path / "store"), FakeExecutor(does)
    )

    assert outcomes["A export"].state == "failed"
    assert outcomes["A bench"].reason == "A export has no result"
    assert outcomes["B bench"].state == "done"
    assert json.loads((tmp_path / "store/runs/small/B/bench.json").read_text())["answer"]
