"""The images that a table names, as a listing; what lies beside them is counted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.data.discover import (
    Listing,
    Roles,
    joined_note,
    sorted_by_path,
    unicode_twins,
)
from drupe.data.naming import Naming
from drupe.data.table import Row, read_table
from drupe.data.walk import Walker
from drupe.errors import InputError, shortened

NOT_NAMED = "not named in the table"

SHOWN = 20
"""Mistakes named in a message before it only counts."""


def list_table(
    table: Path, naming: Naming | str | None = None, *, either_defect: bool = False
) -> Listing:
    """List the images that ``table`` names; see :func:`drupe.data.listing.list_dataset`.

    A file's identity is its POSIX path relative to the table's folder, or, where it is written as
    an absolute path to elsewhere, that path. Whatever else lies below the table's folder is counted
    in ``Listing.passed``.

    Raises
    ------
    InputError
        With everything that is wrong with the table: see :func:`drupe.data.table.read_table`;
        files that aren't there; one file in two rows; not exactly two classes; a split without
        images of a class.
    """
    rows = read_table(table)
    paths = _identities(table, rows)
    holders = {parent for path in paths for parent in _parents(path)}
    walker = Walker(os.fspath(table.parent), asked=frozenset((*paths, *holders, table.name)))
    seen = _walk(walker, holders, table.name)
    if walker.problems:
        raise InputError(walker.problems)
    problems = _wrong_files(table, rows, paths, seen)
    naming = Naming.of(naming)
    labels = sorted({row.label for row in rows})
    problems += _wrong_labels(table, labels, naming, either_defect)
    if problems:
        raise InputError(problems)
    try:
        roles = Roles.of(labels, naming, either_defect)
    except InputError as error:
        raise InputError(f"{table}: {problem}" for problem in error.problems) from None
    problems = _wrong_splits(table, rows, roles)
    if not either_defect:
        problems += _told_twice(table, rows, naming, roles)
    if problems:
        raise InputError(problems)
    splits = {row.split for row in rows}
    test = next((split for split in ("test", "val") if split in splits), None)
    listing = Listing(
        root=table.parent,
        classes=roles.classes,
        paths=tuple(paths),
        is_defect=np.array([row.label in roles.defects for row in rows]),
        in_val=np.array([row.split is not None and row.split == test for row in rows]),
        has_val=test is not None,
        test_name=test or "val",
        notes=(joined_note("test", "val"),) if {"val", "test"} <= splits else (),
        passed=walker.passed,
        groups=naming.groups_of(paths, str(table)) or _column([row.group for row in rows]),
        types=roles.types([row.label for row in rows], [1] * len(rows))
        or _column([row.type for row in rows]),
        weights=_weights(rows),
        table=table,
        labels=roles.labels,
    )
    return sorted_by_path(listing)


def _weights(rows: Sequence[Row]) -> NDArray[np.float64] | None:
    """Return each row's weight, float64 [N]; None where there are none, or all are one."""
    weights = np.array([1.0 if row.weight is None else row.weight for row in rows])
    return None if (weights == 1).all() else weights


def table_images(table: Path) -> list[str]:
    """Return the files that ``table`` names, in its order, each once; it needn't be labelled.

    Whether they are there isn't looked at. Raises :class:`InputError` where the table is wrong.
    """
    rows = read_table(table, is_labelled=False)
    return [str(table.parent / path) for path in dict.fromkeys(_identities(table, rows))]


def _column(values: Sequence[str | None]) -> tuple[str, ...] | None:
    """Return the values of an optional column, which all rows have or none has."""
    there = tuple(value for value in values if value is not None)
    return there if len(there) == len(values) else None


def _identities(table: Path, rows: Sequence[Row]) -> list[str]:
    """Return the POSIX path of each row's file: relative to the table's folder, if it can be."""
    folder = table.parent.absolute().as_posix()
    prefixes = {f"{folder.rstrip('/')}/", f"{table.parent.resolve().as_posix().rstrip('/')}/"}
    return [_identity(row.path, folder, prefixes) for row in rows]


def _identity(path: str, folder: str, prefixes: set[str]) -> str:
    if "\\" in path and not os.path.lexists(os.path.join(folder, path)):  # noqa: PTH118
        path = path.replace("\\", "/")  # written on Windows
    tidy = os.path.normpath(path).replace(os.sep, "/")
    for prefix in prefixes:
        if tidy.startswith(prefix):
            return tidy[len(prefix) :]
    return tidy


def _walk(walker: Walker, holders: set[str], table_name: str) -> set[str]:
    """Count what lies below the table's folder and isn't named; return the named files there.

    A folder that holds nothing named is counted as a whole. Links are followed where a row does.
    """
    seen: set[str] = set()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        found = walker.entries(folder)
        prefix = f"{folder}/" if folder else ""
        for name in (*found.folders, *found.folder_links):
            if prefix + name in holders:
                waiting.append(prefix + name)
            else:
                walker.pass_folder(prefix + name, NOT_NAMED)
        for name in (*found.images, *found.image_links):
            if prefix + name not in walker.asked:
                walker.passed.add(NOT_NAMED, prefix + name)
            elif prefix + name != table_name:
                seen.add(prefix + name)
    return seen


def _parents(path: str) -> list[str]:
    """Return the folders that hold ``path``, the table's own left out."""
    ends = [at for at, one in enumerate(path) if one == "/"]
    return [path[:end] for end in ends if end]


def _wrong_files(
    table: Path, rows: Sequence[Row], paths: Sequence[str], seen: set[str]
) -> list[str]:
    """Say which rows name no file, or one that another row names."""
    problems = []
    folder = os.path.normpath(table.parent.absolute())
    first: dict[str, Row] = {}
    for row, path in zip(rows, paths, strict=True):
        where = f"{table}, {row.place}"
        place = os.path.join(folder, path)  # noqa: PTH118 (a million times)
        if path not in seen and not os.path.isfile(place):  # noqa: PTH113
            shown = row.path if row.path == row.path.strip() else repr(row.path)
            problems.append(f"{where}: path: must be a file, got {_what_is(place)}: {shown}")
        # A file elsewhere may be written relative to the table or not.
        known = path if path in seen else os.path.normpath(place)
        other = first.setdefault(known, row)
        if other is not row:
            spelled = "" if other.path == row.path else f" as {other.path}"
            problems.append(
                f"{where}: path: must be named once, got {row.path} again ({other.place}{spelled})"
            )
    return shortened(problems, SHOWN)


def _what_is(place: str) -> str:
    """Name what stands at ``place``, which isn't a file."""
    if os.path.isdir(place):  # noqa: PTH112
        return "a folder"
    return "a pipe, socket or device" if os.path.exists(place) else "no such file"  # noqa: PTH110


def _wrong_labels(
    table: Path, labels: Sequence[str], naming: Naming, either_defect: bool
) -> list[str]:
    """Say which labels don't fit; two, where nothing says which are clean."""
    if naming.has_types and not either_defect:
        return naming.problems(labels, str(table))
    if len(labels) == 2 or (either_defect and len(labels) > 2):
        return []
    got = ", ".join(shortened([repr(label) for label in labels], 10))
    more = "; name the clean one of several: --good CLASS (or data.good, data.classes)"
    return [
        f"{table}: label: must hold two classes, got {len(labels)}: {got}{unicode_twins(labels)}"
        + more * (len(labels) > 2)
    ]


def _wrong_splits(table: Path, rows: Sequence[Row], roles: Roles) -> list[str]:
    """Say which splits are missing, or lack one of the two sides."""
    splits = sorted({row.split for row in rows if row.split is not None})
    if splits and "train" not in splits:
        return [f"{table}: split: must have train, got {' and '.join(splits)}"]
    there = {(row.split, row.label in roles.defects) for row in rows}
    return [
        f"{table}: split {split}: must have images of both classes, got none of {name}"
        for split in splits
        for name, is_defect in zip(roles.classes, (False, True), strict=True)
        if (split, is_defect) not in there
    ]


def _told_twice(table: Path, rows: Sequence[Row], naming: Naming, roles: Roles) -> list[str]:
    """Say where groups or types are told twice, or a clean image has a type of defect."""
    problems = []
    if naming.group is not None and rows[0].group is not None:
        problems.append(
            f"{table}: group: must be told once, got a column of the table and the pattern "
            f"{naming.group!r}"
        )
    if naming.has_types and any(row.type for row in rows):
        problems.append(
            f"{table}: type: must be told once, got a column of the table and types by label"
        )
    clean = [row for row in rows if row.type and row.label not in roles.defects]
    wrong = [
        f"{table}, {row.place}: type: must be empty for {row.label}, got {row.type!r}"
        for row in clean
    ]
    return problems + shortened(wrong, SHOWN)
