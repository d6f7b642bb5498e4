"""Certifying a finished run on newly collected crops: the exact way before going live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.data.dataset import Dataset, open_dataset
from drupe.data.duplicates import duplicate_groups, pixel_key
from drupe.data.overlay import active_fixes
from drupe.errors import InputError
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.evaluation.source import JudgedSplit, ModelPredictions
from drupe.progress import Progress, silent
from drupe.training.claim import check_store
from drupe.training.judgement import defect_logits
from drupe.training.preparation import prepare_data
from drupe.training.record import read_config
from drupe.training.saved import load_network
from drupe.training.source import ImageSource


def certify_on_fresh(
    model: ModelPredictions, run: Path, root: Path, store: Path, progress: Progress = silent
) -> ModelPredictions:
    """Return ``model`` with the run's predictions on the crops in ``root`` as calibration.

    ``root`` is a folder of labelled crops with the run's classes; train/ and val/ in it, if any,
    are taken together. Scores are computed on the CPU in fp32 by the run's own weights.

    Raises:
        InputError: other classes, crops that the run was trained or judged on, or a folder whose
            images can't be read.
    """
    check_store(store)
    config = read_config(run)
    network, metadata = load_network(run)
    fresh = open_dataset(
        root,
        store=store,
        size=metadata.input.size,
        defect=metadata.classes[1],
        unreadable=config.data.unreadable,
        sizes=config.data.sizes,
        fixes=active_fixes(root, store),
        progress=progress,
    )
    if fresh.classes != metadata.classes:
        trained, got = (" / ".join(names) for names in (metadata.classes, fresh.classes))
        raise InputError(
            f"{root}: the classes (clean / defect) must be {trained}, as the run was trained, "
            f"got {got}"
        )
    known = prepare_data(config, store, progress).dataset
    _require_new(fresh, known, root, run)
    items = np.arange(len(fresh.paths), dtype=np.intp)
    source = ImageSource(fresh.images, fresh.is_defect, next(network.parameters()).device)
    logits = defect_logits(network, source, items, progress, "predict fresh crops")
    table = Predictions(
        paths=fresh.paths,
        is_defect=fresh.is_defect,
        logits=logits,
        scores=scores_from_logits(logits, metadata.temperature),
        classes=fresh.classes,
    )
    groups = duplicate_groups(fresh.images, fresh.digests, progress)
    return model.with_calibration(JudgedSplit(table, groups), fresh.fingerprint)


def _require_new(fresh: Dataset, known: Dataset, root: Path, run: Path) -> None:
    """Refuse crops of the run's own data, also turned or flipped: their scores are in-sample."""
    seen = set(_keys(known.images))
    repeated = [
        path for path, key in zip(fresh.paths, _keys(fresh.images), strict=True) if key in seen
    ]
    if repeated:
        raise InputError(
            f"{root}: must hold new crops, got {len(repeated):,} that the run {run} was trained or "
            f"judged on, such as {repeated[0]}"
        )


def _keys(images: NDArray[np.uint8]) -> list[bytes]:
    return [pixel_key(np.asarray(image)) for image in images]
