"""States of labels, their runs, and what a ranking leaves out; runs are written, not trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from drupe.data.fixes import Fix
from drupe.data.label_history import read_history
from drupe.data.overlay import find_fixes, history_folder, restore_fixes
from drupe.data.synthetic.generation import synthesise
from drupe.errors import DrupeError, InputError
from drupe.labels.effect import (
    EffectRequest,
    LabelState,
    changed_labels,
    open_state,
    runs_effect,
    train_effect,
    without_worst,
)
from drupe.labels.ranking import RankedLabel
from drupe.study.execution.executor import Job
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import prepare_data
from run_files import predictions, seal
from study_files import FakeExecutor, finish

REQUEST = EffectRequest(seeds=2)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 crops, some of them copies of each other, some labelled wrongly; read only."""
    folder = tmp_path_factory.mktemp("effect") / "crops"
    synthesise(folder, images=120, size=48, seed=3, label_noise=0.1, duplicates=6)
    return folder


@pytest.fixture(scope="module")
def packed(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the pack and the copies of ``crops``; read only."""
    store = tmp_path_factory.mktemp("packed")
    prepare_data(recipe(crops), store)
    return store


@pytest.fixture
def store(packed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(packed, tmp_path / "store")


@pytest.fixture
def config(crops: Path) -> ExperimentConfig:
    return recipe(crops)


def recipe(crops: Path) -> ExperimentConfig:
    return ExperimentConfig.model_validate(
        {
            "name": "tiny",
            "seed": 7,
            "model": {"architecture": "test_resnet", "pretrained": False},
            "input": {"size": 48},
            "data": {"root": crops},
        }
    )


def relabel(state: LabelState, store: Path, side: str, count: int) -> None:
    """Turn the labels of the first ``count`` items of a split round, as a new state."""
    dataset = state.prepared.dataset
    items = getattr(state.prepared.split, side)[:count].tolist()
    fixes = [
        Fix(
            dataset.paths[index],
            "relabel",
            dataset.classes[int(not dataset.is_defect[index])],
            sha256=dataset.digests[index],
        )
        for index in items
    ]
    root = state.config.data.root
    assert root is not None
    restore_fixes(root, store, fixes, "turned round")


def writes(store: Path, better: str = "") -> Callable[[Job], int]:
    """Return what writes the run of a job; of the state ``better`` a sharper one."""

    def run(job: Job) -> int:
        config = job.task.config
        assert config is not None
        fingerprint = prepare_data(config, store).dataset.fingerprint
        quality = 3.0 if config.data.labels == better else 2.0
        finish(
            job.task,
            test=predictions(500, 2, quality),
            calibration=predictions(1000, 1, quality, prefix="train"),
            fingerprint=fingerprint,
        )
        return 0

    return run


def test_two_states_are_trained_once_each_and_compared(config, store) -> None:
    original = open_state(config, "0", store)
    relabel(original, store, "fit", 3)
    relabelled = open_state(config, None, store)
    assert (original.name, original.what) == ("original", "the folder without fixes")
    assert relabelled.name == read_history(history_folder(config.data.root, store))[1].name
    changed = {one.split: one.relabelled for one in changed_labels(original, relabelled)}
    assert changed == {"fit": 3, "calibration": 0, "test": 0}

    named = open_state(config, "1", store)
    executor = FakeExecutor(writes(store, named.name), slots={"gpu": 2})
    found = train_effect(original, named, REQUEST, store, executor)

    assert found.effect.conclusion == "gained"
    assert found.effect.seeds == (7, 8)
    assert len(executor.started) == 4
    assert executor.stopped
    assert max(map(len, executor.at_once)) == 2
    assert found.after.runs[1].name == "seed-8"
    assert found.before.runs[0].parent.name.startswith("tiny-original-")
    json.dumps(found.to_json(), allow_nan=False)

    again = FakeExecutor(writes(store))
    assert train_effect(original, named, REQUEST, store, again) == found
    assert again.started == []

    folders = [one.runs[0].parent for one in (found.before, found.after)]
    by_runs = runs_effect(*folders, REQUEST)
    assert by_runs.effect == found.effect
    assert by_runs.before.what == str(folders[0])
    one = runs_effect(found.before.runs[0], found.after.runs[0], REQUEST)
    assert one.effect.seeds == (7,)
    assert "of one seed nothing is known" in one.caveats[0]


def test_a_run_that_drupe_train_has_left_is_taken(config, store) -> None:
    original = open_state(config, "0", store)
    relabel(original, store, "test", 2)
    newest = open_state(config, None, store)
    elsewhere = store / "runs" / "train" / "mine" / "seed-7"
    (store / "runs" / "train" / "broken" / "seed-7").mkdir(parents=True)
    (store / "runs" / "train" / "broken" / "seed-7" / "run.json").write_text("{}")

    def leave(job: Job) -> int:
        writes(store)(job)
        if job.task.seed == 7 and "original" in job.task.name:
            elsewhere.parent.mkdir(parents=True)
            job.task.folder.rename(elsewhere)
        return 0

    with pytest.raises(DrupeError, match=r"original-\w+ seed 7: exit code 0"):
        train_effect(original, newest, REQUEST, store, FakeExecutor(leave))
    executor = FakeExecutor(writes(store))
    found = train_effect(original, newest, REQUEST, store, executor)
    assert not [name for name in executor.started if "original" in name and "seed 7" in name]
    assert found.before.runs[0] == elsewhere


def ranked(state: LabelState) -> list[RankedLabel]:
    """Return all items in the order of the dataset, as a ranking."""
    dataset, split = state.prepared.dataset, state.prepared.split
    side_of = {
        int(index): side
        for side in ("fit", "calibration", "test")
        for index in getattr(split, side)
    }
    return [
        RankedLabel(
            rank,
            path,
            side_of.get(rank - 1, ""),
            dataset.classes[int(dataset.is_defect[rank - 1])],
            *(0.5, 0.5, 0.0),
            "unsure",
        )
        for rank, path in enumerate(dataset.paths, 1)
    ]


def test_the_worst_fit_items_go_with_their_copies_and_nothing_else_moves(config, store) -> None:
    original = open_state(config, "0", store)
    relabel(original, store, "fit", 2)  # a fix of what is left out gives way
    state = open_state(config, None, store)
    ranking, split = ranked(state), state.prepared.split
    groups = state.prepared.groups

    after, gone = without_worst(state, ranking, 20, store)

    fit = [path.path for path in ranking if path.split == "fit"]
    assert set(fit[:20]) <= set(gone) <= set(fit)
    numbers = {path: groups[index] for index, path in enumerate(state.prepared.dataset.paths)}
    assert {numbers[path] for path in gone} == {numbers[path] for path in fit[:20]}
    assert len(gone) > 20
    changed = {one.split: one for one in changed_labels(state, after)}
    assert changed["fit"].left_out == len(gone)
    assert sum(one.relabelled + one.added for one in changed.values()) == 0
    assert len(after.prepared.split.calibration) == len(split.calibration)
    assert len(read_history(history_folder(config.data.root, store))) == 2  # no new state
    assert len(find_fixes(config.data.root, store).all) == 2

    found = train_effect(
        state,
        after,
        EffectRequest(seeds=1),
        store,
        FakeExecutor(writes(store, after.name)),
        excluded=gone,
    )
    assert found.excluded == gone
    assert "chosen with calibration in sight" in found.caveats[0]


def test_wrong_requests_are_named(config, store) -> None:
    original = open_state(config, "0", store)
    same = open_state(config, None, store)
    with pytest.raises(InputError, match="must be states that differ, got original and original"):
        train_effect(original, same, REQUEST, store, FakeExecutor())
    with pytest.raises(InputError, match="must be a revision's number or name"):
        open_state(config, "7", store)
    ranking = ranked(original)
    with pytest.raises(InputError, match=r"must be from 1 to \d+, as the ranking has"):
        without_worst(original, ranking, 10_000, store)
    relabel(original, store, "fit", 2)
    newest = open_state(config, None, store)
    with pytest.raises(InputError, match=r"other labels for 2 fit items, such as .*rank them anew"):
        without_worst(newest, ranking, 5, store)


def test_a_share_that_follows_the_number_of_defects_is_refused(config, store, monkeypatch):
    """Leaving defects out of fit would draw other items for calibration."""
    shares = iter([0.2, 0.5])
    monkeypatch.setattr("drupe.training.preparation.holdout_share", lambda defects: next(shares))
    calibration = config.calibration.model_copy(update={"holdout": "auto"})
    state = open_state(config.model_copy(update={"calibration": calibration}), "0", store)
    with pytest.raises(InputError, match="must leave calibration as it is"):
        without_worst(state, ranked(state), 5, store)


def test_files_of_another_run_are_refused(config, store) -> None:
    original = open_state(config, "0", store)
    relabel(original, store, "fit", 1)
    newest = open_state(config, None, store)
    found = train_effect(original, newest, REQUEST, store, FakeExecutor(writes(store)))
    run = found.after.runs[0]
    (run / "predictions" / "test.csv").write_text("path,label,score\n")
    seal(run)
    with pytest.raises(InputError, match=r"test\.csv"):
        runs_effect(found.before.runs[0], run, REQUEST)
