"""From a folder to the three splits that a run uses: the same for every run of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.configuration import fingerprint
from drupe.data.content import content_crop
from drupe.data.copies.copy_rule import duplicate_groups
from drupe.data.dataset import Dataset, open_dataset
from drupe.data.label_history import find_revision
from drupe.data.naming import Naming
from drupe.data.overlay import active_fixes, history_folder
from drupe.data.split import SIDES, Split, split_dataset
from drupe.data.table import is_table
from drupe.derived import read_arrays, write_arrays
from drupe.errors import InputError
from drupe.evaluation.holdout import holdout_share
from drupe.models.geometry import Geometry
from drupe.models.zoo import check_input
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder
from drupe.runs.record import (
    TRAINING_VERSION,
    AncestorRecord,
    DataRecord,
    FixesRecord,
    read_record,
)
from drupe.training.config import DataConfig, ExperimentConfig, read_config
from drupe.training.learnt import without_learnt

GROUPS_VERSION = 1
"""Raised when duplicates are found by another rule."""

GROUPS_FILE = "groups.npz"


NAMED_GROUPS = 10
"""Groups of a split that are named; more are only counted."""


@dataclass(frozen=True)
class PreparedData:
    """A packed dataset with its duplicate groups (int32 [N]) and splits.

    ``ancestor``: where the first weights come from an earlier run, what that one has learnt from;
    ``notes``: how the split came out where groups were kept together.
    """

    dataset: Dataset
    groups: NDArray[np.int32]
    split: Split
    ancestor: AncestorRecord | None = None
    notes: tuple[str, ...] = ()

    def geometry(self, config: ExperimentConfig) -> Geometry:
        """Return what the network sees of an image; ``auto`` looks at ``fit`` only.

        Raises:
            InputError: the network can't take what ``auto`` came to.
        """
        given = config.input
        crop = None if isinstance(given.crop, str) else given.crop
        if given.crop == "auto":
            fit = self.dataset.images[self.split.fit]
            crop = content_crop(fit, white_level=given.white_level)
        # What the crop saves is spent on detail: a step costs what it does on whole images.
        resolution = given.size if given.resolution == "auto" else given.resolution
        geometry = Geometry(given.size, crop, resolution, given.views)
        channels = config.contract.shape[2]
        check_input(config.model.architecture, geometry.side, channels=channels)
        return geometry

    @property
    def record(self) -> DataRecord:
        """The part of a run's record that describes its data."""
        dataset, split = self.dataset, self.split
        return DataRecord(
            fingerprint=dataset.fingerprint,
            classes=dataset.classes,
            fit=len(split.fit),
            calibration=len(split.calibration),
            test=len(split.test),
            dropped=len(split.dropped),
            skipped=list(dataset.skipped),
            passed_over=dataset.passed.to_json(),
            fixes=FixesRecord(**dataset.fixed.to_json(), suspects=self._suspects),
            notes=[*dataset.notes, *self.notes],
        )

    @property
    def _suspects(self) -> dict[str, int]:
        """Count, by split, the fixes of images that were looked at because a model disagreed.

        Of an image that was left out, the split is that of the ranking; where there was none, it
        counts for calibration and test.
        """
        place = {path: index for index, path in enumerate(self.dataset.paths)}
        sides = {name: getattr(self.split, name) for name in SIDES}
        counts: Counter[str] = Counter()
        for fix, path in self.dataset.fixed.honoured:
            if fix.origin is None or fix.origin.cause != "suspect":
                continue
            if path in place:
                counts.update(name for name, items in sides.items() if place[path] in items)
            else:
                counts.update([fix.origin.split] if fix.origin.split in SIDES else SIDES[1:])
        return dict(counts)


def require_root(data: DataConfig) -> Path:
    """Return the dataset's folder or table; an experiment without one is an :class:`InputError`."""
    if data.root is None:
        raise InputError("data.root: required: give --data DIR, or data.root in the file")
    return data.root


def recorded_config(
    run: Path, data_root: Path | None = None, *, option: str = "--run-data"
) -> ExperimentConfig:
    """Read the configuration of a finished ``run``, with the folder where its data lies now.

    ``data_root``: None where that is the folder it was trained from. ``option`` is what names it on
    the command line.

    Raises:
        InputError: the folder isn't there.
    """
    config = _own_config(run)
    if data_root is not None:
        data = config.data.model_copy(update={"root": data_root.absolute()})
        return config.model_copy(update={"data": data})
    root = require_root(config.data)
    if not root.exists():
        what = "table" if is_table(root) else "folder"
        raise InputError(
            f"{root}: must be the {what} that {run} was trained from, got no such "
            f"{what}; if it was moved, say where it lies now: {option} DIR"
        )
    return config


def with_named_labels(config: ExperimentConfig, store: Path) -> ExperimentConfig:
    """Return ``config`` with the name of its labels' revision: a number is of one store alone."""
    data = config.data
    if data.labels is None or data.root is None:
        return config
    found = find_revision(history_folder(data.root, store), data.labels)
    named = data.model_copy(update={"labels": found.name})
    return config.model_copy(update={"data": named})


def _own_config(run: Path) -> ExperimentConfig:
    """Return what ``config.yaml`` says, if it is what the run was trained with.

    Of another split, items that the network has learnt from would be taken for calibration.
    """
    config, record = read_config(run), read_record(run)
    if record is None or record.imported or record.members:  # recognised by more than it
        return config
    # Records without digests are of versions whose configuration may have had fewer keys.
    checked = record.results is not None and record.training_version == TRAINING_VERSION
    if checked and config.identity(record.data.fingerprint) != record.identity:
        raise InputError(
            f"{RunFolder(run).config}: must be the configuration that the run was trained with, "
            "got another one: put that file back"
        )
    return config


def open_as_configured(
    config: ExperimentConfig,
    root: Path,
    naming: Naming,
    labels: str | None,
    store: Path,
    progress: Progress = silent,
) -> Dataset:
    """Open the dataset ``root`` as the experiment reads images; at first it is packed.

    ``naming``: how its names are read; ``labels``: which revision of its labels, None: the newest.
    """
    return open_dataset(
        root,
        store=store,
        size=config.input.size,
        naming=naming,
        unreadable=config.data.unreadable,
        sizes=config.data.sizes,
        channels=config.input.channels,
        white_level=config.input.white_level,
        fixes=active_fixes(root, store, labels),
        progress=progress,
    )


def prepare_data(
    config: ExperimentConfig, store: Path, progress: Progress = silent
) -> PreparedData:
    """Open (and at first pack) the dataset, find its duplicate groups and split it."""
    data = config.data
    root = require_root(data)
    dataset = open_as_configured(config, root, data.naming, data.labels, store, progress)
    groups = _cached_groups(dataset, progress)
    share = config.calibration.share
    origins = _origins_to_keep(data, dataset)
    split = split_dataset(
        dataset.is_defect,
        dataset.in_val,
        dataset.has_val,
        groups,
        dataset.digests,
        holdout=holdout_share if share == "auto" else share,
        test_share=data.test_share,
        seed=data.split_seed,
        fold=config.calibration.left_out,
        inner=[(one.fold, one.folds) for one in data.inner],
        origins=origins,
        source=str(data.root),
    )
    notes = () if origins is None else _split_notes(origins, split)
    notes += _weight_notes(dataset.weights, split)
    ancestor = None
    if config.training.init is not None:
        split, ancestor = without_learnt(config.training.init, dataset, groups, split)
    if data.limit is not None:
        split = split.limited(data.limit, dataset.is_defect)
    return PreparedData(dataset, groups, split, ancestor, notes)


def _origins_to_keep(data: DataConfig, dataset: Dataset) -> tuple[str, ...] | None:
    """Return each item's group where groups are kept on one side; None where only copies are."""
    if data.split_by == "item":
        return None
    if dataset.origins is None:
        raise InputError(
            "data.split_by: group needs to know the groups: give data.group (--group PATTERN), or "
            "a table with a column group"
        )
    return dataset.origins


def _split_notes(origins: Sequence[str], split: Split) -> tuple[str, ...]:
    """Say which groups each side of ``split`` has got, or how many."""
    told = []
    for side in ("fit", "calibration", "test", "dropped"):
        items = getattr(split, side)
        if items.size:
            names = sorted({origins[index] for index in items})
            listed = ", ".join(names) if len(names) <= NAMED_GROUPS else f"{len(names):,} groups"
            told.append(f"{side}: {listed} ({len(items):,} items)")
    return (f"split by group: {'; '.join(told)}",)


def _weight_notes(weights: NDArray[np.float64] | None, split: Split) -> tuple[str, ...]:
    """Say what the weights of a table do, where there are any."""
    if weights is None:
        return ()
    low, high = weights[split.fit].min(), weights[split.fit].max()
    told = f"weights {low:g} to {high:g} in training; calibration and test count every item once"
    return (told,)


def _cached_groups(dataset: Dataset, progress: Progress) -> NDArray[np.int32]:
    """Return the duplicate groups, int32 [N], as an earlier run of these items found them."""
    cached = dataset.cache / GROUPS_FILE
    made_from = {"version": GROUPS_VERSION, "items": fingerprint(dataset.digests)}
    known = read_arrays(cached, made_from, {"groups": np.dtype(np.int32)})
    if known is not None:
        return known["groups"]
    groups = duplicate_groups(dataset.images, dataset.digests, progress, dataset.white_level)
    write_arrays(cached, made_from, {"groups": groups})
    for earlier in dataset.cache.glob("groups-v*.npy"):  # which earlier versions kept
        earlier.unlink(missing_ok=True)
    return groups
