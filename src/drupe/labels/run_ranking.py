"""The labels of a run's data, ranked by scores of networks that never saw the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drupe.errors import InputError
from drupe.evaluation.certificate import NotCertifiableError
from drupe.evaluation.holding import ThresholdHolders, threshold_holders
from drupe.evaluation.metrics import auroc
from drupe.evaluation.model_predictions import (
    JudgedSplit,
    ModelPredictions,
    read_run_predictions,
)
from drupe.evaluation.operating_point import read_recorded
from drupe.evaluation.predictions_csv import read_predictions
from drupe.labels.network_neighbours import Judges, find_neighbours
from drupe.labels.noise import WrongLabels, estimate_wrong_labels
from drupe.labels.ranking import RankedLabel, ScoredLabels, class_probabilities, rank_labels
from drupe.progress import Progress, silent
from drupe.runs.evaluation_file import read_evaluation
from drupe.runs.layout import RunFolder
from drupe.runs.record import RunRecord, read_record, require_same_data
from drupe.study.definition.plan import Task
from drupe.study.execution.batch import train_all
from drupe.study.execution.executor import Executor
from drupe.training.crossfit import FoldRun, fold_runs, score_out_of_fold
from drupe.training.preparation import prepare_data, recorded_config


@dataclass(frozen=True)
class LabelRanking:
    """All items in the order of doubt, and what follows for noise and threshold.

    ``auroc`` is that of the scores that the ranking rests on, against the labels as they are: near
    0.5 neither ranking nor ``wrong`` mean anything. ``holders`` is None where no threshold can be
    certified on the run's own calibration, and ``no_holders`` then says why.
    """

    ranking: tuple[RankedLabel, ...]
    auroc: float
    wrong: tuple[WrongLabels, ...]
    holders: ThresholdHolders | None
    no_holders: str | None

    def to_json(self, top: int) -> dict[str, Any]:
        """Return the first ``top`` items, the estimates, and what holds the threshold."""
        return {
            "items": len(self.ranking),
            "ranking": [one.to_json() for one in self.ranking[:top]],
            "auroc": self.auroc,
            "wrong_labels": [one.to_json() for one in self.wrong],
            "threshold": self.holders.to_json() if self.holders else None,
            "no_threshold": self.no_holders,
        }


@dataclass(frozen=True)
class Folds:
    """The networks that score what they haven't seen: of each of ``count`` folds, ``seeds``.

    ``executor`` trains them, None: this process, one after the other. ``weights_folder``: of
    pretrained weights.
    """

    count: int = 5
    seeds: int = 1
    executor: Executor | None = None
    weights_folder: Path | None = None


@dataclass(frozen=True)
class _Scored:
    """Items by networks that never saw them.

    ``tables``: each scored alike; ``split_of``: path → split; ``holding``: the calibration that a
    threshold rests on, None where nothing can be certified on it, for the reason ``refusal``.
    """

    tables: tuple[JudgedSplit, ...]
    split_of: Mapping[str, str]
    judges: tuple[Judges, ...]
    holding: JudgedSplit | None
    refusal: str | None = None


def rank_run(
    run: Path,
    folds: Folds,
    store: Path,
    *,
    data_root: Path | None = None,
    progress: Progress = silent,
) -> LabelRanking:
    """Rank the labels of ``run``'s fit, calibration and test items; the run stays as it is.

    Fit and calibration are scored by further networks, each on the fold that it hasn't seen; test
    by the run's own, which never saw it either. A run that no folds can be trained for, because it
    was imported or is an ensemble, ranks by itself what it has never seen.

    Raises:
        InputError: no finished run, changed data, or an imported one that may have seen all of it.
        DrupeError: a fold can't be trained.
    """
    record = read_record(run)
    if record is None:
        raise InputError(f"{run}: must be a run directory, but it holds no run.json")
    model, request = read_run_predictions(run), read_recorded(run).request
    config = recorded_config(run, data_root, option="--data")
    data = prepare_data(config, store, progress)
    require_same_data(config.data.root, model.data_fingerprint, data.dataset.fingerprint)
    if record.has_seed:
        scored = _out_of_fold(run, folds, store, model, data_root, progress)
    else:
        scored = _by_itself(run, record, model)
    items = _pooled(scored.tables, scored.split_of, read_evaluation(run).temperature)
    holders, no_holders = None, scored.refusal
    if scored.holding is not None:
        try:
            holders = threshold_holders(scored.holding.distinct, request)
        except NotCertifiableError as refusal:
            no_holders = str(refusal)
    order = auroc(items.probabilities[:, 1], items.labels == 1)
    assert order is not None  # every split has both classes
    return LabelRanking(
        rank_labels(items, find_neighbours(scored.judges, data, progress)),
        order,
        estimate_wrong_labels(
            items.probabilities, items.labels, items.groups, items.classes, progress=progress
        ),
        holders,
        no_holders,
    )


def _out_of_fold(
    run: Path,
    folds: Folds,
    store: Path,
    model: ModelPredictions,
    data_root: Path | None,
    progress: Progress,
) -> _Scored:
    """Train what is missing of the folds; return the scores of all items of training, and of test.

    Test keeps the scores of the run itself: figures that are estimated from a review are its own.
    """
    runs = fold_runs(run, folds.count, folds.seeds, run_data=data_root, option="--data")
    if folds.executor is not None:
        train_all(
            [_task(one) for one in runs],
            model.data_fingerprint,
            store,
            folds.executor,
            weights_folder=folds.weights_folder,
            progress=progress,
            what="train folds",
        )
    training = score_out_of_fold(
        run,
        folds.count,
        store,
        data_fingerprint=model.data_fingerprint,
        seeds=folds.seeds,
        run_data=data_root,
        option="--data",
        progress=progress,
    )
    # Where the run learnt from all training items, what stands for calibration is of the folds.
    own = None if model.approximate else model.calibration
    calibration = frozenset(own.table.paths if own else ())
    split_of = {
        path: "calibration" if path in calibration else "fit" for path in training.table.paths
    }
    judges = [_judges([one for one in runs if one.fold == fold]) for fold in range(folds.count)]
    tables = [training]
    if model.test:
        split_of |= dict.fromkeys(model.test.table.paths, "test")
        judges.append(Judges((run,), model.test.table.paths))
        tables.append(model.test)
    return _Scored(tuple(tables), split_of, tuple(judges), own or training)


def _task(one: FoldRun) -> Task:
    config = one.config
    return Task(config.name, "fold", config.name, "gpu", one.folder, config.seed, config)


def _judges(of_a_fold: Sequence[FoldRun]) -> Judges:
    """Return the networks of a fold, of every seed, and the items that they have left out."""
    folders = tuple(one.folder for one in of_a_fold)
    return Judges(folders, read_predictions(RunFolder(folders[0]).predictions("calibration")).paths)


def _by_itself(run: Path, record: RunRecord, model: ModelPredictions) -> _Scored:
    """Return the scores of what an imported run, or an ensemble, has never seen.

    Raises:
        InputError: it has learnt from items of every split, or may have.
    """
    seen = record.imported.seen if record.imported else None
    is_test_unseen = seen is None or seen.test_unseen
    unseen = {
        "calibration": None if model.in_sample else model.calibration,
        "test": model.test if is_test_unseen else None,
    }
    tables = {name: split for name, split in unseen.items() if split is not None}
    if not tables:
        raise InputError(
            f"{run}: must have items that it has never seen, got none that are known to be: "
            "import it with the list of its training files (--trained-on FILE), or rank the "
            "labels with a run that Drupe trained"
        )
    split_of = {path: name for name, split in tables.items() for path in split.table.paths}
    judges = tuple(Judges((run,), split.table.paths) for split in tables.values())
    return _Scored(
        tuple(tables.values()),
        split_of,
        () if record.is_graph else judges,  # PyTorch can't run it
        tables.get("calibration"),
        model.in_sample or "the run has no calibration items of its own",
    )


def _pooled(
    splits: Sequence[JudgedSplit], split_of: Mapping[str, str], temperature: float
) -> ScoredLabels:
    """Return the items of several splits as one; no copy of an item is in another split."""
    tables = [split.table for split in splits]
    logits = [table.logits for table in tables if table.logits is not None]
    if len(logits) < len(tables):
        raise InputError("predictions: must hold the column logit; drupe evaluate RUN writes it")
    starts = np.cumsum([0, *(int(split.groups.max(initial=-1)) + 1 for split in splits)])
    paths = tuple(path for table in tables for path in table.paths)
    return ScoredLabels(
        paths=paths,
        splits=tuple(split_of[path] for path in paths),
        labels=np.concatenate([table.is_defect for table in tables]).astype(np.int64),
        groups=np.concatenate(
            [split.groups + start for split, start in zip(splits, starts, strict=False)]
        ),
        probabilities=class_probabilities(np.concatenate(logits), temperature),
        classes=tables[0].classes,
    )
