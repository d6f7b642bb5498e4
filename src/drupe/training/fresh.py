"""Certifying a finished run on newly collected crops: the exact way before going live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.copy_rule import duplicate_groups
from drupe.data.dataset import Dataset
from drupe.data.image_contract import RawPixel
from drupe.errors import InputError
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.progress import Progress, silent
from drupe.runs.record import FixesRecord, read_record, require_same_data
from drupe.training.claim import check_store
from drupe.training.image_batches import ImageSource
from drupe.training.judgement import defect_logits
from drupe.training.learnt import read_digests
from drupe.training.preparation import open_as_configured, prepare_data, recorded_config
from drupe.training.saved import load_network

PREDICT = "predict fresh crops"

Scorer = Callable[[Dataset, Progress], tuple[NDArray[np.float32], NDArray[np.float32] | None]]
"""Gives the score of each image of a dataset, float32 [n], and its logit where there is one."""


def calibrate_on_fresh(
    model: ModelPredictions,
    run: Path,
    root: Path,
    store: Path,
    progress: Progress = silent,
    *,
    run_data: Path | None = None,
    labels: str | None = None,
    scorer: Scorer | None = None,
) -> ModelPredictions:
    """Return ``model`` with the run's predictions on the crops in ``root`` as calibration.

    ``root`` is a folder of labelled crops with the run's classes; train/ and val/ in it, if any,
    are taken together. ``run_data`` says where the run's own data lies now; ``labels``: the
    revision of the new crops' labels, None for the newest. ``scorer``: None for the run's own
    weights, in PyTorch on the CPU in fp32.

    Raises:
        InputError: other classes, crops that the run was trained or judged on, or a folder whose
            images can't be read.
    """
    check_store(store)
    config = recorded_config(run, run_data)
    scorer, record = scorer or _own_scorer(run), read_record(run)
    assert record is not None
    naming = config.data.naming.of_new_items()
    if not naming.has_types:
        naming = replace(naming, defect=record.data.classes[1])
    fresh = open_as_configured(config, root, naming, labels, store, progress)
    if fresh.classes != record.data.classes:
        trained, got = (" / ".join(names) for names in (record.data.classes, fresh.classes))
        raise InputError(
            f"{root}: the classes (clean / defect) must be {trained}, as the run was trained, "
            f"got {got}"
        )
    known = prepare_data(config, store, progress).dataset
    why = ", or it can't be told whether the crops are new;"
    require_same_data(config.data.root, model.data_fingerprint, known.fingerprint, why=why)
    learnt = read_digests(run)
    if repeated := [p for p, one in zip(fresh.paths, fresh.digests, strict=True) if one in learnt]:
        raise InputError(
            f"{root}: must hold new crops, got {len(repeated):,} that the network of {run} "
            f"has learnt from, such as {repeated[0]}"
        )
    groups = _groups_if_new(fresh, known, root, run, progress)
    scores, logits = scorer(fresh, progress)
    table = Predictions(
        paths=fresh.paths,
        is_defect=fresh.is_defect,
        logits=logits,
        scores=scores,
        classes=fresh.classes,
        types=fresh.types,
        groups=fresh.origins,
    )
    split = JudgedSplit(table, groups)
    return model.with_calibration(split, fresh.fingerprint, is_new=True, doubt=_doubt(fresh))


def _own_scorer(run: Path) -> Scorer:
    """Return what scores images by the weights of ``run``."""
    network, metadata = load_network(run)

    def score(
        fresh: Dataset, progress: Progress
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        items = np.arange(len(fresh.paths), dtype=np.intp)
        source = ImageSource(fresh.images, fresh.is_defect, next(network.parameters()).device)
        logits = defect_logits(network, source, items, progress, PREDICT)
        return scores_from_logits(logits, metadata.temperature), logits

    return score


def _doubt(fresh: Dataset) -> str | None:
    """Say why nothing is proven on the labels of ``fresh``, if a model had some of them picked."""
    origins = [fix.origin for fix in fresh.fixed.all]
    count = sum(origin is not None and origin.cause == "suspect" for origin in origins)
    return FixesRecord(suspects={"calibration": count}).doubt("calibration")


def _groups_if_new(
    fresh: Dataset, known: Dataset, root: Path, run: Path, progress: Progress
) -> NDArray[np.int32]:
    """Return the duplicate groups of the fresh crops (int32 [n]).

    Crops with a copy in the run's own data are refused, also where it is turned or changed a
    little: the network has learnt them, so their scores say nothing of further crops.
    """
    both = _Stacked(known.images, fresh.images)
    digests = (*known.digests, *fresh.digests)
    groups = duplicate_groups(both, digests, progress, known.white_level)  # type: ignore[arg-type]
    seen, own = groups[: len(known.paths)], groups[len(known.paths) :]
    repeated = np.flatnonzero(np.isin(own, seen))
    if repeated.size:
        raise InputError(
            f"{root}: must hold new crops, got {repeated.size:,} that the run {run} was trained or "
            f"judged on, such as {fresh.paths[repeated[0]]}"
        )
    return np.unique(own, return_inverse=True)[1].astype(np.int32)


class _Stacked:
    """Two arrays of images of one type read as one, without copying either: [n + m, H, W, C]."""

    def __init__(self, first: NDArray[RawPixel], second: NDArray[RawPixel]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, key: slice | NDArray[np.intp] | int) -> NDArray[RawPixel]:
        indices = np.arange(len(self))[key]
        border = len(self._first)
        if np.ndim(indices) == 0:
            part, index = (self._first, indices)
            if indices >= border:
                part, index = self._second, indices - border
            return np.asarray(part[index])
        images = np.empty((len(indices), *self._first.shape[1:]), self._first.dtype)
        is_first = indices < border
        images[is_first] = self._first[indices[is_first]]
        images[~is_first] = self._second[indices[~is_first] - border]
        return images
