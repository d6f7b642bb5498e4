"""The work of a study as a graph of tasks: runs, certificates, exports, benches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from drupe.errors import InputError, suggest
from drupe.runs.layout import RunFolder, seed_folder

if TYPE_CHECKING:  # a node of a cluster reads a task without loading PyTorch
    from drupe.study.definition.loading import Study
    from drupe.study.definition.spec import Condition, Experiment
    from drupe.training.config import ExperimentConfig

Kind = Literal["train", "fold", "import", "ensemble", "certify", "export", "bench"]
RUNS: tuple[Kind, ...] = ("train", "fold", "import", "ensemble")
"""The kinds of tasks that make a run directory."""
Lane = Literal["cpu", "gpu", "exclusive"]

Runs = Mapping[str, Sequence[tuple[int, Path]]]
"""The finished runs of each experiment as (seed, folder), the one to deploy first."""


@dataclass(frozen=True)
class Task:
    """One piece of work.

    ``folder`` is the run directory that a task of :data:`RUNS` fills, and that a certify, export or
    bench task reads. ``needs`` are names of tasks that must be done first; ``condition``
    decides whether the experiment runs at all.
    """

    name: str
    kind: Kind
    experiment: str
    lane: Lane
    folder: Path
    seed: int
    config: ExperimentConfig | None = None
    needs: tuple[str, ...] = ()
    condition: Condition | None = None

    @property
    def is_run(self) -> bool:
        """True where it makes a run directory."""
        return self.kind in RUNS


def study_folder(study: Study, store: Path) -> Path:
    """Return ``STORE/runs/STUDY``; a smoke test has a store of its own below."""
    base = store / "smoke" if study.is_smoke else store
    return base / "runs" / study.spec.study


def run_name(experiment: str, seed: int) -> str:
    """Return how a training task is called: ``EXP-002A seed 42``."""
    return f"{experiment} seed {seed}"


def choose(study: Study, only: Set[str], skip: Set[str]) -> tuple[Experiment, ...]:
    """Return the experiments to run.

    Raises:
        InputError: an id that the study doesn't have.
    """
    known = [item.id for item in study.spec.experiments]
    unknown = sorted((set(only) | set(skip)) - set(known))
    if unknown:
        raise InputError(
            f"--only, --skip: must name experiments of the study ({', '.join(known)}), got "
            f"{', '.join(unknown)}{suggest(unknown[0], known) or ''}"
        )
    return tuple(
        item
        for item in study.spec.experiments
        if item.id not in skip and (not only or item.id in only)
    )


def plan(
    study: Study, store: Path, only: Set[str] = frozenset(), skip: Set[str] = frozenset()
) -> tuple[Task, ...]:
    """Return the study's tasks in the order in which they should start.

    Every experiment's first seed (with its folds, so that it can be certified) comes before any
    second one: an interrupted study has compared all experiments on as many seeds as possible.
    What waits for a condition comes last of its kind.

    An experiment of ``only`` brings along what it is about: a threshold the run that it certifies,
    an ensemble the runs that it averages, a comparison all seeds of what it compares. Nothing of
    ``skip`` comes along.
    """
    root = study_folder(study, store)
    chosen = choose(study, only, skip)
    tasks = _all_tasks(study, choose(study, frozenset(), skip), root)
    ids = {item.id for item in chosen}
    pairs = [pair for item in chosen for pair in study.spec.compared_by(item)]
    compared = {name for pair in pairs for name in (pair.a, pair.b)}
    possible: set[str] = set()
    for task in tasks:  # what is needed stands before what needs it
        if possible.issuperset(task.needs):
            possible.add(task.name)
    tasks = [task for task in tasks if task.name in possible]
    wanted = {
        task.name
        for task in tasks
        if task.kind == "import"
        or task.experiment in ids
        or (task.kind in ("train", "ensemble") and task.experiment in compared)
    }
    for task in reversed(tasks):
        if task.name in wanted:
            wanted.update(task.needs)
    return tuple(task for task in tasks if task.name in wanted)


def _all_tasks(study: Study, chosen: Sequence[Experiment], root: Path) -> list[Task]:
    """Return every task of ``chosen``, each behind those that it needs (as far as they are)."""
    seeds = study.spec.seeds
    trained = [item for item in chosen if item.kind == "training"]
    trained.sort(key=lambda item: item.when is not None)
    tasks = [] if study.spec.baseline.checkpoint is None else [_import(study, root)]
    for item in trained:
        tasks += [train_task(study, item, seeds[0], root), *_folds(study, item, root)]
    for seed in seeds[1:]:
        tasks += [train_task(study, item, seed, root) for item in trained]
    averaged = [item for item in chosen if item.kind == "ensemble"]
    tasks += [_ensemble(study, item, root) for item in averaged]
    for item in trained:
        runs = (run_name(item.id, seeds[0]), *(one.name for one in _folds(study, item, root)))
        tasks += _judging(study, item, root, runs)
    for item in averaged:
        tasks += _judging(study, item, root, (ensemble_name(item.id),))
    names = {task.name for task in tasks}
    return tasks + [
        _threshold(study, item, root, names) for item in chosen if item.kind == "threshold"
    ]


def train_task(study: Study, item: Experiment, seed: int, root: Path) -> Task:
    """Return the task that trains ``item`` with ``seed``; ``root`` is the study's folder."""
    return Task(
        name=run_name(item.id, seed),
        kind="train",
        experiment=item.id,
        lane=item.lane or "gpu",
        folder=seed_folder(root / item.id, seed),
        seed=seed,
        config=study.configs[item.id].model_copy(update={"seed": seed}),
        condition=item.when,
    )


def ensemble_name(experiment: str) -> str:
    """Return how the task that makes an ensemble is called: ``EXP-007 ensemble``."""
    return f"{experiment} ensemble"


def _ensemble(study: Study, item: Experiment, root: Path) -> Task:
    seed = study.spec.seeds[0]  # it has none; its folder is that of a run to deploy
    return Task(
        name=ensemble_name(item.id),
        kind="ensemble",
        experiment=item.id,
        lane=item.lane or "cpu",
        folder=seed_folder(root / item.id, seed),
        seed=seed,
        needs=tuple(run_name(*member) for member in study.spec.members(item)),
        condition=item.when,
    )


def _import(study: Study, root: Path) -> Task:
    from drupe.study.definition.spec import IMPORTED

    seed = study.spec.seeds[0]
    folder = seed_folder(root / IMPORTED, seed)
    return Task(IMPORTED, "import", IMPORTED, "cpu", folder, seed)


def _folds(study: Study, item: Experiment, root: Path) -> Iterator[Task]:
    """Yield the runs that score all training items of the first seed, where it has no hold-out."""
    from drupe.training.folds import configure_fold

    config, seed = study.configs[item.id], study.spec.seeds[0]
    folds = config.calibration.crossfit
    for fold in range(folds or 0):
        assert folds is not None
        yield Task(
            name=f"{item.id} fold {fold}",
            kind="fold",
            experiment=item.id,
            lane=item.lane or "gpu",
            folder=RunFolder(seed_folder(root / item.id, seed)).fold(fold, folds),
            seed=seed,
            config=configure_fold(config, fold, folds),
            condition=item.when,
        )


def _judging(study: Study, item: Experiment, root: Path, runs: tuple[str, ...]) -> Iterator[Task]:
    """Yield what the run that would be deployed, the first seed's, needs to be judged whole.

    It takes the tasks ``runs``, and is exported and timed only where a criterion asks for its size
    or latency.
    """
    seed, criteria = study.spec.seeds[0], study.criteria[item.id]
    folder = seed_folder(root / item.id, seed)

    def task(kind: Kind, lane: Lane, needs: tuple[str, ...]) -> Task:
        return Task(
            f"{item.id} {kind}", kind, item.id, lane, folder, seed, needs=needs, condition=item.when
        )

    yield task("certify", "cpu", runs)
    if criteria.latency_ms is not None or criteria.size_mb is not None:
        yield task("export", "cpu", (f"{item.id} certify",))
    if criteria.latency_ms is not None:
        yield task("bench", "exclusive", (f"{item.id} export",))


def _threshold(study: Study, item: Experiment, root: Path, planned: Set[str]) -> Task:
    """Return the analysis of a threshold experiment; it needs the runs it analyses, no training.

    Where a checkpoint replaces the experiment that it is about, the import tells which of the two
    can be certified: where that experiment is left out, the checkpoint has to do.
    """
    from drupe.study.definition.spec import IMPORTED

    (of,) = item.subjects
    seed, baseline = study.spec.seeds[0], study.spec.baseline
    folder, needs = seed_folder(root / of, seed), [f"{of} certify"]
    if baseline.checkpoint and baseline.experiment == of:
        needs = [IMPORTED, *(name for name in needs if name in planned)]
    return Task(item.id, "certify", item.id, "cpu", folder, seed, needs=tuple(needs))
