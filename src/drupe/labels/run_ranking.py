"""The labels of a run's data, ranked by scores of networks that never saw the items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drupe.errors import InputError
from drupe.evaluation.certificate import NotCertifiableError
from drupe.evaluation.holding import ThresholdHolders, threshold_holders
from drupe.evaluation.metrics import auroc
from drupe.evaluation.model_predictions import JudgedSplit, read_run_predictions
from drupe.evaluation.operating_point import read_recorded
from drupe.labels.noise import WrongLabels, estimate_wrong_labels
from drupe.labels.ranking import RankedLabel, ScoredLabels, class_probabilities, rank_labels
from drupe.progress import Progress, silent
from drupe.runs.record import read_record
from drupe.training.crossfit import score_out_of_fold
from drupe.training.saved import load_network

RANK_INSTEAD = "rank labels with a single run that Drupe trained"


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


def rank_run(
    run: Path,
    folds: int,
    store: Path,
    *,
    data_root: Path | None = None,
    progress: Progress = silent,
) -> LabelRanking:
    """Rank the labels of ``run``'s fit, calibration and test items; the run stays as it is.

    Fit and calibration are scored by ``folds`` further networks, each on the fold that it hasn't
    seen; test by the run's own, which never saw it either.

    Raises:
        InputError: no finished run, one that no folds can be trained for, or changed data.
    """
    if read_record(run) is None:
        raise InputError(f"{run}: must be a run directory, but it holds no run.json")
    model, request = read_run_predictions(run), read_recorded(run).request
    training = score_out_of_fold(
        run,
        folds,
        store,
        data_fingerprint=model.data_fingerprint,
        run_data=data_root,
        option="--data",
        instead=RANK_INSTEAD,
        progress=progress,
    )
    # Where the run learnt from all training items, what stands for calibration is of the folds.
    own = None if model.approximate else model.calibration
    calibration = frozenset(own.table.paths if own else ())
    split_of = {
        path: "calibration" if path in calibration else "fit" for path in training.table.paths
    }
    split_of |= dict.fromkeys(model.test.table.paths if model.test else (), "test")
    splits = [training, model.test] if model.test else [training]
    items = _pooled(splits, split_of, load_network(run)[1].temperature)
    holders, no_holders = None, None
    try:
        holders = threshold_holders((own or training).distinct, request)
    except NotCertifiableError as refusal:
        no_holders = str(refusal)
    order = auroc(items.probabilities[:, 1], items.labels == 1)
    assert order is not None  # training has both classes
    return LabelRanking(
        rank_labels(items),
        order,
        estimate_wrong_labels(
            items.probabilities, items.labels, items.groups, items.classes, progress=progress
        ),
        holders,
        no_holders,
    )


def _pooled(
    splits: list[JudgedSplit], split_of: Mapping[str, str], temperature: float
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
