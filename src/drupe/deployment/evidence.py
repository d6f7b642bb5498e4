"""The crops that an export is certified and compared on: the run's own and, if given, new ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.fix_matching import FixMatch
from drupe.data.image_contract import ImageContract, Order, RawPixel, read_images
from drupe.data.overlay import find_fixes
from drupe.data.table import folder_of
from drupe.deployment.gate import Crops
from drupe.errors import InputError
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions, read_run_predictions
from drupe.evaluation.operating_point import read_recorded
from drupe.progress import Progress
from drupe.runs.record import (
    read_record,
    require_run,
    require_same_data,
    require_same_splits,
    require_weights,
)
from drupe.training.config import read_config
from drupe.training.fresh import calibrate_on_fresh
from drupe.training.preparation import PreparedData, prepare_data, recorded_config

OWN_CALIBRATION = "the run's own calibration"
"""Name of the split that is compared, but certifies nothing where new crops do."""


@dataclass(frozen=True)
class Evidence:
    """The tested ``model``, whose calibration certifies, and all ``splits`` to compare on.

    ``contract``: how their images come from files to the graph; ``data`` are the run's;
    ``is_new``: the calibration was collected after the run was trained; ``fixed``: what became of
    the fixes, by folder.
    """

    model: ModelPredictions
    data: PreparedData
    splits: tuple[Crops, ...]
    is_new: bool
    contract: ImageContract
    fixed: Mapping[Path, FixMatch]

    @property
    def fit_images(self) -> NDArray[RawPixel]:
        """The images that the network learnt from, [n, H, W, C], as the graph takes them."""
        return self.contract.ordered(self.data.dataset.images[self.data.split.fit])

    @property
    def fit_is_defect(self) -> NDArray[np.bool_]:
        """Their labels, bool [n]."""
        return self.data.dataset.is_defect[self.data.split.fit]

    @property
    def held_out_images(self) -> NDArray[RawPixel]:
        """Images that the network didn't learn from: calibration's, or test's where it did."""
        return self.splits[0].images

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


def gather_evidence(
    run: Path,
    fresh: Path | None,
    store: Path,
    progress: Progress,
    channels: Order | None = None,
    run_data: Path | None = None,
) -> Evidence:
    """Read a finished run, its data and the labelled crops in ``fresh``, if any.

    The crops are decoded from their files anew, as the line will: what stands in the store could
    hide a difference. ``channels``: their order in the graph's input, by default as the run was
    trained. ``run_data`` says where the run's data lies now.

    Raises:
        InputError: no finished run, other data, nothing to certify on, ``fresh`` crops that
            :func:`calibrate_on_fresh` refuses, or an order of the channels of a mono run.
    """
    require_weights(run, require_run(run))
    own = read_run_predictions(run)
    contract = _contract(run, channels)
    if fresh is None:
        _require_own_calibration(run, own)
    data = _data(run, own, store, progress, run_data)
    if fresh is None:
        return own_evidence(own, data, contract, progress)
    reading = _Reading(data.dataset.root, contract, progress)
    fixed = {data.dataset.root: data.dataset.fixed}
    new = calibrate_on_fresh(own, run, fresh, store, progress, run_data=run_data)
    assert new.calibration is not None
    crops = _Reading(folder_of(fresh), contract, progress).crops("calibration", new.calibration)
    splits = (crops, *_own_crops(own, reading, OWN_CALIBRATION))
    fixed[fresh] = find_fixes(fresh, store)
    return Evidence(new, data, splits, is_new=True, contract=contract, fixed=fixed)


def own_evidence(
    own: ModelPredictions, data: PreparedData, contract: ImageContract, progress: Progress
) -> Evidence:
    """Return the evidence of a run's own calibration and test, their images read from the files."""
    splits = _own_crops(own, _Reading(data.dataset.root, contract, progress), "calibration")
    fixed = {data.dataset.root: data.dataset.fixed}
    return Evidence(own, data, splits, is_new=False, contract=contract, fixed=fixed)


def _contract(run: Path, channels: Order | None) -> ImageContract:
    trained = read_config(run).contract
    if channels is None:
        return trained
    if trained.is_mono:
        raise InputError(
            f"--channels: must be left out, because {run} was trained on one channel "
            f"(input.channels: mono), got {channels}"
        )
    return replace(trained, channels=channels)


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


def _data(
    run: Path, own: ModelPredictions, store: Path, progress: Progress, run_data: Path | None
) -> PreparedData:
    """Return the run's data, which must be what it was when the run was trained."""
    record = read_record(run)
    assert record is not None
    require_same_splits(run, record)
    config = recorded_config(run, run_data)
    data = prepare_data(config, store, progress)
    require_same_data(config.data.root, own.data_fingerprint, data.dataset.fingerprint)
    return data


@dataclass(frozen=True)
class _Reading:
    """How the images of a folder are read."""

    root: Path
    contract: ImageContract
    progress: Progress

    def crops(self, name: str, split: JudgedSplit) -> Crops:
        """Return the images of a split, from their files, in the order of its predictions."""
        table = split.table
        images = read_images(self.root, table.paths, self.contract, self.progress, f"read {name}")
        return Crops(name, images, table.scores)


def _own_crops(own: ModelPredictions, reading: _Reading, calibration: str) -> tuple[Crops, ...]:
    """Return calibration and test, as far as there are.

    Cross-fitted scores of calibration are those of other networks: there is nothing to compare.
    """
    kept = [("test", own.test)]
    if not own.approximate:
        kept.insert(0, (calibration, own.calibration))
    return tuple(reading.crops(name, split) for name, split in kept if split is not None)
