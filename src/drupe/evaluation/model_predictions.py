"""Predictions of one model, from a run directory or from anyone's CSV: files, no network.

Letters: n items of a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError
from drupe.evaluation.certificate import MeasuredOn
from drupe.evaluation.grouping import read_duplicates
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.predictions_csv import read_predictions
from drupe.files import file_hash
from drupe.runs.layout import RunFolder
from drupe.runs.record import FixesRecord, RunRecord, read_record, require_done
from drupe.runs.results import prediction_files, require_own

RUN_BACKEND = MeasuredOn(graph="", backend="pytorch", precision="fp32")
"""The function behind a run's predictions; the graph is the run's own weights."""

GRAPH_BACKEND = MeasuredOn(graph="", backend="onnxruntime", precision="fp32")
"""The same of a run that came as an ONNX file."""


@dataclass(frozen=True)
class JudgedSplit:
    """The predictions of one split; ``groups`` (int [n], from 0) has equal numbers for copies."""

    table: Predictions
    groups: NDArray[np.integer]

    @classmethod
    def of_distinct(cls, table: Predictions) -> JudgedSplit:
        """Return a split in which no item is known to be a copy of another."""
        return cls(table, np.arange(len(table)))

    def of_paths(self, paths: Set[str]) -> JudgedSplit:
        """Return the split with those of its items alone that ``paths`` name."""
        table = self.table
        kept = [place for place, path in enumerate(table.paths) if path in paths]
        if len(kept) == len(table):
            return self
        places = np.array(kept, np.intp)
        _, groups = np.unique(self.groups[places], return_inverse=True)
        return JudgedSplit(table.take(places), groups)

    @cached_property
    def distinct(self) -> Predictions:
        """One item per duplicate group: what claims count."""
        if np.bincount(self.groups).max(initial=0) <= 1:
            return self.table
        return self.table.distinct(self.groups)


@dataclass(frozen=True)
class ModelPredictions:
    """A model's predictions and where they come from.

    A run brings ``calibration`` and ``test``; a CSV is one split, which stands for both: a
    threshold is certified on it, or models are compared on it, never one after the other.
    ``approximate`` says why thresholds certified on this calibration carry no exact guarantee, if
    they don't; ``in_sample`` why nothing at all can be certified on it, ``caveats`` what makes the
    test figures optimistic, of a network trained elsewhere or of corrected labels. ``experiment``
    and ``seed`` are those of a run, None for a CSV. ``doubt`` and ``test_doubt`` say why nothing is
    proven on the labels of calibration and of test, where they were changed because a model
    disagreed. ``fit_items``: from so many items it has learnt that could have been set aside
    instead; 0 where that isn't known, or calibration was collected later.
    """

    name: str
    calibration: JudgedSplit | None
    test: JudgedSplit | None
    data_fingerprint: str
    measured_on: MeasuredOn
    approximate: str | None = None
    experiment: str | None = None
    seed: int | None = None
    in_sample: str | None = None
    caveats: tuple[str, ...] = ()
    fit_items: int = 0
    doubt: str | None = None
    test_doubt: str | None = None

    @property
    def inexact(self) -> str | None:
        """Why a threshold certified here carries no exact guarantee, if it doesn't."""
        return self.approximate or self.doubt

    def with_calibration(
        self,
        split: JudgedSplit,
        data_fingerprint: str,
        approximate: str | None = None,
        *,
        is_new: bool = False,
        doubt: str | None = None,
    ) -> ModelPredictions:
        """Return the same model with other calibration items, or other scores of the same ones.

        ``is_new``: the items were collected after it was trained, so none of them is in-sample, and
        what ``doubt`` there is about labels is about theirs.
        """
        return replace(
            self,
            calibration=split,
            data_fingerprint=data_fingerprint,
            approximate=approximate,
            fit_items=0,
            in_sample=None if is_new else self.in_sample,
            doubt=doubt if is_new else self.doubt,
        )


def read_run_predictions(folder: Path, defect: str | None = None) -> ModelPredictions:
    """Read the predictions of a finished run.

    Raises:
        InputError: no finished run, damaged files, files of another run among them, or a defect
            class other than the run's.
    """
    run = read_record(folder)
    if run is None:
        raise InputError(f"{folder}: must be a run directory or a CSV file, but has no run.json")
    require_done(folder, run.status)
    clean_class, defect_class = run.data.classes
    if defect not in (None, defect_class):
        raise InputError(
            f"{folder}: the run was trained with the defect class {defect_class} "
            f"(clean: {clean_class}), got --defect {defect}"
        )
    splits = {
        name: _read_split(folder, name, run, expected)
        for name, expected in (("calibration", run.data.calibration), ("test", run.data.test))
        if expected
    }
    fixes = run.data.fixes or FixesRecord()
    caveats = run.imported.seen.caveats if run.imported else ()
    test_doubt = fixes.doubt("test")
    network = run.network_file(folder)
    own = {path for name in splits for path in prediction_files(folder, name)}
    require_own(folder, run, network, *sorted(own))
    function = GRAPH_BACKEND if run.is_graph else RUN_BACKEND
    return ModelPredictions(
        name=run.name,
        calibration=splits.get("calibration"),
        test=splits.get("test"),
        data_fingerprint=run.data.fingerprint,
        approximate=run.data.approximate,
        measured_on=replace(function, graph=file_hash(network)),
        experiment=run.experiment,
        seed=run.seed,
        in_sample=run.imported.seen.in_sample if run.imported else None,
        caveats=(*caveats, test_doubt) if test_doubt else caveats,
        fit_items=0 if run.imported or run.members or run.data.approximate else run.data.fit,
        doubt=fixes.doubt("calibration"),
        test_doubt=test_doubt,
    )


def read_own_predictions(folder: Path, run: RunRecord, split: str) -> Predictions:
    """Read what a run answers to a split; a table that it didn't write is an InputError."""
    table = read_predictions(RunFolder(folder).predictions(split), run.data.classes[1])
    require_own(folder, run, *prediction_files(folder, split))
    return table


def read_csv(
    path: Path, defect: str | None = None, *, score_is_logit: bool = False
) -> ModelPredictions:
    """Read a CSV ``path,label,score`` of one split; both ``calibration`` and ``test`` are it."""
    split = JudgedSplit.of_distinct(read_predictions(path, defect, score_is_logit=score_is_logit))
    fingerprint = table_hash(split.table)
    return ModelPredictions(
        name=path.stem,
        calibration=split,
        test=split,
        data_fingerprint=fingerprint,
        measured_on=MeasuredOn(graph=f"whatever wrote {path.name} ({fingerprint[:12]})"),
    )


def table_hash(table: Predictions) -> str:
    """Return a SHA-256 (hex) over paths, labels and scores, which a pipe has too."""
    digest = hashlib.sha256("\n".join(table.paths).encode("utf-8", "surrogateescape"))
    digest.update(table.is_defect.tobytes())
    digest.update(table.scores.tobytes())
    return digest.hexdigest()


def _read_split(folder: Path, name: str, run: RunRecord, expected: int) -> JudgedSplit:
    path = RunFolder(folder).predictions(name)
    table = read_predictions(path, run.data.classes[1])
    if len(table) != expected:
        raise InputError(
            f"{path}: must hold the {expected:,} items of the run, got {len(table):,}; "
            f"drupe evaluate {folder} writes it anew"
        )
    groups = read_duplicates(RunFolder(folder).duplicates, name, table.paths)
    return JudgedSplit(table, groups)
