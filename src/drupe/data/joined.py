"""Several datasets as one: ``--data week46 --data week47``.

A folder in the store stands for them. It holds a link to each, whose name begins the paths of its
images, and a file that says what each link is. The names are the shortest ends of the paths that
tell the datasets apart, so they are the same wherever the datasets lie together.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.discover import Listing, discover, sorted_by_path
from drupe.data.naming import Naming
from drupe.data.store_errors import writing_to
from drupe.data.table import folder_of, is_table
from drupe.data.table_listing import list_table
from drupe.data.walk import PassedOver
from drupe.errors import InputError, shortened
from drupe.files import read_json, write_json

JOINED = "drupe-joined.json"
"""The file that says that a folder stands for several datasets."""

NAME_LENGTH = 60
"""Characters of the datasets' names in the name of their folder."""

SHOWN = 10


def join_datasets(datasets: Sequence[Path], store: Path) -> Path:
    """Return the folder in ``store`` that stands for the ``datasets``; a single one is itself.

    Which images they hold is found when the folder is listed, not now.

    Raises
    ------
    InputError
        A dataset that isn't there, is given twice or lies inside another one; a store that can't
        be written to or whose file system takes no links.
    """
    if len(datasets) == 1:
        return datasets[0]
    places = [Path(os.path.abspath(one)) for one in datasets]  # noqa: PTH100 (keeps links)
    _check_apart(places)
    names = _names(places)
    order = sorted(range(len(places)), key=names.__getitem__)
    members = [(names[index], places[index]) for index in order]
    key = hashlib.sha256("\0".join(f"{name}\0{place}" for name, place in members).encode())
    title = "+".join(name for name, _ in members)[:NAME_LENGTH]
    folder = store.absolute() / "joined" / f"{title}-{key.hexdigest()[:12]}"
    with writing_to(store):
        folder.mkdir(parents=True, exist_ok=True)
        for name, place in members:
            _link(folder / name, folder_of(place))
        document = [
            {"name": name, "table": place.name if is_table(place) else None}
            for name, place in members
        ]
        write_json(folder / JOINED, {"datasets": document})
    return folder


def _check_apart(places: Sequence[Path]) -> None:
    problems = [
        f"{place}: must be a dataset folder or table, got no such file or folder"
        for place in places
        if not place.exists()
    ]
    real = [place.resolve() for place in places]
    for index, place in enumerate(real):
        for other in real[:index]:
            if place == other:
                problems.append(f"{place}: must be given once, got it twice")
            elif place.is_dir() and other.is_dir():
                inner, outer = (place, other) if other in place.parents else (other, place)
                if outer in inner.parents:
                    problems.append(f"{inner}: must be a dataset of its own, lies in {outer}")
    if problems:
        raise InputError(problems)


def _names(places: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that tell all of them apart, as one name each."""
    folders = [folder_of(place) for place in places]
    parts = [
        (*folder.parts[1:], place.stem) if folders.count(folder) > 1 else folder.parts[1:]
        for folder, place in zip(folders, places, strict=True)
    ]
    names: list[str] = []
    for length in range(1, max(map(len, parts)) + 1):
        names = ["-".join(path[-length:]) for path in parts]
        if len({name.casefold() for name in names}) == len(names):
            return names
    return [f"{number}-{name}" for number, name in enumerate(names, 1)]


def _link(link: Path, target: Path) -> None:
    """Make ``link`` lead to ``target``; another process may be doing the same."""
    if _leads_to(link, target):
        return
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(target, target_is_directory=True)
    except OSError as error:
        if not _leads_to(link, target):
            reason = (error.strerror or str(error)).lower()
            raise InputError(
                f"{link}: must be a link to {target}, which can't be made here ({reason}); name "
                "the pictures of all datasets in one table instead"
            ) from None


def _leads_to(link: Path, target: Path) -> bool:
    return link.is_symlink() and Path(os.readlink(link)) == target  # noqa: PTH115


def is_joined(root: Path) -> bool:
    """Return whether the folder ``root`` stands for several datasets."""
    return (root / JOINED).is_file()


def description_files(root: Path) -> list[str]:
    """Return the files that say which images the dataset ``root`` has, relative to its folder."""
    if is_table(root):
        return [root.name]
    if not is_joined(root):
        return []
    tables = [f"{name}/{place.name}" for name, place in _members(root) if is_table(place)]
    return [JOINED, *tables]


def _members(root: Path) -> list[tuple[str, Path]]:
    """Return name and dataset, reached by its link, of each member."""
    source = root / JOINED
    document: Any = read_json(source)
    try:
        listed = [(str(one["name"]), one["table"]) for one in document["datasets"]]
    except (TypeError, KeyError):
        raise InputError(
            f"{source}: damaged; delete {root} and name the datasets again: --data A --data B"
        ) from None
    return [(name, root / name / table if table else root / name) for name, table in listed]


def list_joined(
    root: Path, naming: Naming | str | None = None, *, either_defect: bool = False
) -> Listing:
    """List the images of all datasets that ``root`` stands for.

    Where some tell the groups of their images and others don't, those are groups of their own. A
    pattern finds groups in paths that begin with the name of the dataset.

    Raises
    ------
    InputError
        With everything that is wrong with one of them; other classes in some; one file in two;
        groups told by a pattern and by a table.
    """
    naming = Naming.of(naming)
    without_group = replace(naming, group=None)
    listings: dict[str, Listing] = {}
    problems: list[str] = []
    for name, place in _members(root):
        link = root / name
        if not link.exists():
            problems.append(
                f"{os.path.realpath(link)}: must be a folder with data of {root.name}, got no such "
                "folder; name the datasets again: --data A --data B"
            )
            continue
        try:
            list_one = list_table if is_table(place) else discover
            listings[name] = list_one(place, without_group, either_defect=either_defect)
        except InputError as error:
            problems += error.problems
    problems = problems or _differences(listings)
    if naming.group is not None:
        problems += [
            f"{name}: group: must be told once, got a column of the table and the pattern "
            f"{naming.group!r}"
            for name, one in listings.items()
            if one.groups is not None
        ]
    if problems:
        raise InputError(problems)
    union = _union(root, listings)
    if naming.group is None:
        return union
    return replace(union, groups=naming.groups_of(union.paths, str(root)))


def _differences(listings: dict[str, Listing]) -> list[str]:
    """Say which classes differ, and which files are in two datasets."""
    classes = {listing.classes for listing in listings.values()}
    problems = []
    if len(classes) > 1:
        got = "; ".join(f"{name}: {', '.join(one.classes)}" for name, one in listings.items())
        problems.append(f"data: must have the same classes (clean, defect) everywhere, got {got}")
    seen: dict[str, str] = {}
    again = []
    for name, listing in listings.items():
        for path in listing.paths:
            if path.startswith("/") and seen.setdefault(path, name) != name:
                again.append(f"{path}: must be in one dataset, got it in {seen[path]} and {name}")
    return problems + shortened(again, SHOWN)


def _union(root: Path, listings: dict[str, Listing]) -> Listing:
    parts = list(listings.values())
    has_val = any(one.has_val for one in parts)
    test_names = {one.test_name for one in parts if one.has_val}
    notes = [f"{name}: {note}" for name, one in listings.items() for note in one.notes]
    if has_val:
        notes += [
            f"{name} brings no test split: all its items join those of training"
            for name, one in listings.items()
            if not one.has_val
        ]
    passed = PassedOver()
    for name, one in listings.items():
        passed.merge(one.passed.below(name))
    weights: NDArray[np.float64] | None = None
    if any(one.weights is not None for one in parts):
        weights = np.concatenate(
            [np.ones(len(one.paths)) if one.weights is None else one.weights for one in parts]
        )
    return sorted_by_path(
        replace(
            parts[0],
            root=root,
            paths=tuple(_below(name, p) for name, one in listings.items() for p in one.paths),
            is_defect=np.concatenate([one.is_defect for one in parts]),
            in_val=np.concatenate([one.in_val for one in parts]),
            has_val=has_val,
            test_name=test_names.pop() if len(test_names) == 1 else "test",
            notes=tuple(notes),
            passed=passed,
            groups=_together((one.groups, name, one) for name, one in listings.items()),
            types=_together((one.types, "", one) for one in parts),
            weights=weights,
            table=None,
            labels={name: kind for one in parts for name, kind in one.labels.items()},
        )
    )


def _below(name: str, path: str) -> str:
    return path if path.startswith("/") else f"{name}/{path}"


def _together(
    columns: Iterable[tuple[tuple[str, ...] | None, str, Listing]],
) -> tuple[str, ...] | None:
    """Return one column of all datasets; None where none of them has it.

    ``columns``: each dataset's values, and what stands for each of its images where it has none.
    """
    columns = list(columns)
    if all(values is None for values, _, _ in columns):
        return None
    return tuple(
        text
        for values, instead, listing in columns
        for text in (values or (instead,) * len(listing.paths))
    )
