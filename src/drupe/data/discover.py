"""Find the images of a dataset folder: ``ROOT/{train,val}/CLASS/*`` or ``ROOT/CLASS/*``.

Only folders are read here, never a file, so a million images take seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError, shortened, suggest

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""Files that Drupe reads, whatever the case of their letters."""

OTHER_IMAGE_SUFFIXES = frozenset(
    {".gif", ".webp", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".pgm", ".tga", ".dng"}
)
"""Files that look like images but that Drupe doesn't read: counted, so that nobody misses them."""

DEFECT_PARTS = ("defect", "reject", "fail")
DEFECT_WORDS = frozenset({"pit", "pits", "bad", "ng"})
"""Too short to be looked for inside a word: 'pitted', 'badge' and 'orange' are no defects."""

NEGATIONS = frozenset({"no", "not", "non", "without", "free", "un"})

SPLITS = ("train", "val")
SHOWN = 10
"""Names shown in a message before it only counts."""


@dataclass(frozen=True)
class Listing:
    """The images of a dataset folder, N of them, sorted by path.

    root: the folder; classes: (clean, defect); paths: POSIX, relative to ``root``; is_defect and
    in_val: bool [N]; has_val: whether the folder brings its own ``val/``; ignored_images: files
    left out that look like images (GIF, WebP, …, and images outside the class folders).
    """

    root: Path
    classes: tuple[str, str]
    paths: tuple[str, ...]
    is_defect: NDArray[np.bool_]
    in_val: NDArray[np.bool_]
    has_val: bool
    ignored_images: int = 0


@dataclass
class _Scan:
    """Files and folders that a walk has found so far."""

    root: Path
    problems: list[str] = field(default_factory=list)
    ignored_images: int = 0

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the images in ``folder``, hidden ones left out.

        ``folder`` is relative to the root, POSIX. A folder that can't be read is a problem.
        """
        folders, images = [], []
        try:
            with os.scandir(self.root / folder) as found:
                for entry in found:
                    if entry.name.startswith("."):
                        continue
                    if _is_folder(entry):
                        folders.append(entry.name)
                        continue
                    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (1M times)
                    # A broken link is listed, so that reading it is reported; a pipe is not.
                    if suffix in IMAGE_SUFFIXES and (entry.is_symlink() or entry.is_file()):
                        images.append(entry.name)
                    elif suffix in OTHER_IMAGE_SUFFIXES:
                        self.ignored_images += 1
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.problems.append(f"{self.root / folder}: must be a readable folder, got {reason}")
        return sorted(folders), images

    def images_below(self, folder: str) -> list[str]:
        """Return the paths of all images below ``folder``; nested folder links aren't followed."""
        paths: list[str] = []
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            folders, images = self.entries(here)
            paths += [f"{here}/{name}" for name in images]
            below = [f"{here}/{name}" for name in folders]
            waiting += [name for name in below if not (self.root / name).is_symlink()]
        return paths


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself, or to where nobody may look
        return False


def discover(root: Path, defect: str | None = None) -> Listing:
    """List the images below ``root``.

    Class folders may hold further folders. Hidden files and other file types are ignored.

    Parameters
    ----------
    root
        A folder ``ROOT/{train,val}/CLASS/*``, ``ROOT/train/CLASS/*`` or ``ROOT/CLASS/*``.
    defect
        Name of the defect class; None: found by name, see :func:`find_defect_class`.

    Raises
    ------
    InputError
        With everything that is wrong with the folder: missing, empty or unreadable, not exactly
        two classes, classes that differ between the splits, a class without images.
    """
    root = Path(root)
    if not root.exists():
        raise InputError(f"{root}: must be a dataset folder, got no such folder")
    if not root.is_dir():
        raise InputError(f"{root}: must be a dataset folder, got a file")
    scan = _Scan(root)
    top, loose = scan.entries("")
    splits = [name for name in SPLITS if name in top]
    has_val = "val" in splits
    if splits == ["val"]:
        raise InputError(f"{root}: must hold train/ beside val/, got val/ alone")
    prefixes = [f"{split}/" for split in splits] or [""]
    by_prefix = {prefix: top if not prefix else [] for prefix in prefixes}
    for split in splits:
        by_prefix[f"{split}/"], stray = scan.entries(split)
        loose = loose + stray
    scan.ignored_images += len(loose)
    classes = by_prefix[prefixes[0]]
    if not scan.problems:
        scan.problems += _class_problems(root, by_prefix, len(loose))
    if scan.problems:
        raise InputError(scan.problems)

    found = {
        (prefix, name): scan.images_below(f"{prefix}{name}")
        for prefix in prefixes
        for name in classes
    }
    if not scan.problems:
        scan.problems += [
            f"{root / (prefix + name)}: must hold PNG, JPEG, BMP or TIFF images, got none"
            for (prefix, name), paths in found.items()
            if not paths
        ]
        if scan.problems and scan.ignored_images:
            scan.problems.append(
                f"{root}: {scan.ignored_images:,} files of other image types or outside the class "
                "folders were ignored"
            )
    scan.problems += _undecodable_names(found.values())
    if scan.problems:
        raise InputError(scan.problems)
    return _listing(scan, find_defect_class(classes, defect), found, has_val)


def _listing(
    scan: _Scan,
    classes: tuple[str, str],
    found: dict[tuple[str, str], list[str]],
    has_val: bool,
) -> Listing:
    unsorted = [path for paths in found.values() for path in paths]
    sizes = [len(paths) for paths in found.values()]
    is_defect = np.repeat([name == classes[1] for _, name in found], sizes)
    in_val = np.repeat([prefix == "val/" for prefix, _ in found], sizes)
    order = np.array(sorted(range(len(unsorted)), key=unsorted.__getitem__), dtype=np.intp)
    return Listing(
        root=scan.root,
        classes=classes,
        paths=tuple(unsorted[index] for index in order),
        is_defect=is_defect[order],
        in_val=in_val[order],
        has_val=has_val,
        ignored_images=scan.ignored_images,
    )


def _class_problems(root: Path, by_prefix: dict[str, list[str]], loose: int) -> list[str]:
    prefixes = list(by_prefix)
    train = by_prefix[prefixes[0]]
    problems = []
    if len(train) != 2:
        got = f"{len(train)}: {', '.join(shortened(train, SHOWN))}" if train else "none"
        stray = f" ({loose:,} images lie outside any class folder)" if loose and not train else ""
        where = root / prefixes[0]
        problems.append(f"{where}: must hold exactly two class folders, got {got}{stray}")
    if len(prefixes) == 2 and set(train) != set(by_prefix["val/"]):
        val = by_prefix["val/"]
        only = [
            f"only in {split}/: {', '.join(shortened(names, SHOWN))}"
            for split, names in (
                ("train", [name for name in train if name not in val]),
                ("val", [name for name in val if name not in train]),
            )
            if names
        ]
        problems.append(
            f"{root}: train/ and val/ must hold the same class folders, got {'; '.join(only)}"
        )
    return problems


def _undecodable_names(groups: Iterable[list[str]]) -> list[str]:
    wrong = [path for paths in groups if not _is_utf8("".join(paths)) for path in paths]
    wrong = [path for path in wrong if not _is_utf8(path)]
    problems = [f"{path!r}: file names must be UTF-8" for path in wrong]
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
