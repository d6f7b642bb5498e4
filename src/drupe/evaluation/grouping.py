"""Copies among the items, kept beside the predictions so that files alone suffice.

``predictions/duplicates.json`` lists, per split, the paths of each group of two or more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError
from drupe.files import read_json, write_json


def write_duplicates(
    path: Path, splits: Mapping[str, tuple[Sequence[str], NDArray[np.integer]]]
) -> None:
    """Write the groups of each split, given as (paths, group numbers of the same length)."""
    document = {name: _members(paths, groups) for name, (paths, groups) in splits.items()}
    write_json(path, document)


def _members(paths: Sequence[str], groups: NDArray[np.integer]) -> list[list[str]]:
    members = defaultdict(list)
    for path, group in zip(paths, groups.tolist(), strict=True):
        members[group].append(path)
    return [sorted(paths) for paths in members.values() if len(paths) > 1]


def read_duplicates(path: Path, split: str, paths: Sequence[str]) -> NDArray[np.int32]:
    """Return a group number for each of ``paths``: equal for copies, consecutive from 0.

    Raises:
        InputError: the file is damaged or speaks of other paths.
    """
    position = {name: index for index, name in enumerate(paths)}
    first = np.arange(len(paths))
    document = read_json(path)
    if not _are_groups(document):
        raise InputError(f"{path}: must list groups of paths for each split, got something else")
    if split not in document:
        raise InputError(f"{path}: must list the groups of {split!r}, got nothing about it")
    for members in document[split]:
        unknown = [name for name in members if name not in position]
        if unknown:
            raise InputError(f"{path}: must list paths of the predictions, got {unknown[0]}")
        indices = [position[name] for name in members]
        first[indices] = min(indices)
    return np.unique(first, return_inverse=True)[1].astype(np.int32)


def first_of_each_group(
    paths: Sequence[str], groups: NDArray[Any], is_defect: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the index of one item of each group, in the order of the items.

    It is the first by path among the group's defects, and among all its items where it has none: a
    group labelled both ways counts as a defect, or defects that look clean would drop out of
    recall. The choice depends on neither scores, the order of the items nor the groups' numbers.
    """
    clean = ~np.asarray(is_defect, np.bool_)
    order = sorted(range(len(paths)), key=lambda index: (clean[index], paths[index]))
    by_path = np.array(order, np.intp)
    _, first = np.unique(groups[by_path], return_index=True)
    return np.sort(by_path[first])


def _are_groups(document: Any) -> bool:
    return isinstance(document, dict) and all(
        isinstance(groups, list)
        and all(isinstance(members, list) and members for members in groups)
        and all(isinstance(name, str) for members in groups for name in members)
        for groups in document.values()
    )
