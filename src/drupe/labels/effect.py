"""A recipe trained on two states of a dataset's labels, and what the second one bought.

The runs lie in ``STORE/runs/labels-effect/``, named by recipe and state. A finished run of the
same recipe, labels and seed is taken wherever it lies in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drupe.data.fixes import Fix
from drupe.data.label_history import find_revision
from drupe.data.overlay import find_fixes, history_folder, record_trial
from drupe.data.split import SIDES
from drupe.errors import InputError
from drupe.evaluation.candidates import read_seeds
from drupe.evaluation.label_effect import LabelEffect, StateName, label_effect
from drupe.evaluation.model_predictions import ModelPredictions, read_run_predictions
from drupe.labels.ranking import RankedLabel
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder, runs_below, seed_folder
from drupe.runs.record import read_record
from drupe.study.definition.plan import Task, run_name
from drupe.study.execution.batch import train_all
from drupe.study.execution.executor import Executor
from drupe.study.execution.work import is_trained
from drupe.training.claim import check_store
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import PreparedData, prepare_data, require_root

STUDY = "labels-effect"
RANKED_BY_CALIBRATION = (
    "the networks that ranked the fit items learnt from calibration items too: what was left out "
    "was chosen with calibration in sight, if not with test"
)


@dataclass(frozen=True)
class LabelState:
    """A state of the labels to train on: its name, and the data as it is then.

    ``what`` says where it comes from, for a reader.
    """

    name: str
    what: str
    config: ExperimentConfig
    prepared: PreparedData

    @property
    def fingerprint(self) -> str:
        """That of the data in this state."""
        return self.prepared.dataset.fingerprint


@dataclass(frozen=True)
class ChangedLabels:
    """The items of a split that differ: labelled otherwise, left out, or only there afterwards."""

    split: str
    relabelled: int
    left_out: int
    added: int


@dataclass(frozen=True)
class ComparedState:
    """One side of a comparison: a state's name, what it is, and its runs, one per seed."""

    name: str
    what: str
    runs: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {**vars(self), "runs": [str(run) for run in self.runs]}


@dataclass(frozen=True)
class RepairEffect:
    """What a repair bought, and what it was. ``changed`` is empty where only runs were given.

    ``excluded``: the fit items that were left out by their rank, copies of them included.
    """

    before: ComparedState
    after: ComparedState
    effect: LabelEffect
    changed: tuple[ChangedLabels, ...] = ()
    excluded: tuple[str, ...] = ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """What else is to be known of the comparison."""
        caveats = [RANKED_BY_CALIBRATION] if self.excluded else []
        left_out = self.effect.left_out
        if left_out:
            caveats.append(f"{left_out:,} test items that not all runs have are left out")
        if len(self.effect.seeds) == 1:
            caveats.append("of one seed nothing is known of what another would have brought")
        return tuple(caveats)

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return {
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "changed": [vars(one) for one in self.changed],
            "excluded": list(self.excluded),
            "caveats": list(self.caveats),
            **self.effect.to_json(),
        }


@dataclass(frozen=True)
class EffectRequest:
    """What is compared: so many seeds from the experiment's own, certified for such a recall."""

    seeds: int = 3
    test_labels: StateName = "after"
    min_recall: float = 0.99
    confidence: float = 0.95


def open_state(
    config: ExperimentConfig, revision: str | None, store: Path, progress: Progress = silent
) -> LabelState:
    """Return a state of the labels by number or name; None: the newest.

    Raises:
        InputError: there is no such revision, or the data can't be used.
    """
    root = require_root(config.data)
    what = "the labels as they are now"
    if revision is not None:
        found = find_revision(history_folder(root, store), revision)
        revision, what = found.name, found.why or found.name
    return _opened(config, revision, what, store, progress)


def without_worst(
    state: LabelState,
    ranking: Sequence[RankedLabel],
    count: int,
    store: Path,
    progress: Progress = silent,
) -> tuple[LabelState, tuple[str, ...]]:
    """Return ``state`` without the ``count`` worst fit items of ``ranking``, and those items.

    Copies go with them, or one that stays could take the label's place. Calibration and test are
    not touched.

    Raises:
        InputError: the ranking is of other items or labels, or has too few fit items.
    """
    dataset, groups = state.prepared.dataset, state.prepared.groups
    place = {path: index for index, path in enumerate(dataset.paths)}
    fit = set(state.prepared.split.fit.tolist())
    ranked = [one for one in ranking if place.get(one.path) in fit]
    labels = {
        path: dataset.classes[int(is_defect)]
        for path, is_defect in zip(dataset.paths, dataset.is_defect, strict=True)
    }
    other = [one.path for one in ranked if one.label != labels[one.path]]
    if other:
        raise InputError(
            f"--ranking: must be of the labels of {state.name}, got other labels for "
            f"{len(other):,} fit items, such as {other[0]}: rank them anew (drupe labels rank)"
        )
    if not 0 < count < len(ranked):
        raise InputError(
            f"--exclude-worst: must be from 1 to {max(len(ranked) - 1, 0):,}, as the ranking has "
            f"{len(ranked):,} fit items of this experiment, got {count:,}"
        )
    worst = {groups[place[one.path]]: one.rank for one in reversed(ranked[:count])}
    gone = {dataset.paths[index]: worst[groups[index]] for index in fit if groups[index] in worst}
    root = require_root(state.config.data)
    kept = find_fixes(root, store, state.config.data.labels, progress=progress).all
    fixes = [fix for fix in kept if fix.path not in gone]
    fixes += [
        Fix(path, "exclude", reason=f"rank {rank}", sha256=dataset.digests[place[path]])
        for path, rank in sorted(gone.items())
    ]
    why = f"{state.name} without the {count:,} worst fit items of a ranking"
    name = record_trial(root, store, fixes, why)
    after = _opened(state.config, name, why, store, progress)
    for side in ("calibration", "test"):
        if _labels(after, side) != _labels(state, side):
            raise InputError(
                f"--exclude-worst: must leave {side} as it is, but that is drawn by how many "
                "defects there are: give calibration.holdout as a number"
            )
    return after, tuple(sorted(gone))


def _opened(
    config: ExperimentConfig, name: str | None, what: str, store: Path, progress: Progress
) -> LabelState:
    check_store(store)
    data = config.data.model_copy(update={"labels": name})
    config = config.model_copy(update={"data": data})
    prepared = prepare_data(config, store, progress)
    return LabelState(name or prepared.dataset.fixed.revision, what, config, prepared)


def train_effect(
    before: LabelState,
    after: LabelState,
    request: EffectRequest,
    store: Path,
    executor: Executor,
    *,
    excluded: tuple[str, ...] = (),
    weights_folder: Path | None = None,
    progress: Progress = silent,
) -> RepairEffect:
    """Train what is missing of both states' runs, and compare them.

    Raises:
        InputError: both states are the same, or their runs can't be compared.
        DrupeError: a run failed.
    """
    if before.fingerprint == after.fingerprint:
        executor.stop()
        raise InputError(
            f"--before, --after: must be states that differ, got {before.name} and {after.name}, "
            f"whose labels are the same (drupe labels history {before.config.data.root})"
        )
    sides = [_tasks(state, request.seeds, store) for state in (before, after)]
    train_all(
        [*sides[0], *sides[1]],
        {
            tasks[0].experiment: state.fingerprint
            for state, tasks in zip((before, after), sides, strict=True)
        },
        store,
        executor,
        weights_folder=weights_folder,
        progress=progress,
    )
    states = [
        ComparedState(state.name, state.what, tuple(task.folder for task in tasks))
        for state, tasks in zip((before, after), sides, strict=True)
    ]
    runs = [[read_run_predictions(run) for run in state.runs] for state in states]
    effect = _effect(runs[0], runs[1], request)
    return RepairEffect(states[0], states[1], effect, changed_labels(before, after), excluded)


def runs_effect(before: Path, after: Path, request: EffectRequest) -> RepairEffect:
    """Compare two sets of runs that are there: each a run, or a folder of ``seed-*`` runs.

    Raises:
        InputError: no runs, or such that can't be compared.
    """
    sides = [read_seeds(folder) for folder in (before, after)]
    states = [_as_trained(folder) for folder in (before, after)]
    return RepairEffect(states[0], states[1], _effect(sides[0], sides[1], request))


def _as_trained(folder: Path) -> ComparedState:
    runs = [folder] if RunFolder(folder).record.is_file() else runs_below(folder)
    record = read_record(runs[0]) if runs else None
    fixes = record.data.fixes if record else None
    name = (fixes.revision if fixes else None) or "labels of a revision that isn't on record"
    return ComparedState(name, str(folder), tuple(runs))


def _effect(
    before: Sequence[ModelPredictions], after: Sequence[ModelPredictions], request: EffectRequest
) -> LabelEffect:
    return label_effect(
        before,
        after,
        test_labels=request.test_labels,
        min_recall=request.min_recall,
        confidence=request.confidence,
    )


def _tasks(state: LabelState, seeds: int, store: Path) -> list[Task]:
    """Return the runs of a state, those that are finished where they lie."""
    found = []
    recipe = state.config.model_copy(update={"seed": 0}).identity(state.fingerprint)[:8]
    experiment = f"{state.config.name}-{state.name}-{recipe}"
    for seed in range(state.config.seed, state.config.seed + seeds):
        config = state.config.model_copy(update={"seed": seed, "name": experiment})
        folder = seed_folder(store / "runs" / STUDY / experiment, seed)
        name = run_name(experiment, seed)
        task = Task(name, "train", experiment, "gpu", folder, seed, config)
        found.append(_where_it_lies(task, state.fingerprint, store))
    return found


def _where_it_lies(task: Task, fingerprint: str, store: Path) -> Task:
    """Return ``task`` with the folder of such a run that is finished in ``store``, if one is."""
    for experiment in sorted((store / "runs").glob("*/*")):
        there = replace(task, folder=seed_folder(experiment, task.seed))
        try:
            if is_trained(there, fingerprint):
                return there
        except InputError:  # a damaged record of whatever else lies there
            continue
    return task


def changed_labels(before: LabelState, after: LabelState) -> tuple[ChangedLabels, ...]:
    """Count what differs between two states, by the split that an item is in."""
    changed = []
    for side in SIDES:
        first, second = _labels(before, side), _labels(after, side)
        both = first.keys() & second.keys()
        relabelled = sum(first[path] != second[path] for path in both)
        changed.append(
            ChangedLabels(side, relabelled, len(first) - len(both), len(second) - len(both))
        )
    return tuple(changed)


def _labels(state: LabelState, side: str) -> dict[str, bool]:
    dataset = state.prepared.dataset
    items = getattr(state.prepared.split, side).tolist()
    return {dataset.paths[index]: bool(dataset.is_defect[index]) for index in items}
