"""Figures of a study's finished runs on the test split: per experiment, and their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.comparison import detectable_difference, holm
from drupe.evaluation.grouping import read_duplicates
from drupe.evaluation.metrics import ARGMAX_THRESHOLD, auroc, expected_calibration_error
from drupe.evaluation.model_predictions import read_own_predictions
from drupe.evaluation.paired import (
    ClusteredMean,
    PairedDifference,
    SeedSpread,
    align,
    clustered_mean_interval,
    correct_decisions,
    paired_difference,
)
from drupe.evaluation.predictions import Predictions
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record
from drupe.study.definition.plan import Runs
from drupe.study.definition.spec import PlannedComparison
from drupe.study.verdict.document import ComparisonFigures, ExperimentFigures

ONE_SIDED_SHARE = 0.99
"""Share of equal decisions from which a network counts as collapsed: it no longer looks."""


@dataclass(frozen=True)
class TestedExperiment:
    """Distinct test predictions of an experiment, one table per finished seed, and the runs.

    ``has_seeds`` is false of an ensemble and of a model from elsewhere, whose one run shares a seed
    with no other. ``doubt``: why no figure of it is proven, if one of the runs' test labels were
    changed because a model disagreed.
    """

    seeds: tuple[int, ...] = ()
    runs: tuple[Path, ...] = ()
    tables: tuple[Predictions, ...] = ()
    has_seeds: bool = True
    doubt: str | None = None

    def distinct(self, groups: NDArray[np.int32]) -> TestedExperiment:
        """Return the same with one item per duplicate group."""
        return replace(self, tables=tuple(table.distinct(groups) for table in self.tables))

    def of_seeds(self, seeds: Sequence[int]) -> TestedExperiment:
        """Return the tables of ``seeds``, all of them finished."""
        places = [self.seeds.index(seed) for seed in seeds]
        return TestedExperiment(
            tuple(seeds),
            tuple(self.runs[place] for place in places),
            tuple(self.tables[place] for place in places),
        )


@dataclass(frozen=True)
class Measured:
    """All experiments that have a finished run; ``images`` and ``defects`` are distinct items."""

    images: int
    defects: int
    confidence: float
    tested: Mapping[str, TestedExperiment]
    experiments: Mapping[str, ExperimentFigures]

    def difference(
        self, a: TestedExperiment, b: TestedExperiment, sides: int = 2
    ) -> tuple[tuple[int, ...], PairedDifference]:
        """Return the paired difference of accuracies, a minus b, and the seeds that it is from."""
        common = tuple(seed for seed in a.seeds if seed in b.seeds)
        if not (a.has_seeds and b.has_seeds):
            common = a.seeds if a.has_seeds else b.seeds
        elif common:
            a, b = a.of_seeds(common), b.of_seeds(common)
        correct = correct_decisions(align([*a.tables, *b.tables]))
        count = len(a.tables)
        items = np.arange(correct.shape[1])
        found = paired_difference(correct[:count], correct[count:], items, self.confidence, sides)
        return common or a.seeds, found


def measure(runs: Runs, confidence: float) -> Measured:
    """Read the test predictions of all ``runs``, one item per duplicate group.

    Raises:
        InputError: a run's files are damaged, or runs were tested on different images.
    """
    tested = {name: _read(found) for name, found in runs.items() if found}
    if not tested:
        return Measured(0, 0, confidence, {}, {})
    align([table for one in tested.values() for table in one.tables])
    first = next(iter(tested.values()))
    paths = first.tables[0].paths
    groups = read_duplicates(RunFolder(first.runs[0]).duplicates, "test", paths)
    tested = {name: one.distinct(groups) for name, one in tested.items()}
    counted = next(iter(tested.values())).tables[0]
    return Measured(
        images=len(counted),
        defects=int(counted.is_defect.sum()),
        confidence=confidence,
        tested=tested,
        experiments={name: _figures(one, confidence) for name, one in tested.items()},
    )


def _read(runs: Sequence[tuple[int, Path]]) -> TestedExperiment:
    records = [read_record(folder) for _, folder in runs]
    tables = [
        read_own_predictions(folder, record, "test")
        for (_, folder), record in zip(runs, records, strict=True)
        if record
    ]
    seeds, folders = zip(*runs, strict=True)
    has_seeds = all(record is None or record.has_seed for record in records)
    fixes = [record.data.fixes for record in records if record and record.data.fixes]
    doubts = [doubt for one in fixes if (doubt := one.doubt("test"))]
    return TestedExperiment(seeds, folders, align(tables), has_seeds, next(iter(doubts), None))


def _figures(tested: TestedExperiment, confidence: float) -> ExperimentFigures:
    correct = correct_decisions(tested.tables)
    is_defect = tested.tables[0].is_defect

    def rate(items: NDArray[np.bool_]) -> ClusteredMean:
        return clustered_mean_interval(
            correct[:, items], np.arange(np.count_nonzero(items)), confidence
        )

    rejected = [float(np.mean(table.scores >= ARGMAX_THRESHOLD)) for table in tested.tables]
    return ExperimentFigures(
        accuracy=rate(np.ones_like(is_defect)),
        accuracy_by_seed=SeedSpread(tuple(correct.mean(axis=1))),
        recall=rate(is_defect),
        clean_yield=rate(~is_defect),
        auroc=SeedSpread(tuple(_auroc(table) for table in tested.tables)),
        ece=SeedSpread(tuple(_ece(table) for table in tested.tables)),
        misses=SeedSpread(tuple((~correct[:, is_defect]).sum(axis=1))),
        collapsed=tuple(
            seed
            for seed, share in zip(tested.seeds, rejected, strict=True)
            if max(share, 1 - share) >= ONE_SIDED_SHARE
        ),
    )


def _auroc(table: Predictions) -> float:
    ranking = table.scores if table.logits is None else table.logits
    area = auroc(ranking, table.is_defect)
    assert area is not None  # a split without both classes is refused when it is made
    return area


def _ece(table: Predictions) -> float:
    error = expected_calibration_error(table.scores, table.is_defect)
    assert error is not None
    return error


def compare_planned(
    planned: Sequence[PlannedComparison], measured: Measured
) -> tuple[tuple[ComparisonFigures, ...], tuple[PlannedComparison, ...]]:
    """Return the comparisons that can be made and those that can't, adjusted for all planned."""
    made, missing = [], []
    for item in planned:
        a, b = (measured.tested.get(name) for name in (item.a, item.b))
        if a is None or b is None:
            missing.append(item)
        else:
            made.append((item, *measured.difference(a, b)))
    level = (1 - measured.confidence) / max(len(planned), 1)
    adjusted = holm([difference.p_value for _, _, difference in made], len(planned))
    figures = [
        ComparisonFigures(
            **item.model_dump(),
            seeds=seeds,
            paired=found,
            p_adjusted=p,
            detectable=detectable_difference(found.standard_error, level, found.groups),
        )
        for (item, seeds, found), p in zip(made, adjusted, strict=True)
    ]
    return tuple(figures), tuple(missing)
