"""A study's folder, read once: its verdict and everything that its finished runs left behind.

STORE/runs/STUDY/
  verdict.json, protocol.lock.json
  EXPERIMENT/seed-N/        run directories, see :mod:`drupe.runs.record`
"""

from __future__ import annotations

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
from drupe.runs.evaluation_file import read_evaluation
from drupe.runs.layout import runs_below
from drupe.runs.record import RunRecord, is_done, read_record
from drupe.study.definition.protocol import LOCK
from drupe.study.definition.spec import IMPORTED
from drupe.study.verdict.document import VERDICT_FILE, StudyVerdict, read_verdict
from drupe.training.config import ExperimentConfig, read_config


@dataclass(frozen=True)
class StudyRun:
    """One finished run. ``key`` is its folder relative to the study's, POSIX.

    ``certificate``: the verdict's for a deployed run, else the one that the run itself records.
    """

    key: str
    record: RunRecord
    config: ExperimentConfig
    model: ModelPredictions
    test: JudgedSplit
    certificate: Certificate | None
    epochs: tuple[EpochResult, ...]

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
    """All that a study left on the disk.

    All runs hold the same test items in the same order (N of them). ``protocol`` is the protocol
    that was fixed before the first run; ``verdict`` and ``protocol`` are None until there is one.
    """

    folder: Path
    verdict: StudyVerdict | None
    protocol: dict[str, Any] | None
    runs: tuple[StudyRun, ...]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.folder.name

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
    runs = [_read_run(folder, key, verdict) for key in _run_keys(folder, verdict)]
    if not runs:
        raise InputError(f"{folder}: must hold a finished run of the study, got none")
    tables = align([run.test.table for run in runs], [run.name for run in runs])
    groups = runs[0].test.groups  # of the same items: copies are a matter of the images alone
    return StudyFiles(
        folder=folder,
        verdict=verdict,
        protocol=read_json(protocol_file) if protocol_file.exists() else None,
        runs=tuple(
            replace(run, test=JudgedSplit(table, groups))
            for run, table in zip(runs, tables, strict=True)
        ),
    )


def _run_keys(folder: Path, verdict: StudyVerdict | None) -> list[str]:
    """Return every finished run's folder once: as the verdict lists them, else as they lie."""
    listed = [key for one in verdict.experiments for key in one.runs] if verdict else []
    # A baseline from elsewhere is a run of no experiment.
    found = runs_below(folder, IMPORTED if verdict else "*")
    listed += [run.relative_to(folder).as_posix() for run in found]
    return [key for key in dict.fromkeys(listed) if is_done(folder / key)]


def _read_run(folder: Path, key: str, verdict: StudyVerdict | None) -> StudyRun:
    run = folder / key
    record, model = read_record(run), read_run_predictions(run)
    assert record is not None
    assert model.test is not None
    return StudyRun(
        key=key,
        record=record,
        config=read_config(run),
        model=model,
        test=model.test,
        certificate=_certificate(run, key, verdict),
        epochs=read_epochs(run),
    )


def _certificate(run: Path, key: str, verdict: StudyVerdict | None) -> Certificate | None:
    """Return the verdict's for a deployed run, also where it has none; else the run's own."""
    deploying = [one for one in verdict.experiments if one.deployed == key] if verdict else []
    if deploying:
        # That of a model is raised for the choice between all.
        deploying.sort(key=lambda one: one.kind == "threshold")
        return next((one.certificate for one in deploying if one.certificate), None)
    found = read_evaluation(run).certificate
    return TypeAdapter(Certificate).validate_python(found.without_review()) if found else None
