"""The files that a network has learnt from, by their digests, against a dataset and its splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.configuration import fingerprint
from drupe.data.dataset import Dataset
from drupe.data.split import Split
from drupe.errors import InputError
from drupe.files import write_text
from drupe.runs.layout import RunFolder
from drupe.runs.record import AncestorRecord, read_record
from drupe.runs.results import require_own
from drupe.runs.training_overlap import Overlap
from drupe.training.config import AncestorConfig


def write_digests(run: Path, digests: Iterable[str]) -> None:
    """Keep the digests in the run directory: no crop among them is ever new to the network."""
    write_text(RunFolder(run).training_files, "".join(f"{one}\n" for one in sorted(digests)))


def read_digests(run: Path) -> frozenset[str]:
    """Return what :func:`write_digests` kept; nothing where nothing was named.

    Raises:
        InputError: the run in that folder kept something else.
    """
    path, record = RunFolder(run).training_files, read_record(run)
    if record:
        require_own(run, record, path)
    try:
        return frozenset(path.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return frozenset()


def find_overlap(
    digests: frozenset[str], dataset: Dataset, groups: NDArray[np.int32], split: Split
) -> tuple[Overlap, NDArray[np.bool_]]:
    """Return how many items of each split were learnt, and which, bool [N]; copies count too."""
    is_seen = np.array([digest in digests for digest in dataset.digests], bool)
    is_copy = np.isin(groups, groups[is_seen])
    counts = {
        side: int(is_copy[getattr(split, side)].sum()) for side in ("fit", "calibration", "test")
    }
    overlap = Overlap(named=len(digests), sha256=fingerprint(sorted(digests)), **counts)
    return overlap, is_copy


def without_learnt(
    ancestor: AncestorConfig, dataset: Dataset, groups: NDArray[np.int32], split: Split
) -> tuple[Split, AncestorRecord]:
    """Return the split without the calibration and test items that the ancestor has learnt from.

    Scores of these would promise what the network does with crops it knows.

    Raises:
        InputError: the ancestor doesn't say what it has learnt from, or too little is left.
    """
    digests = read_digests(ancestor.run)
    if not digests:
        raise InputError(
            f"training.init: must be a run that says what it has learnt from, got {ancestor.run}: "
            "it was imported with unknown training files, or trained by an earlier version"
        )
    overlap, is_copy = find_overlap(digests, dataset, groups, split)
    calibration, test = (part[~is_copy[part]] for part in (split.calibration, split.test))
    for name, before, after in (
        ("calibration", split.calibration, calibration),
        ("test", split.test, test),
    ):
        labels = dataset.is_defect[after]
        if before.size and (labels.all() or not labels.any()):
            raise InputError(
                f"training.init: must leave clean items and defects in {name}, got a run that has "
                f"learnt from {len(before) - len(after):,} of its {len(before):,} items: "
                f"{ancestor.run}"
            )
    lost = np.setdiff1d(np.concatenate([split.calibration, split.test]), [*calibration, *test])
    dropped = np.union1d(split.dropped, lost).astype(np.intp)
    record = AncestorRecord(
        run=str(ancestor.run),
        weights=ancestor.weights,
        learnt=overlap,
        joined=len(split.fit) - overlap.fit,
        gone=len(digests.difference(dataset.digests)),
    )
    return replace(split, calibration=calibration, test=test, dropped=dropped), record
