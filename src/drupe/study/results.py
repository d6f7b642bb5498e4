"""From the predictions of finished runs to the table, comparisons and advice of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.comparison import holm
from drupe.evaluation.grouping import read_duplicates
from drupe.evaluation.intervals import format_percent
from drupe.evaluation.metrics import auroc
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.predictions_csv import read_predictions
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

    ``runs`` are the run directories, the one to deploy (the first seed listed) first; ``seeds``
    and every figure by seed are in the same order.
    """

    id: str
    hypothesis: str
    seeds: tuple[int, ...]
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
        return {**vars(self), "seeds": list(self.seeds), "runs": list(self.runs), **derived}

    def mean_accuracy(self, seeds: Sequence[int]) -> float:
        """Return the mean accuracy over ``seeds``, all of them finished."""
        by_seed = dict(zip(self.seeds, self.accuracy_by_seed.values, strict=True))
        return fsum(by_seed[seed] for seed in seeds) / len(seeds)


@dataclass(frozen=True)
class ComparisonResult:
    """A planned comparison: the paired difference of seed-mean accuracies, a minus b.

    ``seeds`` are those that both experiments finished; no other counts. ``p_adjusted`` is Holm's
    over all comparisons that were planned, made or not.
    """

    comparison: Comparison
    seeds: tuple[int, ...]
    accuracy: PairedDifference
    p_adjusted: float

    @property
    def is_shown(self) -> bool:
        """Whether the difference is significant among all planned comparisons."""
        return self.p_adjusted <= 1 - self.accuracy.confidence

    def to_json(self) -> dict[str, Any]:
        """Return the names, the question and the difference."""
        return {
            **self.comparison.model_dump(),
            "metric": "accuracy",
            "seeds": list(self.seeds),
            **self.accuracy.to_json(),
            "p_adjusted": self.p_adjusted,
        }


@dataclass(frozen=True)
class StudyResult:
    """What a study found. ``failed`` names each run without a result, with its reason.

    ``not_compared`` are planned comparisons of experiments without a finished seed in common.
    """

    study: str
    question: str
    images: int
    defects: int
    experiments: tuple[ExperimentResult, ...]
    comparisons: tuple[ComparisonResult, ...]
    failed: tuple[tuple[str, str], ...]
    not_compared: tuple[Comparison, ...] = ()

    @property
    def common_seeds(self) -> tuple[int, ...]:
        """The seeds that every experiment with a result finished."""
        return _common(*(item.seeds for item in self.experiments)) if self.experiments else ()

    @property
    def best(self) -> ExperimentResult | None:
        """The experiment with the highest mean accuracy over the common seeds.

        The first listed among equals; None without a common seed.
        """
        seeds = self.common_seeds
        if not seeds:
            return None
        return max(self.experiments, key=lambda item: item.mean_accuracy(seeds))

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``drupe study run --json`` prints."""
        return {
            "study": self.study,
            "question": self.question,
            "test": {"images": self.images, "defects": self.defects},
            "experiments": [item.to_json() for item in self.experiments],
            "comparisons": [item.to_json() for item in self.comparisons],
            "not_compared": [item.model_dump() for item in self.not_compared],
            "failed": [{"run": run, "reason": reason} for run, reason in self.failed],
            "recommendation": recommendation(self),
        }


@dataclass(frozen=True)
class _Tested:
    """An experiment's test predictions, one table per finished seed, and where they lie."""

    seeds: tuple[int, ...] = ()
    runs: tuple[Path, ...] = ()
    tables: tuple[Predictions, ...] = ()

    def distinct(self, groups: NDArray[np.int32]) -> _Tested:
        """Return the same with one item per duplicate group."""
        return replace(self, tables=tuple(table.distinct(groups) for table in self.tables))


def _common(first: tuple[int, ...], *others: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(seed for seed in first if all(seed in other for other in others))


def study_result(spec: StudySpec, results: Sequence[TaskResult]) -> StudyResult:
    """Return what the finished runs among ``results`` say.

    Raises:
        InputError: a run's files are damaged, or runs were tested on different images.
    """
    failed = tuple((item.task.name, item.reason) for item in results if item.failed)
    tested = {
        experiment.id: _tested(_finished(results, experiment.id))
        for experiment in spec.experiments
        if _finished(results, experiment.id)
    }
    if not tested:
        return StudyResult(spec.study, spec.question, 0, 0, (), (), failed, spec.comparisons)
    align([table for one in tested.values() for table in one.tables])
    first = next(iter(tested.values()))
    paths = first.tables[0].paths
    groups = read_duplicates(first.runs[0] / "predictions" / "duplicates.json", "test", paths)
    # Of copies one counts, as in every claim.
    tested = {name: one.distinct(groups) for name, one in tested.items()}
    counted = next(iter(tested.values())).tables[0]
    experiments = tuple(
        _experiment_result(item.id, item.hypothesis, tested[item.id], spec.confidence)
        for item in spec.experiments
        if item.id in tested
    )
    made, not_compared = [], []
    for item in spec.comparisons:
        a, b = tested.get(item.a, _Tested()), tested.get(item.b, _Tested())
        if seeds := _common(a.seeds, b.seeds):
            made.append((item, seeds, _difference(a, b, seeds, spec.confidence)))
        else:
            not_compared.append(item)
    adjusted = holm([difference.p_value for _, _, difference in made], len(spec.comparisons))
    comparisons = [
        ComparisonResult(item, seeds, difference, p)
        for (item, seeds, difference), p in zip(made, adjusted, strict=True)
    ]
    return StudyResult(
        study=spec.study,
        question=spec.question,
        images=len(counted),
        defects=int(counted.is_defect.sum()),
        experiments=experiments,
        comparisons=tuple(comparisons),
        failed=failed,
        not_compared=tuple(not_compared),
    )


def _finished(results: Sequence[TaskResult], experiment: str) -> list[TaskResult]:
    return [item for item in results if item.task.experiment == experiment and not item.failed]


def _tested(results: Sequence[TaskResult]) -> _Tested:
    tables = []
    folders = tuple(item.task.folder for item in results)
    for folder in folders:
        record = read_record(folder)
        defect = record.data.classes[1] if record else None
        tables.append(read_predictions(folder / "predictions" / "test.csv", defect))
    return _Tested(tuple(item.task.seed for item in results), folders, align(tables))


def _experiment_result(
    name: str, hypothesis: str, tested: _Tested, confidence: float
) -> ExperimentResult:
    correct = correct_decisions(tested.tables)
    is_defect = tested.tables[0].is_defect

    def rate(items: NDArray[np.bool_]) -> ClusteredMean:
        return clustered_mean_interval(
            correct[:, items], np.arange(np.count_nonzero(items)), confidence
        )

    return ExperimentResult(
        id=name,
        hypothesis=hypothesis,
        seeds=tested.seeds,
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
    a: _Tested, b: _Tested, seeds: Sequence[int], confidence: float
) -> PairedDifference:
    tables = [one.tables[one.seeds.index(seed)] for one in (a, b) for seed in seeds]
    correct = correct_decisions(align(tables))
    items = np.arange(correct.shape[1])
    return paired_difference(correct[: len(seeds)], correct[len(seeds) :], items, confidence)


def points(difference: float) -> str:
    """Return a difference of rates in percentage points with its sign: ``+0.7``."""
    return f"{100 * difference:+.1f}"


def recommendation(result: StudyResult) -> str:
    """Return the study's advice in a few sentences, from figures alone."""
    if not result.experiments:
        return "No run finished: nothing can be recommended."
    seeds = result.common_seeds
    finished = {seed for item in result.experiments for seed in item.seeds}
    sentences = [_compared(item) + _unequal(item.seeds, finished) for item in result.comparisons]
    sentences += [
        f"{item.a} and {item.b} are not compared: no seed was finished by both."
        for item in result.not_compared
    ]
    best = result.best
    if best is None:
        sentences.append("No seed was finished by every experiment: none can be called the best.")
        return " ".join(sentences)
    sentences.append(
        f"{best.id} has the highest mean accuracy, {format_percent(best.mean_accuracy(seeds))}; "
        f"its first seed is the run to take further: {best.runs[0]}." + _unequal(seeds, finished)
    )
    sentences.append(
        f"At the threshold 0.5 it lets {best.misses.values[0]:.0f} of {result.defects} defects "
        "through: too early for a line. A threshold that is certified for recall: "
        f"drupe threshold {best.runs[0]}"
    )
    return " ".join(sentences)


def _unequal(seeds: Sequence[int], finished: set[int]) -> str:
    """Say which seeds count where some run is missing."""
    if set(seeds) == finished:
        return ""
    names = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    return f" (Only {names} counted: the others were not finished by all of them.)"


def _compared(item: ComparisonResult) -> str:
    a, b, accuracy = item.comparison.a, item.comparison.b, item.accuracy
    figures = (
        f"{points(accuracy.difference)} points of accuracy, "
        f"interval {points(accuracy.low)} to {points(accuracy.high)}, "
        f"adjusted p = {item.p_adjusted:.2g}"
    )
    if item.is_shown:
        better, worse = (a, b) if accuracy.difference > 0 else (b, a)
        return f"{better} beats {worse} ({a} - {b}: {figures})."
    return (
        f"No difference is shown between {a} and {b} ({a} - {b}: {figures}); the interval, from "
        f"{accuracy.groups:,} distinct images, says which differences are not excluded."
    )
