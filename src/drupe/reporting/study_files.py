"""A study's folder or a run's, read once: the verdict, and all that finished runs left behind.

STORE/runs/STUDY/
  verdict.json, protocol.lock.json
  EXPERIMENT/seed-N/        run directories, see :mod:`drupe.runs.record`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from drupe.errors import InputError
from drupe.evaluation.certificate import Certificate
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions, read_run_predictions
from drupe.evaluation.paired import align
from drupe.evaluation.predictions import Predictions
from drupe.files import read_json
from drupe.runs.epoch_log import EpochResult, read_epochs
from drupe.runs.evaluation_file import ConfusedTypes, read_evaluation
from drupe.runs.layout import runs_below
from drupe.runs.record import RunRecord, is_done, read_record
from drupe.runs.results import own_certificate
from drupe.study.definition.protocol import LOCK
from drupe.study.definition.spec import IMPORTED
from drupe.study.verdict.document import VERDICT_FILE, StudyVerdict, read_verdict
from drupe.training.config import ExperimentConfig, read_config


@dataclass(frozen=True)
class StudyRun:
    """One finished run. ``key`` is its folder relative to the study's, POSIX.

    ``certificate``: the verdict's for a deployed run, else the one that the run itself records;
    ``types_said``: what it said of each type of defect, None where it tells none.
    """

    key: str
    record: RunRecord
    config: ExperimentConfig
    model: ModelPredictions
    test: JudgedSplit
    certificate: Certificate | None
    epochs: tuple[EpochResult, ...]
    types_said: ConfusedTypes | None = None

    @property
    def name(self) -> str:
        """The run's name: ``EXP-002A seed 42``."""
        return self.model.name


@dataclass(frozen=True)
class Model:
    """The finished runs of one network, its seeds; the one to deploy first."""

    name: str
    runs: tuple[StudyRun, ...]

    @property
    def deployed(self) -> StudyRun:
        """The run that would be deployed."""
        return self.runs[0]


@dataclass(frozen=True)
class StudyFiles:
    """All that a study left on the disk, or one or two runs that are reported by themselves.

    ``name``: the study's, or the runs'. All runs hold the same test items in the same order (N of
    them). ``protocol`` is the protocol that was fixed before the first run; ``verdict`` and
    ``protocol`` are None until there is one.
    """

    name: str
    verdict: StudyVerdict | None
    protocol: dict[str, Any] | None
    runs: tuple[StudyRun, ...]

    @property
    def models(self) -> tuple[Model, ...]:
        """The runs by network. An experiment without runs of its own adds none."""
        names = dict.fromkeys(run.record.experiment for run in self.runs)
        return tuple(
            Model(name, tuple(run for run in self.runs if run.record.experiment == name))
            for name in names
        )

    @property
    def classes(self) -> tuple[str, str]:
        """The names of (clean, defect)."""
        return self.items.classes

    @property
    def items(self) -> Predictions:
        """The first run's test table: the paths and labels of all."""
        return self.runs[0].test.table

    @property
    def scores(self) -> NDArray[np.float32]:
        """The scores of every run: float32 [runs, N]."""
        return np.stack([run.test.table.scores for run in self.runs])


def read_study_files(folder: Path) -> StudyFiles:
    """Read the study in ``folder``.

    Raises:
        InputError: no finished run, damaged files, or runs that were tested on different images.
    """
    verdict_file, protocol_file = folder / VERDICT_FILE, folder / LOCK
    verdict = read_verdict(verdict_file) if verdict_file.exists() else None
    runs = [
        _read_run(folder / key, key, _certificate(folder / key, key, verdict))
        for key in _run_keys(folder, verdict)
    ]
    if not runs:
        raise InputError(f"{folder}: must hold a finished run of the study, got none")
    return StudyFiles(
        name=folder.name,
        verdict=verdict,
        protocol=read_json(protocol_file) if protocol_file.exists() else None,
        runs=_aligned(runs),
    )


def _aligned(runs: Sequence[StudyRun]) -> tuple[StudyRun, ...]:
    """Return the runs with their test items in one order; other items are an ``InputError``."""
    tables = align([run.test.table for run in runs], [run.name for run in runs])
    groups = runs[0].test.groups  # of the same items: copies are a matter of the images alone
    return tuple(
        replace(run, test=JudgedSplit(table, groups))
        for run, table in zip(runs, tables, strict=True)
    )


@dataclass(frozen=True)
class CommonItems:
    """Test items that two runs share, and those that only one of them has or labels so."""

    common: int
    only_before: int
    only_after: int
    relabelled: int


def read_single_runs(folders: Sequence[Path]) -> tuple[StudyFiles, CommonItems]:
    """Read one run, or two to compare on the test items that both have with the same label.

    Raises:
        InputError: no finished runs, or two without a common test item of each class.
    """
    runs = [
        _read_run(folder, folder.as_posix(), _recorded_certificate(folder)) for folder in folders
    ]
    labels = [
        dict(zip(run.test.table.paths, run.test.table.is_defect, strict=True)) for run in runs
    ]
    first, last = labels[0], labels[-1]
    shared = first.keys() & last.keys()
    same = {path for path in shared if first[path] == last[path]}
    found = CommonItems(
        len(same), len(first) - len(shared), len(last) - len(shared), len(shared) - len(same)
    )
    kept = [replace(run, test=run.test.of_paths(same)) for run in runs]
    if len({bool(first[path]) for path in same}) < 2:
        raise InputError(
            f"{folders[0]}, {folders[-1]}: must share test items of both classes, "
            f"got {found.common:,} in common"
        )
    names = [run.name for run in runs]
    return StudyFiles(" → ".join(names), None, None, _aligned(kept)), found


def _run_keys(folder: Path, verdict: StudyVerdict | None) -> list[str]:
    """Return every finished run's folder once: as the verdict lists them, else as they lie."""
    listed = [key for one in verdict.experiments for key in one.runs] if verdict else []
    # A baseline from elsewhere is a run of no experiment.
    found = runs_below(folder, IMPORTED if verdict else "*")
    listed += [run.relative_to(folder).as_posix() for run in found]
    return [key for key in dict.fromkeys(listed) if is_done(folder / key)]


def _read_run(run: Path, key: str, certificate: Certificate | None) -> StudyRun:
    model, record = read_run_predictions(run), read_record(run)
    assert record is not None
    assert model.test is not None
    return StudyRun(
        key=key,
        record=record,
        config=read_config(run),
        model=model,
        test=model.test,
        certificate=certificate,
        epochs=read_epochs(run),
        types_said=read_evaluation(run).test.distinct.types_said,
    )


def _certificate(run: Path, key: str, verdict: StudyVerdict | None) -> Certificate | None:
    """Return the verdict's for a deployed run; else the one that the run itself records."""
    deploying = [one for one in verdict.experiments if one.deployed == key] if verdict else []
    # That of a model is raised for the choice between all.
    deploying.sort(key=lambda one: one.kind == "threshold")
    granted = next((one.certificate for one in deploying if one.certificate), None)
    return granted or _recorded_certificate(run)


def _recorded_certificate(run: Path) -> Certificate | None:
    """Return what ``drupe threshold``, or a study, certified the run for last."""
    found = own_certificate(run)
    return TypeAdapter(Certificate).validate_python(found.without_review()) if found else None
