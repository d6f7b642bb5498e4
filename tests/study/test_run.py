from __future__ import annotations

import json

import pytest

from drupe.errors import InputError
from drupe.study.definition.loading import load_study
from drupe.study.definition.plan import plan
from drupe.study.execution.journal import Journal
from drupe.study.execution.status import is_running, outcomes_from_files, task_statuses
from drupe.study.run import Selection, current_verdict, run_study
from run_files import decided
from study_files import FakeExecutor, finish, small_study, succeed

CONDITIONAL = {
    "criteria": {"accuracy": 0.9},
    "experiments": [
        {"id": "A"},
        {"id": "B", "config": {"training": {"label_smoothing": 0.1}}},
        {"id": "C", "when": {"none_of": ["A"], "meet": "accuracy"}},
    ],
}


@pytest.fixture
def study(tmp_path, small_synthetic, monkeypatch):
    """Load studies whose data is opened without being packed."""
    monkeypatch.setattr("drupe.study.run.open_data", lambda study, store, progress: "f" * 64)

    def load(**changes):
        small_study(tmp_path, **changes)
        return load_study(tmp_path / "study.yaml", {"data": {"root": str(small_synthetic)}})

    return load


def only(*names: str) -> Selection:
    return Selection(only=frozenset(names))


def fails(*names: str) -> FakeExecutor:
    return FakeExecutor(lambda job: 2 if job.task.name in names else succeed(job))


def test_the_verdict_is_kept_and_read_again_alike(study, tmp_path) -> None:
    found = run_study(study(**CONDITIONAL), tmp_path / "store", FakeExecutor())

    kept = json.loads((tmp_path / "store/runs/small/verdict.json").read_text())
    assert kept == json.loads(json.dumps(found.to_json()))
    assert kept == json.loads(
        json.dumps(current_verdict(study(**CONDITIONAL), tmp_path / "store").to_json())
    )
    assert kept["decisions"]["C"]["runs"] is False
    assert found.is_whole


def test_a_part_of_a_study_forgets_nothing_of_the_rest(study, tmp_path) -> None:
    store = tmp_path / "store"
    first = run_study(study(**CONDITIONAL), store, fails("B seed 1", "B seed 2"))
    assert not first.is_whole

    part = run_study(study(**CONDITIONAL), store, FakeExecutor(), selection=only("A"))

    # What was chosen is whole; the verdict still names what was not.
    assert part.is_whole
    states = {item.id: item.state for item in part.verdict.experiments}
    assert states == {"A": "done", "B": "failed", "C": "skipped"}
    assert part.verdict.decisions == first.verdict.decisions
    assert part.to_json() == first.to_json()

    mended = run_study(study(**CONDITIONAL), store, FakeExecutor(), selection=only("B"))
    assert mended.is_whole
    assert mended.verdict.failed == ()


def test_the_protocol_is_frozen_before_the_first_run_starts(study, tmp_path) -> None:
    lock = tmp_path / "store/runs/small/protocol.lock.json"
    there = []

    def does(job):
        there.append(lock.exists())
        return succeed(job)

    run_study(study(), tmp_path / "store", FakeExecutor(does))

    assert there
    assert all(there)


def test_a_smoke_test_freezes_nothing(study, tmp_path) -> None:
    found = run_study(study().smoke(), tmp_path / "store", FakeExecutor())

    folder = tmp_path / "store/smoke/runs/small"
    assert sorted(path.name for path in folder.iterdir()) == [
        "A",
        "B",
        "events.jsonl",
        "smoke.json",
    ]
    assert not (tmp_path / "store/runs").exists()
    assert found.verdict.smoke


def test_one_process_works_on_a_study_at_a_time(study, tmp_path) -> None:
    def does(job):
        with pytest.raises(InputError, match="another process is working"):
            run_study(study(), tmp_path / "store", FakeExecutor())
        return succeed(job)

    run_study(study(), tmp_path / "store", FakeExecutor(does))


def test_its_status_is_known_while_the_data_is_packed(study, tmp_path, monkeypatch) -> None:
    """That may take minutes, and is the first thing that happens."""
    folder = tmp_path / "store/runs/small"
    seen = []

    def packing(study, store, progress) -> str:
        rows = task_statuses(plan(study, store), outcomes_from_files(plan(study, store), folder))
        seen.append((is_running(folder), {row.state for row in rows}))
        return "f" * 64

    monkeypatch.setattr("drupe.study.run.open_data", packing)
    run_study(study(), tmp_path / "store", FakeExecutor())

    assert seen == [(True, {"waiting"})]


def test_a_study_whose_data_can_not_be_had_leaves_nothing(study, tmp_path, monkeypatch) -> None:
    def refused(study, store, progress) -> str:
        raise InputError("no data")

    monkeypatch.setattr("drupe.study.run.open_data", refused)
    with pytest.raises(InputError, match="no data"):
        run_study(study(), tmp_path / "store", FakeExecutor())
    assert not (tmp_path / "store").exists()


def test_after_ctrl_c_the_same_command_continues(study, tmp_path) -> None:
    def does(job):
        if job.task.name == "B seed 1":
            raise KeyboardInterrupt
        return succeed(job)

    with pytest.raises(KeyboardInterrupt):
        run_study(study(), tmp_path / "store", FakeExecutor(does))
    folder = tmp_path / "store/runs/small"
    assert Journal(folder).outcomes()["B seed 1"].state == "interrupted"
    assert not (folder / "verdict.json").exists()
    executor = FakeExecutor()

    found = run_study(study(), tmp_path / "store", executor)

    assert executor.started == ["B seed 1", "A seed 2", "B seed 2"]
    assert found.verdict.failed == ()


def test_a_study_that_was_never_run_has_no_verdict(study, tmp_path) -> None:
    with pytest.raises(InputError, match="holds no study that was run"):
        current_verdict(study(), tmp_path / "store")


def test_a_changed_experiment_is_a_deviation_and_its_figures_are_the_new_ones(
    study, tmp_path
) -> None:
    run_study(study(), tmp_path / "store", FakeExecutor())

    def does(job):
        finish(job.task, decided(100, range(30)))
        return 0

    changed = [{"id": "A"}, {"id": "B", "config": {"training": {"label_smoothing": 0.1}}}]
    found = run_study(study(experiments=changed), tmp_path / "store", FakeExecutor(does))

    assert [item.what for item in found.verdict.deviations] == [
        "B.training.label_smoothing: 0.0 -> 0.1"
    ]
    figures = {item.id: item.figures for item in found.verdict.experiments}
    assert figures["B"].accuracy.mean == pytest.approx(0.7)
    assert figures["A"].accuracy.mean == 1
