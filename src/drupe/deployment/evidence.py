"""The crops that an export is certified and compared on: the run's own and, if given, new ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.deployment.gate import Crops
from drupe.errors import InputError
from drupe.evaluation.model_predictions import ModelPredictions, read_run_predictions
from drupe.evaluation.operating_point import read_recorded
from drupe.progress import Progress
from drupe.runs.record import read_record, require_same_data, require_same_splits
from drupe.training.config import read_config
from drupe.training.fresh import calibrate_on_fresh
from drupe.training.preparation import PreparedData, prepare_data

OWN_CALIBRATION = "the run's own calibration"
"""Name of the split that is compared, but certifies nothing where new crops do."""


@dataclass(frozen=True)
class Evidence:
    """The tested ``model``, whose calibration certifies, and all ``splits`` to compare on.

    ``data`` are the run's; ``is_new``: the calibration was collected after the run was trained.
    """

    model: ModelPredictions
    data: PreparedData
    splits: tuple[Crops, ...]
    is_new: bool

    def calibration_json(self) -> dict[str, Any]:
        """Return what certificates are made on: ``defects`` and ``clean`` are distinct items."""
        split = self.model.calibration
        assert split is not None
        defects = int(split.distinct.is_defect.sum())
        return {
            "is_new": self.is_new,
            "data_fingerprint": self.model.data_fingerprint,
            "images": len(split.table),
            "defects": defects,
            "clean": len(split.distinct) - defects,
        }


def gather_evidence(run: Path, fresh: Path | None, store: Path, progress: Progress) -> Evidence:
    """Read a finished run, its data and the labelled crops in ``fresh``, if any.

    Raises:
        InputError: no finished run, other data, nothing to certify on, or ``fresh`` crops that
            :func:`calibrate_on_fresh` refuses.
    """
    own = read_run_predictions(run)
    if fresh is None:
        _require_own_calibration(run, own)
    data = _data(run, own, store, progress)
    if fresh is None:
        return Evidence(own, data, _own_crops(own, data, "calibration"), is_new=False)
    new = calibrate_on_fresh(own, run, fresh, store, progress)
    assert new.model.calibration is not None
    crops = Crops("calibration", new.images, new.model.calibration.table.scores)
    return Evidence(new.model, data, (crops, *_own_crops(own, data, OWN_CALIBRATION)), is_new=True)


def _require_own_calibration(run: Path, own: ModelPredictions) -> None:
    """Refuse a run that has no calibration, or was certified on other crops: they are needed."""
    if own.calibration is None:
        raise InputError(
            f"{run}: must have calibration scores to be exported, got none: drupe threshold {run} "
            "--cross-fit K gives them, or give new, labelled crops with --data"
        )
    certified_on = read_recorded(run).data_fingerprint
    if certified_on not in (None, own.data_fingerprint):
        raise InputError(
            f"{run}: was certified on new crops ({certified_on[:12]}), so its bundle takes them "
            f"too: give --data DIR; drupe threshold {run} goes back to the run's own calibration"
        )


def _data(run: Path, own: ModelPredictions, store: Path, progress: Progress) -> PreparedData:
    """Return the run's data, which must be what it was when the run was trained."""
    record = read_record(run)
    assert record is not None
    require_same_splits(run, record)
    config = read_config(run)
    data = prepare_data(config, store, progress)
    require_same_data(config.data.root, own.data_fingerprint, data.dataset.fingerprint)
    return data


def _own_crops(own: ModelPredictions, data: PreparedData, calibration: str) -> tuple[Crops, ...]:
    """Return the images of calibration and test in the order of their predictions.

    Cross-fitted scores of calibration are those of other networks: there is nothing to compare.
    """
    place = {path: index for index, path in enumerate(data.dataset.paths)}
    splits = []
    for name, split in ((calibration, own.calibration), ("test", own.test)):
        if split is None or (name == calibration and own.approximate):
            continue
        items = [place[path] for path in split.table.paths]
        splits.append(Crops(name, data.dataset.images[items], split.table.scores))
    return tuple(splits)
