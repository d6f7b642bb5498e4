from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="needs drupe[tune]")

from sqlalchemy.exc import OperationalError

from drupe.errors import DrupeError, InputError
from drupe.study.execution.executor import Ended, Job
from drupe.training.config import load_experiment
from drupe.training.preparation import prepare_data
from drupe.tuning import search as searching
from drupe.tuning.folder import TuneFolder
from drupe.tuning.request import Search
from drupe.tuning.result import Findings
from drupe.tuning.search import Budget, run_search
from study_files import FakeExecutor
from tune_files import BEST_RATE, KilledExecutor, learns, tiny_search

pytestmark = pytest.mark.thorough

Does = Callable[[Job], int]


@pytest.fixture(scope="module")
def packed(small_synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the images are packed; each test links what is in it."""
    store = tmp_path_factory.mktemp("store")
    prepare_data(tiny_search(small_synthetic).config, store)
    return store


@pytest.fixture
def store(packed: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    for item in packed.iterdir():
        (folder / item.name).symlink_to(item)
    return folder


@pytest.fixture
def search(small_synthetic: Path) -> Search:
    return tiny_search(small_synthetic)


@pytest.fixture
def does(search: Search, store: Path) -> Does:
    return learns(prepare_data(search.config, store).dataset.fingerprint)


def one_by_one(does: Callable[[Job], int | Ended]) -> FakeExecutor:
    return FakeExecutor(does, slots={"gpu": 1})


def tried(found: Findings) -> list[tuple[Any, ...]]:
    return [(one.number, dict(one.settings), one.outcome, one.scores) for one in found.trials]


def test_the_best_setting_is_found_and_written(search, store, does) -> None:
    found = run_search(search, store, one_by_one(does), Budget(24))
    assert found.counted == 24
    assert found.best is not None
    assert found.given is not None
    assert BEST_RATE / 5 < found.best.settings["training.learning_rate"] < BEST_RATE * 5
    assert found.best.scores is not None
    assert found.given.scores is not None
    assert found.best.scores.mean > found.given.scores.mean + 0.2
    assert found.importance["training.learning_rate"] > found.importance["input.views"]
    stopped = [one for one in found.trials if one.outcome == "stopped early"]
    assert stopped
    assert all(one.scores and len(one.scores.values) < 3 for one in stopped)

    folder = TuneFolder.of(store, "tiny")
    winner = load_experiment(folder.winner)
    assert winner.name == "tiny-tuned"
    assert winner.training.learning_rate == found.best.settings["training.learning_rate"]
    assert (winner.data.root, winner.data.inner) == (None, ())
    header = folder.winner.read_text()
    assert f"#   drupe train {folder.winner} --data DIR\n" in header
    assert "# Time: 10 s of training for each of 3 inner folds.\n" in header
    assert "# Score: mean clean yield at recalls from 95 % to 100 %: " in header
    assert f"# As given: {found.given.scores}; fold by fold +" in header
    assert "# Made by: drupe tune tiny.yaml --space space.yaml --data crops\n" in header
    assert json.loads(folder.document.read_text()) == json.loads(json.dumps(found.to_json()))
    assert not list(folder.path.rglob("model.safetensors")), "of runs that nobody needs any more"


def test_trials_never_see_more_than_the_fit_split(search, store, does) -> None:
    seen: list[Any] = []

    def look(job: Job) -> int:
        assert job.task.config is not None
        seen.extend(job.task.config.data.inner)
        return does(job)

    run_search(search, store, one_by_one(look), Budget(2))
    assert [(one.fold, one.folds) for one in seen] == [(0, 3), (1, 3), (2, 3)] * 2


def test_the_first_trial_is_the_experiment_as_given(search, store, does) -> None:
    found = run_search(search, store, one_by_one(does), Budget(1))
    (first,) = found.trials
    assert first.settings == {"training.learning_rate": 1e-5, "input.views": 1}
    assert found.best is first
    assert load_experiment(TuneFolder.of(store, "tiny").winner).training.learning_rate == 1e-5
    assert "Nothing that was tried is better" in TuneFolder.of(store, "tiny").winner.read_text()


def test_what_is_given_outside_the_space_is_tried_as_it_is(small_synthetic, store, does) -> None:
    space = "training.learning_rate: {low: 1e-3, high: 1e-1, log: true}"
    found = run_search(tiny_search(small_synthetic, space), store, one_by_one(does), Budget(8))
    assert found.trials[0].settings == {}
    assert found.given is not None
    assert all(1e-3 <= one.settings["training.learning_rate"] <= 1e-1 for one in found.trials[1:])


@pytest.mark.parametrize("jobs", [(0, 1, 4), (5, 8, 3), (2, 2, 2)])
def test_killed_three_times_it_tries_what_it_would_have_tried(search, store, does, jobs) -> None:
    for count in jobs:
        with pytest.raises(KeyboardInterrupt):
            run_search(search, store, KilledExecutor(does, count), Budget(9))
    continued = run_search(search, store, executor := one_by_one(does), Budget(9))

    other = store.parent / "other"
    other.mkdir()
    for item in store.iterdir():
        if item.is_symlink():
            (other / item.name).symlink_to(item.resolve())
    whole = run_search(search, other, one_by_one(does), Budget(9))
    assert tried(continued) == tried(whole)
    assert len(executor.started) == len(set(executor.started)), "no run was done twice"
    assert continued.counted == 9


def test_trials_are_counted_over_all_calls(search, store, does) -> None:
    run_search(search, store, one_by_one(does), Budget(3))
    again = one_by_one(does)
    assert run_search(search, store, again, Budget(3)).counted == 3
    assert again.started == []
    more = one_by_one(does)
    assert run_search(search, store, more, Budget(5)).counted == 5
    assert {name.rpartition("-fold-")[0] for name in more.started} == {
        "tiny-trial-0003",
        "tiny-trial-0004",
    }


def test_two_workers_try_two_trials_at_once(search, store, does) -> None:
    executor = FakeExecutor(does, slots={"gpu": 2})
    found = run_search(search, store, executor, Budget(14))
    assert found.counted == 14
    assert found.best is not None
    assert BEST_RATE / 10 < found.best.settings["training.learning_rate"] < BEST_RATE * 10
    assert max(map(len, executor.at_once)) == 2
    for together in executor.at_once:
        assert len({name.rpartition("-fold-")[0] for name in together}) == len(together)


def test_the_time_is_a_limit(search, store, does) -> None:
    executor = one_by_one(does)
    found = run_search(search, store, executor, Budget(3, seconds=0.0))
    assert (found.trials, executor.started, executor.stopped) == ([], [], True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"experiment": {"training": {"epochs": 3}}}, "training.epochs: it has 2, now 3"),
        ({"space": "input.views: [1, 2, 4]"}, r"space.input.views: it has \[1, 2\], now \[1, 2, 4"),
        ({"folds": 4}, "folds: it has 3, now 4"),
        ({"latency_ms": 5.0}, "latency: it has None, now 5.0"),
    ],
)
def test_another_search_is_refused_and_nothing_lost(
    small_synthetic, search, store, does, change, named
) -> None:
    before = run_search(search, store, one_by_one(does), Budget(2))
    database = TuneFolder.of(store, "tiny").database
    content = database.read_bytes()
    other = tiny_search(small_synthetic, **change)
    with pytest.raises(InputError, match=f"holds another search .*{named}"):
        run_search(other, store, one_by_one(does), Budget(2))
    assert database.read_bytes() == content
    assert tried(run_search(search, store, one_by_one(does), Budget(2))) == tried(before)


def test_other_threads_or_another_place_are_the_same_search(
    small_synthetic, search, store, does
) -> None:
    run_search(search, store, one_by_one(does), Budget(1))
    same = tiny_search(small_synthetic, experiment={"training": {"threads": 1}, "hypothesis": "h"})
    assert run_search(same, store, one_by_one(does), Budget(1)).counted == 1


def test_a_damaged_store_is_named_and_left(search, store, does) -> None:
    database = TuneFolder.of(store, "tiny").database
    database.parent.mkdir(parents=True)
    database.write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match=r"search\.db: must be the database of a search"):
        run_search(search, store, one_by_one(does), Budget(1))
    assert database.read_bytes() == b"no database" * 100


def test_a_full_disk_names_the_database(search, store, does, monkeypatch) -> None:
    def full(self):
        raise OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))

    monkeypatch.setattr(searching.Ledger, "ask", full)
    with pytest.raises(
        InputError, match=r"search\.db: can't be written \(database or disk is full"
    ):
        run_search(search, store, one_by_one(does), Budget(1))


def test_an_edited_score_is_noticed(search, store, does) -> None:
    """The winner would be another."""
    run_search(search, store, one_by_one(does), Budget(2))
    database = TuneFolder.of(store, "tiny").database
    with closing(sqlite3.connect(database)) as connection, connection:
        ((row, text),) = connection.execute(
            "select trial_user_attribute_id, value_json from trial_user_attributes "
            "where key = 'account' order by trial_id limit 1"
        )
        account = json.loads(text)
        account["scores"][0] += 0.125
        connection.execute(
            "update trial_user_attributes set value_json = ? where trial_user_attribute_id = ?",
            (json.dumps(account), row),
        )

    with pytest.raises(InputError, match=r"search\.db: damaged: what it says of trial 0"):
        run_search(search, store, one_by_one(does), Budget(2))


def test_an_experiment_that_fails_as_given_stops_the_search(search, store, does) -> None:
    def fail(job: Job) -> int:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.write_text("error: no weights\n")
        return 2

    with pytest.raises(DrupeError, match="as given can't be trained: exit code 2: no weights"):
        run_search(search, store, one_by_one(fail), Budget(2))
    found = run_search(search, store, one_by_one(does), Budget(2))
    assert [one.number for one in found.whole] == [0, 1]


def only_the_first(does: Does, otherwise: int) -> Callable[[Job], int]:
    return lambda job: does(job) if "trial-0000" in job.task.name else otherwise


def test_a_trial_that_fails_is_told_and_others_follow(search, store, does) -> None:
    def fail(job: Job) -> int:
        return 2 if "trial-0001" in job.task.name else does(job)

    found = run_search(search, store, one_by_one(fail), Budget(4))
    assert [one.outcome for one in found.trials] == ["scored", "failed", "scored", "scored"]
    assert found.trials[1].reason == "exit code 2"
    assert found.counted == 4


def test_nothing_but_failures_ends_the_search(search, store, does) -> None:
    with pytest.raises(DrupeError, match="the last 10 trials failed, the last one with exit code"):
        run_search(search, store, one_by_one(only_the_first(does, 2)), Budget(100))


def test_a_run_that_was_killed_is_tried_again(search, store, does) -> None:
    killed: list[str] = []

    def die_once(job: Job) -> int:
        if job.task.name in killed:
            return does(job)
        killed.append(job.task.name)
        return -9

    executor = one_by_one(die_once)
    assert run_search(search, store, executor, Budget(1)).counted == 1
    assert len(executor.started) == 6


def test_a_lost_machine_is_no_failure(search, store, does) -> None:
    lost: list[str] = []

    def lose_once(job: Job) -> int | Ended:
        if job.task.name in lost:
            return does(job)
        lost.append(job.task.name)
        return Ended(job.task, -9, lost=True)

    assert run_search(search, store, one_by_one(lose_once), Budget(1)).counted == 1


def test_settings_that_can_not_be_had_together_are_passed_over(
    small_synthetic, store, does
) -> None:
    space = "augmentation.blur_kernel: {low: 3, high: 31}"  # even ones can't be
    found = run_search(tiny_search(small_synthetic, space), store, one_by_one(does), Budget(6))
    assert found.counted == 6
    impossible = [one for one in found.trials if one.outcome == "impossible"]
    assert impossible
    assert all("blur_kernel must be odd" in one.reason for one in impossible)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Latencies by views: 4 ms each; what was measured, and how much ran meanwhile."""
    asked: list[tuple[str, int]] = []

    def measure(config, geometry) -> float:
        asked.append((config.model.architecture, geometry.views))
        return 4.0 * geometry.views

    monkeypatch.setattr(searching, "measure_latency", measure)
    return asked


def test_what_is_too_slow_is_never_trained(small_synthetic, store, does, measured) -> None:
    search = tiny_search(small_synthetic, latency_ms=5.0)
    found = run_search(search, store, one_by_one(does), Budget(6))
    assert found.counted == 6
    slow = [one for one in found.trials if one.outcome == "too slow"]
    assert slow
    assert {one.settings["input.views"] for one in slow} == {2}
    assert {one.reason for one in slow} == {"p95 8.00 ms, allowed 5 ms"}
    assert {one.latency_ms for one in found.whole} == {4.0}
    assert sorted(measured) == [("test_resnet", 1), ("test_resnet", 2)], "once each"
    run_search(search, store, one_by_one(does), Budget(8))
    assert len(measured) == 2, "kept with the search"
    assert not list(TuneFolder.of(store, "tiny").path.glob(f"trial-{slow[0].number:04}/*"))


def test_a_latency_is_measured_while_nothing_runs(
    small_synthetic, store, does, monkeypatch
) -> None:
    executor = FakeExecutor(does, slots={"gpu": 2})
    meanwhile: list[int] = []

    def measure(config, geometry) -> float:
        meanwhile.append(len(executor.running))
        return 1.0

    monkeypatch.setattr(searching, "measure_latency", measure)
    search = tiny_search(small_synthetic, latency_ms=5.0)
    assert run_search(search, store, executor, Budget(8)).counted == 8
    assert meanwhile == [0, 0]


def test_nothing_within_the_latency_ends_the_search(small_synthetic, store, does, measured) -> None:
    search = tiny_search(small_synthetic, latency_ms=1.0)
    with pytest.raises(DrupeError, match="the last 50 settings drawn could not be tried"):
        run_search(search, store, one_by_one(does), Budget(6))


def test_an_inner_fold_of_its_own_is_refused(small_synthetic) -> None:
    with pytest.raises(InputError, match=r"data\.inner: is set by the search itself"):
        tiny_search(small_synthetic, experiment={"data": {"inner": {"fold": 0, "folds": 3}}})


def test_cross_fitting_is_warned_of(small_synthetic) -> None:
    (caveat,) = tiny_search(small_synthetic, experiment={"calibration": {"crossfit": 3}}).caveats
    assert "the search reads what cross-fitting certifies on" in caveat
    assert tiny_search(small_synthetic).caveats == ()
