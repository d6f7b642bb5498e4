"""Find the images of a dataset folder: ``ROOT/{train,val,test}/CLASS/*`` or ``ROOT/CLASS/*``.

Only folders are read here, never a file, so a million images take seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from drupe.data.fingerprint import fingerprint_items
from drupe.data.naming import DEFECT, GOOD, Naming
from drupe.data.walk import BESIDE, OUTSIDE, PassedOver, Walker
from drupe.errors import InputError, shortened, suggest

DEFECT_PARTS = ("defect", "reject", "fail")
DEFECT_WORDS = frozenset({"pit", "pits", "bad", "ng"})
"""Too short to be looked for inside a word: 'pitted', 'badge' and 'orange' are no defects."""

NEGATIONS = frozenset({"no", "not", "non", "without", "free", "un"})

SPLIT_OF = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Names of split folders, whatever the case of their letters → what they stand for."""

SHOWN = 10
"""Names shown in a message before it only counts."""


@dataclass(frozen=True)
class Listing:
    """The images of a dataset, N of them, sorted by path.

    root: the folder; classes: (clean, defect); paths: POSIX, relative to ``root``; is_defect: bool
    [N]; in_val: bool [N], the items of the test split that the dataset brings: those of ``test/``,
    or where there is none of ``val/``; has_val: whether it brings one; test_name: what it is called
    there; notes: what isn't as usual about the dataset, in sentences; passed: files in the folder
    that aren't taken; table: the file that names the images, where one does. It, or names, may also
    tell of each item the group that it comes from, its type of defect ('' for clean items, and
    where it isn't known) and its weight (float64 [N], above 0). labels: what else a label may be
    called → its type, '' for a clean one.
    """

    root: Path
    classes: tuple[str, str]
    paths: tuple[str, ...]
    is_defect: NDArray[np.bool_]
    in_val: NDArray[np.bool_]
    has_val: bool
    test_name: str = "val"
    notes: tuple[str, ...] = ()
    passed: PassedOver = field(default_factory=PassedOver)
    groups: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    weights: NDArray[np.float64] | None = None
    table: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def named(self) -> Path:
        """The dataset as it was named: the table, else the folder."""
        return self.table or self.root

    @property
    def meanings(self) -> dict[str, tuple[bool, str]]:
        """What each label that an item may have stands for: whether a defect, and its type."""
        clean, defect = self.classes
        types = dict.fromkeys(name for name in self.types or () if name)
        more = {name: name for name in types} | dict(self.labels)
        named = {clean: (False, ""), defect: (True, "")}
        return named | {name: (bool(of), of) for name, of in sorted(more.items())}

    def relabelled(self, names: Mapping[str, str]) -> Listing:
        """Return the listing with other labels, path → one of :attr:`meanings`.

        A defect that is only called a defect keeps its type.
        """
        place = {path: index for index, path in enumerate(self.paths)}
        meanings = self.meanings
        is_defect = self.is_defect.copy()
        types = None if self.types is None else list(self.types)
        for path, name in names.items():
            index = place[path]
            was_defect = bool(is_defect[index])
            is_defect[index], of_type = meanings[name]
            if types is not None and (of_type or not (was_defect and is_defect[index])):
                types[index] = of_type
        return replace(self, is_defect=is_defect, types=None if types is None else tuple(types))

    def fingerprint(self, digests: Sequence[str]) -> str:
        """Return the fingerprint of the items with these SHA-256 (hex) of their bytes."""
        return fingerprint_items(
            self.paths,
            self.classes,
            self.is_defect.tolist(),
            self.in_val.tolist(),
            digests,
            types=self.types,
            groups=self.groups,
            weights=None if self.weights is None else self.weights.tolist(),
        )

    def select(self, kept: NDArray[np.bool_]) -> Listing:
        """Return the listing of those items for which bool [N] says so."""
        keep = kept.tolist()

        def some(values: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(one for one, here in zip(values, keep, strict=True) if here)

        return replace(
            self,
            paths=some(self.paths),
            is_defect=self.is_defect[kept],
            in_val=self.in_val[kept],
            groups=None if self.groups is None else some(self.groups),
            types=None if self.types is None else some(self.types),
            weights=None if self.weights is None else self.weights[kept],
        )


@dataclass(frozen=True)
class _Layout:
    """The class folders of a dataset folder.

    splits: "train", "val" and "test", as far as they are there → the folder's name; plain classes
    stand under "train" in the folder "". classes: names in each of these folders.
    """

    splits: Mapping[str, str]
    classes: Mapping[str, list[str]]

    @property
    def test(self) -> str | None:
        """The split folder whose items are the test split; None where there is none."""
        return self.splits.get("test", self.splits.get("val"))

    @property
    def names(self) -> list[str]:
        """The classes in any of these folders."""
        return sorted({name for names in self.classes.values() for name in names})

    @property
    def notes(self) -> tuple[str, ...]:
        """What becomes of three split folders, and which classes stand in some of them only."""
        notes = []
        if {"val", "test"} <= set(self.splits):
            notes.append(joined_note(f"{self.splits['test']}/", f"{self.splits['val']}/"))
        notes += [
            f"{folder}/ holds no {name}"
            for split, folder in self.splits.items()
            for name in self.names
            if name not in self.classes[split]
        ]
        return tuple(notes)


def joined_note(test: str, val: str) -> str:
    """Say what becomes of a third split."""
    return f"{test} is the test split; the items of {val} join those of training"


def discover(
    root: Path, naming: Naming | str | None = None, *, either_defect: bool = False
) -> Listing:
    """List the images below ``root``.

    Class folders may hold further folders; linked folders are followed. Whatever isn't taken is
    counted in ``Listing.passed``.

    Parameters
    ----------
    root
        A folder ``ROOT/{train,val,test}/CLASS/*`` or ``ROOT/CLASS/*``; ``val`` may be called
        ``valid`` or ``validation``, and only ``train`` must be there.
    naming
        How names are to be read; a mere name is that of the defect class, None: it is found by
        name, see :func:`find_defect_class`.
    either_defect
        Take the first class for the clean one, whatever the names say, and any number of others:
        for what is the same whichever it is.

    Raises
    ------
    InputError
        With everything that is wrong with the folder: missing, empty or unreadable, classes that
        don't fit ``naming`` (two, where it doesn't name the clean ones), classes that differ
        between the splits, a class without images, paths that name no group.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: must be a dataset folder, got no such folder")
    if not root.is_dir():
        raise InputError(
            f"{root}: must be a dataset folder, or a table (.csv or .parquet), got a file"
        )
    naming = Naming.of(naming)
    walker = Walker(str(root))
    layout = _layout(root, walker, naming, either_defect)
    starts = [
        (split, f"{folder}/{name}" if folder else name, name)
        for split, folder in layout.splits.items()
        for name in layout.classes[split]
    ]
    taken = walker.images_below([start for _, start, _ in starts])
    problems = walker.problems
    if not problems:
        problems += [
            f"{root / start}: must hold PNG, JPEG, BMP, TIFF or WebP images, got none"
            for (_, start, _), paths in zip(starts, taken, strict=True)
            if not paths
        ]
        if problems and walker.passed.total:
            problems.append(f"{root}: {walker.passed.total:,} files are not taken: ")
            problems[-1] += "; ".join(
                f"{reason}: {n:,}" for reason, n in walker.passed.files.items()
            )
    problems += undecodable_names(root, taken)
    if problems:
        raise InputError(problems)
    test = next((split for split in ("test", "val") if split in layout.splits), None)
    sizes = [len(paths) for paths in taken]
    roles = Roles.of(layout.names, naming, either_defect)
    paths = tuple(path for paths in taken for path in paths)
    listing = Listing(
        root=root,
        classes=roles.classes,
        paths=paths,
        is_defect=np.repeat([name in roles.defects for _, _, name in starts], sizes),
        in_val=np.repeat([split == test for split, _, _ in starts], sizes),
        has_val=test is not None,
        test_name=layout.test or "val",
        notes=layout.notes,
        passed=walker.passed,
        groups=naming.groups_of(paths, str(root)),
        types=roles.types([name for _, _, name in starts], sizes),
        labels=roles.labels,
    )
    return sorted_by_path(listing)


@dataclass(frozen=True)
class Roles:
    """What class folders stand for: the two ``classes``, and which folders hold ``defects``.

    labels: folder → type, '' for a clean one; empty where defects have no types.
    """

    classes: tuple[str, str]
    defects: Set[str]
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Sequence[str], naming: Naming, either_defect: bool) -> Roles:
        """Return the roles of classes of these ``names``, of which there are two at least."""
        if either_defect and len(names) > 2:
            labels = {name: name for name in names[1:]} | {names[0]: "", GOOD: ""}
            return cls((names[0], DEFECT), set(names[1:]), labels)
        if naming.has_types and not either_defect:
            labels = {name: naming.type_of(name) for name in names}
            return cls(naming.classes, {name for name in names if labels[name]}, labels)
        first, second = names
        classes = (first, second) if either_defect else find_defect_class(names, naming.defect)
        return cls(classes, {classes[1]})

    def types(self, names: Sequence[str], sizes: Sequence[int]) -> tuple[str, ...] | None:
        """Return the type of each item of folders of these ``names`` and ``sizes``."""
        if not self.labels:
            return None
        return tuple(
            self.labels[name] for name, size in zip(names, sizes, strict=True) for _ in range(size)
        )


def sorted_by_path(listing: Listing) -> Listing:
    """Return the listing with its items in the order of their paths."""
    order = sorted(range(len(listing.paths)), key=listing.paths.__getitem__)
    at = np.array(order, dtype=np.intp)

    def turned(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(values[index] for index in order)

    return replace(
        listing,
        paths=turned(listing.paths),
        is_defect=listing.is_defect[at],
        in_val=listing.in_val[at],
        groups=None if listing.groups is None else turned(listing.groups),
        types=None if listing.types is None else turned(listing.types),
        weights=None if listing.weights is None else listing.weights[at],
    )


def _layout(root: Path, walker: Walker, naming: Naming, either_defect: bool) -> _Layout:
    """Find the split and class folders; what lies beside them is counted.

    Raises:
        InputError: everything that is wrong with them.
    """
    top = walker.entries("")
    folders = sorted([*top.folders, *top.folder_links])
    loose = [*top.images, *top.image_links]
    named: dict[str, list[str]] = {}
    for name in folders:
        if name.lower() in SPLIT_OF:
            named.setdefault(SPLIT_OF[name.lower()], []).append(name)
    problems = [
        f"{root}: must hold one folder of the {split} items, got {', '.join(names)}"
        for split, names in named.items()
        if len(names) > 1
    ]
    order: tuple[str, ...] = ("train", "val", "test")
    splits = {split: named[split][0] for split in order if split in named}
    if splits and "train" not in splits and set(folders) <= set(splits.values()):
        held = " and ".join(f"{name}/" for name in splits.values())
        problems.append(f"{root}: must hold train/ beside {held}, got {held} alone")
    if problems:
        raise InputError(walker.problems + problems)
    if "train" not in splits:
        splits, classes = {"train": ""}, {"train": folders}
    else:
        classes = {}
        for split, folder in splits.items():
            found = walker.entries(folder)
            classes[split] = sorted([*found.folders, *found.folder_links])
            loose += [f"{folder}/{name}" for name in (*found.images, *found.image_links)]
        for name in folders:
            if name not in splits.values():
                walker.pass_folder(name, BESIDE)
    for path in loose:
        walker.passed.add(OUTSIDE, path)
    layout = _Layout(splits, classes)
    problems = walker.problems or _class_problems(root, layout, naming, either_defect, len(loose))
    if problems:
        raise InputError(problems)
    return layout


def _class_problems(
    root: Path, layout: _Layout, naming: Naming, either_defect: bool, loose: int
) -> list[str]:
    problems = []
    is_any_number = either_defect and len(layout.names) > 2
    if not (naming.has_types or is_any_number):
        where = root / layout.splits["train"]
        problems += _number_problems(where, layout.classes["train"], loose)
    if not either_defect:
        problems += naming.problems(layout.names, str(root))
    may_differ = naming.has_types and (naming.defects or not naming.is_complete)
    if not (may_differ or is_any_number):
        problems += _differing_classes(root, layout.splits, layout.classes)
    return problems


def _number_problems(where: Path, names: Sequence[str], loose: int) -> list[str]:
    """Say what is wrong with other class folders than two."""
    if len(names) == 2:
        return []
    got = f"{len(names)}: {', '.join(shortened(names, SHOWN))}" if names else "none"
    stray = f" ({loose:,} images lie outside any class folder)" if loose and not names else ""
    more = (
        "; name the clean one of several: --good CLASS (or data.good, data.classes), or make the "
        "others sub-folders of one"
    )
    return [
        f"{where}: must hold exactly two class folders, got {got}{stray}{unicode_twins(names)}"
        + more * (len(names) > 2)
    ]


def _differing_classes(
    root: Path, splits: Mapping[str, str], classes: Mapping[str, list[str]]
) -> list[str]:
    """Say where splits hold other classes than training; only a list of all of them allows it."""
    train, problems = classes["train"], []
    for split in [split for split in splits if split != "train"]:
        ours, theirs = f"{splits['train']}/", f"{splits[split]}/"
        only = {
            ours: [name for name in train if name not in classes[split]],
            theirs: [name for name in classes[split] if name not in train],
        }
        if any(only.values()):
            got = "; ".join(
                f"only in {where}: {', '.join(shortened(names, SHOWN))}"
                for where, names in only.items()
                if names
            )
            problems.append(
                f"{root}: {ours} and {theirs} must hold the same class folders, got {got}"
                f"{unicode_twins([*only[ours], *only[theirs]])}"
            )
    return problems


def unicode_twins(names: Iterable[str]) -> str:
    """Say which different names look the same: written with other Unicode characters."""
    alike: dict[str, set[str]] = {}
    for name in names:
        alike.setdefault(normalize("NFC", name), set()).add(name)
    twins = sorted(composed for composed, spelled in alike.items() if len(spelled) > 1)
    if not twins:
        return ""
    return (
        f" ({', '.join(twins)}: looks the same but is spelled in two Unicode forms, composed (NFC) "
        "and decomposed (NFD, as macOS writes); rename one to match the other)"
    )


def undecodable_names(root: Path, groups: Iterable[Sequence[str]]) -> list[str]:
    """Say which names of files in ``root`` hold bytes that are no UTF-8."""
    wrong = [path for paths in groups if not _is_utf8("".join(paths)) for path in paths]
    wrong = [path for path in wrong if not _is_utf8(path)]
    shown = [
        path.encode(errors="surrogateescape").decode(errors="backslashreplace") for path in wrong
    ]
    problems = [f"{root}: file names must be UTF-8, got {path}" for path in shown]
    return shortened(problems, SHOWN, "more such names")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_defect_class(classes: Sequence[str], defect: str | None) -> tuple[str, str]:
    """Return the two ``classes`` as (clean, defect).

    ``defect`` names the defect class. Where it is None, the defect is the one class whose name
    holds pit, defect, bad, reject, fail or ng; the short ones count as whole words only, words
    being separated by anything but a letter, or by a capital. A name that denies ("no_pit",
    "defect-free") decides nothing.

    Raises
    ------
    InputError
        ``defect`` is neither class, or the names don't tell.
    """
    first, second = classes
    if defect is not None:
        if defect not in classes:
            hint = suggest(defect, classes)
            raise InputError(
                f"defect class: must be one of {first}, {second}, got {defect!r}{hint}"
            )
        return (first, second) if defect == second else (second, first)
    named = [_sounds_like_defect(name) for name in classes]
    if sum(named) != 1 or _is_negated(classes[named.index(True)]):
        which = "both names hold" if all(named) else "no name clearly holds"
        raise InputError(
            f"defect class: {which} one of pit, defect, bad, reject, fail, ng; "
            f"name it with --defect CLASS (or data.defect), one of: {first}, {second}"
        )
    return (first, second) if named[1] else (second, first)


def _words(name: str) -> list[str]:
    # A capital begins a word after a small letter (cherryPit) or before one (NGParts).
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[^\W\d_]+", parted.lower())


def _sounds_like_defect(name: str) -> bool:
    words = _words(name)
    return any(word in DEFECT_WORDS or any(part in word for part in DEFECT_PARTS) for word in words)


def _is_negated(name: str) -> bool:
    return any(word in NEGATIONS or word.startswith("non") for word in _words(name))
