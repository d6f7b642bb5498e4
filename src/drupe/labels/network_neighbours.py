"""The neighbours of a run's items by networks that never saw them, found once and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.configuration import Tree, fingerprint
from drupe.derived import read_arrays, write_arrays
from drupe.files import file_hash
from drupe.labels.neighbours import NONE, PER_LABEL, NearItems, nearest
from drupe.models.type_head import NoFeaturesError
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder
from drupe.training.features import unit_features
from drupe.training.preparation import PreparedData

VERSION = 1
"""Raised when neighbours are found by another rule."""

KEY_LENGTH = 16
"""Hexadecimal digits of what a file of neighbours was made from, in its name."""


@dataclass(frozen=True)
class Judges:
    """The ``runs`` whose networks never saw the items ``paths``."""

    runs: tuple[Path, ...]
    paths: tuple[str, ...]


def find_neighbours(
    judges: Sequence[Judges], data: PreparedData, progress: Progress = silent
) -> Mapping[str, NearItems]:
    """Return path → neighbours of all items that have judges; none where a network has no features.

    Each item is compared with all others by the networks that never saw it; those others may have
    been learnt from.
    """
    paths = data.dataset.paths
    place = {path: index for index, path in enumerate(paths)}
    items = np.array([place[path] for one in judges for path in one.paths], np.intp)
    weights = [[file_hash(RunFolder(run).weights) for run in one.runs] for one in judges]
    made_from: Tree = {
        "version": VERSION,
        "data": data.dataset.fingerprint,
        "networks": weights,
        "items": fingerprint([one.paths for one in judges]),
    }
    cached = data.dataset.cache / f"neighbours-{fingerprint(made_from)[:KEY_LENGTH]}.npz"
    known = read_arrays(cached, made_from, {"near": np.dtype(np.int64)})
    if known is not None:
        near = known["near"]
    else:
        try:
            near = _compared(judges, place, items, data, progress)
        except NoFeaturesError:
            return {}
        write_arrays(cached, made_from, {"near": near})
    return {
        paths[item]: NearItems(*(_named(row, paths) for row in rows))
        for item, rows in zip(items.tolist(), near, strict=True)
    }


def _compared(
    judges: Sequence[Judges],
    place: Mapping[str, int],
    items: NDArray[np.intp],
    data: PreparedData,
    progress: Progress,
) -> NDArray[np.int64]:
    """Return the neighbours of ``items`` [q], those of each judge in turn, int64 [q, 2, k]."""
    candidates = np.zeros(len(place), np.bool_)
    candidates[items] = True
    found = [np.empty((0, 2, PER_LABEL), np.int64)]
    for one in judges:
        some = np.array([place[path] for path in one.paths], np.intp)
        features = unit_features(one.runs, data, progress)
        near = nearest(features, some, data.dataset.is_defect, data.groups, candidates)
        found.append(near.astype(np.int64))
    return np.concatenate(found)


def _named(row: NDArray[np.int64], paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(paths[index] for index in row.tolist() if index != NONE)
