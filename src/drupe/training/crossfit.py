"""Cross-fitting: K further runs give every training item a score from a network that never saw it.

The folds lie beside the run they serve, ``RUN-cross-fit-K/fold-k``, and are runs like any other:
killed, they resume; done, they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from drupe.errors import InputError
from drupe.evaluation.grouping import write_duplicates
from drupe.evaluation.model_predictions import (
    JudgedSplit,
    ModelPredictions,
    read_own_predictions,
)
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.evaluation.predictions_csv import write_predictions
from drupe.files import check_replaceable, unless_read_only
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record, require_same_data, require_same_splits
from drupe.runs.results import digest_files, prediction_files
from drupe.training.claim import exclusive
from drupe.training.config import ExperimentConfig, read_config
from drupe.training.folds import configure_fold
from drupe.training.preparation import PreparedData, prepare_data, recorded_config
from drupe.training.run import train_run
from drupe.training.saved import load_network

CERTIFY_INSTEAD = "certify it on newly collected crops (--data DIR)"
"""What to do about a run that no folds can be trained for, when a threshold is wanted."""


@dataclass(frozen=True)
class FoldRun:
    """A run that leaves ``fold`` (from 0) out: its configuration, and the directory it fills."""

    fold: int
    config: ExperimentConfig
    folder: Path


def fold_runs(
    run: Path,
    folds: int,
    seeds: int = 1,
    *,
    run_data: Path | None = None,
    option: str = "--run-data",
) -> tuple[FoldRun, ...]:
    """Return the runs that score all training items of ``run`` out of fold, trained or not.

    ``seeds``: of each fold so many, that of ``run`` and those that follow it. The folds are the
    same for all.

    Raises:
        InputError: as :func:`score_out_of_fold`.
    """
    config = _require_foldable(run, run_data, option)
    found = []
    for further in range(seeds):
        seed = config.seed + further
        for fold in range(folds):
            left_out = configure_fold(config, fold, folds)
            if further:
                name = f"{left_out.name}-seed-{seed}"
                left_out = left_out.model_copy(update={"seed": seed, "name": name})
            folder = RunFolder(run).fold(fold, folds, seed if further else None)
            found.append(FoldRun(fold, left_out, folder))
    return tuple(found)


def calibrate_on_folds(
    model: ModelPredictions,
    run: Path,
    folds: int,
    store: Path,
    progress: Progress = silent,
    *,
    run_data: Path | None = None,
) -> ModelPredictions:
    """Return ``model`` with out-of-fold predictions of all its training items as calibration.

    A run that has no calibration of its own keeps the pooled predictions as its own. ``run_data``
    says where the run's data lies now.

    Raises:
        InputError: as :func:`score_out_of_fold`.
    """
    pooled = score_out_of_fold(
        run,
        folds,
        store,
        data_fingerprint=model.data_fingerprint,
        run_data=run_data,
        progress=progress,
    )
    reason = (
        f"the scores come from {folds} networks, each trained on {folds - 1} of {folds} folds, and "
        "not from the network to be deployed: exact certification takes fresh crops (--data)"
    )
    if read_config(run).calibration.share is None:
        with unless_read_only(run, "the calibration of its folds"):
            _keep(run, model, pooled, reason)
    return model.with_calibration(pooled, model.data_fingerprint, approximate=reason)


def score_out_of_fold(
    run: Path,
    folds: int,
    store: Path,
    *,
    data_fingerprint: str,
    seeds: int = 1,
    run_data: Path | None = None,
    option: str = "--run-data",
    progress: Progress = silent,
) -> JudgedSplit:
    """Return out-of-fold predictions of all training items of ``run``, sorted by path.

    Trains what is missing of the ``folds`` runs; ``run`` itself stays as it is. Logits of all folds
    are pooled and take the temperature of ``run``: fitting one per fold on the scores to be
    certified would use them twice.

    Args:
        seeds: networks of each fold, whose logits are averaged.
        run_data: where the data of the run lies now; None: where it was trained.
        option: the option that gives it, for the message of data that isn't found.

    Raises:
        InputError: the run is itself a fold, an ensemble or imported, or its data has changed.
    """
    runs = fold_runs(run, folds, seeds, run_data=run_data, option=option)
    tables: dict[int, list[Predictions]] = {fold: [] for fold in range(folds)}
    data = None
    for number, one in enumerate(runs, 1):
        data = prepare_data(one.config, store, progress)
        require_same_data(one.config.data.root, data_fingerprint, data.dataset.fingerprint)
        with progress(f"fold {number} of {len(runs)}", 1, "runs") as tracker:
            train_run(one.config, one.folder, store, resume=True, progress=progress)
            tracker.advance()
        record = read_record(one.folder)
        assert record is not None
        tables[one.fold].append(read_own_predictions(one.folder, record, "calibration"))
    assert data is not None
    averaged = [_averaged(several) for several in tables.values()]
    return _pool(averaged, data, load_network(run)[1].temperature)


def _averaged(tables: Sequence[Predictions]) -> Predictions:
    """Return the same items with the mean of the tables' logits."""
    logits = np.array([table.logits for table in tables], np.float64)
    return replace(tables[0], logits=logits.mean(axis=0).astype(np.float32))


def _require_foldable(run: Path, run_data: Path | None, option: str) -> ExperimentConfig:
    """Return the configuration of ``run``, for which folds must be trainable."""
    record = read_record(run)
    if record and record.imported:
        raise InputError(
            f"{run}: was imported, and how it was trained isn't known, so no folds can be trained "
            f"like it: {CERTIFY_INSTEAD}"
        )
    if record:
        require_same_splits(run, record)
    if record and record.members:
        raise InputError(
            f"{run}: is an ensemble of {len(record.members)} runs, which share their own "
            "calibration (drupe threshold RUN certifies it on that): no folds are trained for it; "
            f"{CERTIFY_INSTEAD}"
        )
    config = recorded_config(run, run_data, option=option)
    if config.calibration.left_out is not None:
        raise InputError(f"{run}: is itself a fold of a cross-fit; give the run that it serves")
    return config


def _keep(run: Path, model: ModelPredictions, pooled: JudgedSplit, reason: str) -> None:
    """Write the pooled predictions into the run, marked as approximate."""
    record, test = read_record(run), model.test
    assert record is not None
    assert test is not None
    files = RunFolder(run)
    with exclusive(run):
        check_replaceable(files.record)  # all of it or nothing
        write_predictions(files.predictions("calibration"), pooled.table)
        splits = {"calibration": pooled, "test": test}
        write_duplicates(
            files.duplicates,
            {name: (split.table.paths, split.groups) for name, split in splits.items()},
        )
        record.data.calibration, record.data.approximate = len(pooled.table), reason
        if record.results is not None:
            record.results |= digest_files(run, *prediction_files(run, "calibration"))
        record.write(run)


def _pool(parts: Sequence[Predictions], data: PreparedData, temperature: float) -> JudgedSplit:
    """Return the folds' calibration items as one split, sorted by path as datasets are."""
    paths = np.concatenate([np.array(table.paths, object) for table in parts])
    logits = np.concatenate([table.logits for table in parts if table.logits is not None])
    defects = np.concatenate([table.is_defect for table in parts])
    order = np.argsort(paths)

    def pooled(told: list[tuple[str, ...] | None]) -> tuple[str, ...] | None:
        values = [value for part in told if part is not None for value in part]
        return tuple(values[index] for index in order) if len(values) == len(order) else None

    group_of = dict(zip(data.dataset.paths, data.groups.tolist(), strict=True))
    table = Predictions(
        paths=tuple(paths[order]),
        is_defect=defects[order],
        logits=logits[order],
        scores=scores_from_logits(logits[order], temperature),
        classes=parts[0].classes,
        types=pooled([table.types for table in parts]),
        groups=pooled([table.groups for table in parts]),
    )
    return JudgedSplit(table, np.array([group_of[path] for path in table.paths], np.int32))
