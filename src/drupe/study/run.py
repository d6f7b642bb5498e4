"""A study from its files to its verdict: pack, freeze, run what is missing, judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.data.image_contract import ImageContract
from drupe.data.listing import list_dataset
from drupe.errors import InputError
from drupe.files import write_json
from drupe.progress import Progress, silent
from drupe.study.definition.baseline import require_checkpoint
from drupe.study.definition.loading import Study
from drupe.study.definition.plan import Task, plan, study_folder
from drupe.study.definition.protocol import Deviation, freeze, read_deviations, read_protocol
from drupe.study.execution.executor import Executor
from drupe.study.execution.journal import Journal, Outcome
from drupe.study.execution.scheduler import Scheduler, Watch
from drupe.study.execution.work import Work
from drupe.study.verdict.assess import assess
from drupe.study.verdict.document import StudyVerdict
from drupe.study.verdict.smoke_checks import Check, smoke_checks
from drupe.training.claim import check_store, exclusive
from drupe.training.config import DataConfig, ExperimentConfig
from drupe.training.preparation import prepare_data, require_root

VERDICT, SMOKE = "verdict", "smoke"


@dataclass(frozen=True)
class Selection:
    """The experiments that run: those of ``only`` (all if empty) without those of ``skip``."""

    only: Set[str] = frozenset()
    skip: Set[str] = frozenset()


@dataclass(frozen=True)
class StudyStart:
    """A study that is about to run: its tasks, and what differs from its protocol."""

    tasks: Sequence[Task]
    work: Work
    deviations: Sequence[Deviation]


@dataclass(frozen=True)
class Found:
    """The result of a study; ``checks`` are those of a smoke test, whose figures mean nothing.

    ``folder`` is the study's. ``ran`` names the tasks that were chosen this time; the verdict is on
    all that is there.
    """

    verdict: StudyVerdict
    folder: Path
    checks: tuple[Check, ...] = ()
    ran: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Return whether everything that was to run this time did."""
        failed = {one.run for one in self.verdict.failed}
        return not failed & self.ran and all(check.passed for check in self.checks)

    def file(self, suffix: str) -> Path:
        """Return where the verdict, or a smoke test's answer, is kept in this format."""
        return self.folder / ((SMOKE if self.verdict.smoke else VERDICT) + suffix)

    def to_json(self) -> dict[str, Any]:
        """Return ``verdict.json``, or ``smoke.json`` with its checks."""
        checks = [check.to_json() for check in self.checks]
        return self.verdict.to_json() | ({"checks": checks} if checks else {})


OnStart = Callable[[StudyStart], Watch]
"""Called once, before the first task starts; returns who is told of every change."""


def run_study(
    study: Study,
    store: Path,
    executor: Executor,
    *,
    selection: Selection = Selection(),
    weights_folder: Path | None = None,
    on_start: OnStart | None = None,
    progress: Progress = silent,
) -> Found:
    """Run every task that is not done and return what the study found.

    The protocol is frozen before the first run starts. The verdict is kept as
    ``STORE/runs/STUDY/verdict.json`` (a smoke test's as ``STORE/smoke/runs/STUDY/smoke.json``).
    A failed run is part of the result.

    Raises:
        InputError: what every run would fail of, before the first one starts.
    """
    check_store(store)
    require_checkpoint(study)
    tasks = plan(study, store, selection.only, selection.skip)
    folder = study_folder(study, store)
    with exclusive(folder):  # from the first moment on: packing takes its time
        fingerprint = open_data(study, store, progress)
        work = Work(study, store, fingerprint, weights_folder, executor.threads)
        deviations = [] if study.is_smoke else freeze(study, work.folder, fingerprint)
        journal = Journal(work.folder)
        journal.begin()
        watch = on_start(StudyStart(tasks, work, deviations)) if on_start else _ignore
        outcomes = Scheduler(tasks, work, executor, journal, watch).run()
        verdict = assess(work, journal.outcomes(), deviations)
        checks = smoke_checks(work, outcomes) if study.is_smoke else ()
        found = Found(verdict, work.folder, checks, frozenset(outcomes))
        write_json(found.file(".json"), found.to_json())
    return found


def _ignore(outcomes: dict[str, Outcome]) -> None:
    del outcomes


def open_data(study: Study, store: Path, progress: Progress = silent) -> str:
    """Pack the data of all experiments, once for all runs; return its fingerprint.

    Raises:
        InputError: the data can't be found or used, or differs between experiments.
    """
    shared: dict[str, DataConfig] = {}
    for name, config in study.configs.items():
        first = next(iter(shared.values()), config.data)
        if (config.data.root, config.data.naming) != (first.root, first.naming):
            raise InputError(
                f"data: must be the same for all experiments, got {first.root} for "
                f"{next(iter(shared))} and {config.data.root} for {name}"
            )
        shared[name] = config.data
        list_dataset(require_root(config.data), config.data.naming)
    fingerprints = {
        prepare_data(config, store, progress).dataset.fingerprint
        for config in {_packing(config): config for config in study.configs.values()}.values()
    }
    if len(fingerprints) > 1:
        raise InputError("data: must be the same for all experiments, got other files for some")
    return fingerprints.pop()


def _packing(config: ExperimentConfig) -> tuple[ImageContract, str]:
    """Return what a pack depends on beside the files."""
    return config.contract, config.data.unreadable


def current_verdict(study: Study, store: Path) -> StudyVerdict:
    """Return the verdict on what is finished by now; nothing is run.

    Raises:
        InputError: the study was never run in this store.
    """
    folder = study_folder(study, store)
    protocol = read_protocol(folder)
    if protocol is None:
        raise InputError(f"{folder}: holds no study that was run; drupe study run {study.source}")
    work = Work(study, store, protocol.data_fingerprint)
    return assess(work, Journal(folder).outcomes(), read_deviations(folder))
