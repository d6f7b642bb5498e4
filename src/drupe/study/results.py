"""From the predictions of finished runs to the table, comparisons and advice of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.grouping import read_duplicates
from drupe.evaluation.intervals import format_percent
from drupe.evaluation.metrics import auroc
from drupe.evaluation.predictions import Predictions, read_predictions
from drupe.evaluation.spread import (
    ClusteredMean,
    PairedDifference,
    SeedSpread,
    align,
    clustered_mean_interval,
    correct_decisions,
    paired_difference,
)
from drupe.study.local import TaskResult
from drupe.study.spec import Comparison, StudySpec
from drupe.training.record import read_record


@dataclass(frozen=True)
class ExperimentResult:
    """One experiment over its finished seeds, on the test split at the threshold 0.5.

    ``runs`` are the run directories, the one to deploy (the first seed listed) first.
    """

    id: str
    hypothesis: str
    runs: tuple[str, ...]
    accuracy: ClusteredMean
    accuracy_by_seed: SeedSpread
    recall: ClusteredMean
    clean_yield: ClusteredMean
    auroc: SeedSpread
    misses: SeedSpread

    def to_json(self) -> dict[str, Any]:
        """Return every field as JSON-like values."""
        derived = {
            name: value.to_json() for name, value in vars(self).items() if hasattr(value, "to_json")
        }
        return {**vars(self), "runs": list(self.runs), **derived}


@dataclass(frozen=True)
class ComparisonResult:
    """A planned comparison: the paired difference of seed-mean accuracies, a minus b."""

    comparison: Comparison
    accuracy: PairedDifference

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.accuracy.low > 0 or self.accuracy.high < 0

    def to_json(self) -> dict[str, Any]:
        """Return the names, the question and the difference."""
        return {**self.comparison.model_dump(), "metric": "accuracy", **self.accuracy.to_json()}


@dataclass(frozen=True)
class StudyResult:
    """What a study found. ``failed`` names each run without a result, with its reason."""

    study: str
    question: str
    images: int
    defects: int
    experiments: tuple[ExperimentResult, ...]
    comparisons: tuple[ComparisonResult, ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def best(self) -> ExperimentResult | None:
        """The experiment with the highest seed-mean accuracy; the first listed among equals."""
        return max(self.experiments, key=lambda item: item.accuracy.mean, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``drupe study run --json`` prints."""
        return {
            "study": self.study,
            "question": self.question,
            "test": {"images": self.images, "defects": self.defects},
            "experiments": [item.to_json() for item in self.experiments],
            "comparisons": [item.to_json() for item in self.comparisons],
            "failed": [{"run": run, "reason": reason} for run, reason in self.failed],
            "recommendation": recommendation(self),
        }


@dataclass(frozen=True)
class _Tested:
    """An experiment's test predictions, one table per finished seed, and where they lie."""

    runs: tuple[Path, ...]
    tables: tuple[Predictions, ...]


def study_result(spec: StudySpec, results: Sequence[TaskResult]) -> StudyResult:
    """Return what the finished runs among ``results`` say.

    Raises:
        InputError: a run's files are damaged, or runs were tested on different images.
    """
    failed = tuple((item.task.name, item.reason) for item in results if item.failed)
    tested = {
        experiment.id: _tested([item.task.folder for item in _finished(results, experiment.id)])
        for experiment in spec.experiments
        if _finished(results, experiment.id)
    }
    if not tested:
        return StudyResult(spec.study, spec.question, 0, 0, (), (), failed)
    align([table for one in tested.values() for table in one.tables])
    first = next(iter(tested.values()))
    paths = first.tables[0].paths
    groups = read_duplicates(first.runs[0] / "predictions" / "duplicates.json", "test", paths)
    experiments = tuple(
        _experiment_result(item.id, item.hypothesis, tested[item.id], groups, spec.confidence)
        for item in spec.experiments
        if item.id in tested
    )
    comparisons = tuple(
        ComparisonResult(item, _difference(tested[item.a], tested[item.b], groups, spec.confidence))
        for item in spec.comparisons
        if item.a in tested and item.b in tested
    )
    defects = int(first.tables[0].is_defect.sum())
    return StudyResult(
        spec.study, spec.question, len(paths), defects, experiments, comparisons, failed
    )


def _finished(results: Sequence[TaskResult], experiment: str) -> list[TaskResult]:
    return [item for item in results if item.task.experiment == experiment and not item.failed]


def _tested(folders: Sequence[Path]) -> _Tested:
    tables = []
    for folder in folders:
        record = read_record(folder)
        defect = record.data.classes[1] if record else None
        tables.append(read_predictions(folder / "predictions" / "test.csv", defect))
    return _Tested(tuple(folders), align(tables))


def _experiment_result(
    name: str, hypothesis: str, tested: _Tested, groups: NDArray[np.int32], confidence: float
) -> ExperimentResult:
    correct = correct_decisions(tested.tables)
    is_defect = tested.tables[0].is_defect

    def rate(items: NDArray[np.bool_]) -> ClusteredMean:
        return clustered_mean_interval(correct[:, items], groups[items], confidence)

    return ExperimentResult(
        id=name,
        hypothesis=hypothesis,
        runs=tuple(str(folder) for folder in tested.runs),
        accuracy=rate(np.ones_like(is_defect)),
        accuracy_by_seed=SeedSpread(tuple(correct.mean(axis=1))),
        recall=rate(is_defect),
        clean_yield=rate(~is_defect),
        auroc=SeedSpread(tuple(_auroc(table) for table in tested.tables)),
        misses=SeedSpread(tuple((~correct[:, is_defect]).sum(axis=1))),
    )


def _auroc(table: Predictions) -> float:
    ranking = table.scores if table.logits is None else table.logits
    area = auroc(ranking, table.is_defect)
    assert area is not None  # a split without both classes is refused when it is made
    return area


def _difference(
    a: _Tested, b: _Tested, groups: NDArray[np.int32], confidence: float
) -> PairedDifference:
    tables = align([*a.tables, *b.tables])
    correct = correct_decisions(tables)
    seeds = len(a.tables)
    return paired_difference(correct[:seeds], correct[seeds:], groups, confidence)


def points(difference: float) -> str:
    """Return a difference of rates in percentage points with its sign: ``+0.7``."""
    return f"{100 * difference:+.1f}"


def recommendation(result: StudyResult) -> str:
    """Return the study's advice in a few sentences, from figures alone."""
    best = result.best
    if best is None:
        return "No run finished: nothing can be recommended."
    sentences = [_compared(item) for item in result.comparisons]
    run = best.runs[0]
    sentences.append(
        f"{best.id} has the highest mean accuracy, {format_percent(best.accuracy.mean)}; "
        f"its first seed is the run to take further: {run}."
    )
    sentences.append(
        f"At the threshold 0.5 it lets {best.misses.values[0]:.0f} of {result.defects} defects "
        "through: too early for a line without a threshold chosen for recall."
    )
    return " ".join(sentences)


def _compared(item: ComparisonResult) -> str:
    a, b, accuracy = item.comparison.a, item.comparison.b, item.accuracy
    figures = (
        f"{points(accuracy.difference)} points of accuracy, "
        f"interval {points(accuracy.low)} to {points(accuracy.high)}, p = {accuracy.p_value:.2g}"
    )
    if item.is_shown:
        better, worse = (a, b) if accuracy.difference > 0 else (b, a)
        return f"{better} beats {worse} ({a} - {b}: {figures})."
    reach = 100 * (accuracy.high - accuracy.low) / 2
    return (
        f"No difference is shown between {a} and {b} ({a} - {b}: {figures}); with "
        f"{accuracy.groups:,} distinct images, differences below about {reach:.1f} points stay "
        "hidden."
    )
