"""Distillation: soft targets for the fit items from networks that were trained without them.

G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network" (2015), out of fold:
a network that had learnt an item by heart would only repeat its label, right or wrong. Nothing of
calibration or test is read: teachers are trained on folds of the student's fit split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.model_predictions import read_own_predictions
from drupe.evaluation.predictions import scores_from_logits
from drupe.evaluation.temperature import fit_temperature
from drupe.progress import Progress
from drupe.runs.layout import RunFolder
from drupe.runs.record import TeacherRecord, read_record
from drupe.training.config import ExperimentConfig, TrainingConfig
from drupe.training.folds import configure_inner_fold
from drupe.training.preparation import PreparedData

TrainRun = Callable[[ExperimentConfig, Path], object]
"""Trains a configuration in a folder, or does nothing where that is done."""


@dataclass(frozen=True)
class SoftTargets:
    """The chance that each item is a defect, float32 [N], and where it came from.

    Items that no teacher was asked about have their label, 0 or 1.
    """

    defect: NDArray[np.float32]
    record: TeacherRecord


@dataclass(frozen=True)
class _Lesson:
    """One network to train: which recipe, which fold it leaves out, and its run."""

    recipe: int
    config: ExperimentConfig
    folder: Path


def train_teachers(
    config: ExperimentConfig, folder: Path, train: TrainRun, progress: Progress
) -> None:
    """Train what is missing of the teachers' networks beside the run in ``folder``."""
    lessons = list(_lessons(config, folder))
    for number, lesson in enumerate(lessons, start=1):
        with progress(f"teacher {number} of {len(lessons)}", 1, "runs") as tracker:
            train(lesson.config, lesson.folder)
            tracker.advance()


def soft_targets(config: ExperimentConfig, folder: Path, data: PreparedData) -> SoftTargets | None:
    """Return the targets that the trained teachers give, None where there is no teacher.

    Each recipe's logits take a temperature of their own, fitted out of fold on the fit items;
    recipes are averaged as probabilities, and the label has the rest of the share.
    """
    teacher = config.training.teacher
    if teacher is None:
        return None
    is_defect = data.dataset.is_defect
    place = {path: index for index, path in enumerate(data.dataset.paths)}
    logits = np.full((len(teacher.recipes), len(is_defect)), np.nan, np.float32)
    runs = []
    for lesson in _lessons(config, folder):
        record = read_record(lesson.folder)
        assert record is not None
        table = read_own_predictions(lesson.folder, record, "test")
        assert table.logits is not None
        logits[lesson.recipe, [place[path] for path in table.paths]] = table.logits
        runs.append(record.identity)
    asked = np.flatnonzero(np.isfinite(logits).all(axis=0))
    temperatures = [fit_temperature(row[asked], is_defect[asked]) for row in logits]
    chances = np.mean(
        [scores_from_logits(row[asked], t) for row, t in zip(logits, temperatures, strict=True)],
        axis=0,
    )
    defect = is_defect.astype(np.float32)
    defect[asked] = (1 - teacher.share) * defect[asked] + teacher.share * chances
    return SoftTargets(
        defect,
        TeacherRecord(
            architectures=[recipe.model.architecture for recipe in teacher.recipes],
            runs=runs,
            temperatures=temperatures,
            share=teacher.share,
            items=len(asked),
            contradicted=int(np.count_nonzero((chances > 0.5) != is_defect[asked])),
        ),
    )


def _lessons(config: ExperimentConfig, folder: Path) -> Iterator[_Lesson]:
    teacher = config.training.teacher
    assert teacher is not None
    for number, recipe in enumerate(teacher.recipes):
        for fold in range(teacher.folds):
            taught = configure_inner_fold(config, fold, teacher.folds).model_copy(
                update={
                    "name": f"{config.name}-teacher-{number}-fold-{fold}",
                    "seed": config.seed + number,
                    "model": recipe.model,
                    "input": recipe.input,
                    "augmentation": recipe.augmentation,
                    "training": TrainingConfig.model_validate(recipe.training.model_dump()),
                }
            )
            yield _Lesson(number, taught, RunFolder(folder).teacher(number, fold))
