"""Walk folders of images and account for every file: taken, or passed over for a named reason.

Audit, training and ``drupe predict`` all walk here. Only folders are read, never a file, so a
million images take seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drupe.errors import InputError

IMAGE_SUFFIXES = frozenset(
    (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
)
"""Files that Drupe reads, whatever the case of their letters."""

OTHER_IMAGE_SUFFIXES = frozenset(
    (".gif", ".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".pgm", ".tga", ".dng", ".dib")
)
"""Files that look like images but that Drupe doesn't read."""

HIDDEN = "hidden (the name begins with a dot)"
TWIN = "AppleDouble twins (._NAME), which hold no image"
BIN = "in a recycle bin or a folder of the system"
THUMBNAIL = "thumbnails and folder settings of a file server or desktop"
OTHER_IMAGE = "image types that are not read"
NO_IMAGE = "no images, by their suffix"
OUTSIDE = "outside the class folders"
BESIDE = "in other folders beside those of the splits"
LINK_AGAIN = "links to what is taken already"
LINK_NOWHERE = "links that lead nowhere"
SPECIAL = "pipes, sockets and devices"

BINS = frozenset(
    (
        *("$recycle.bin", "recycler", "recycled", "@recycle", "#recycle", ".trash", ".trashes"),
        *("system volume information", "lost+found", "@recently-snapshot", "#snapshot"),
    )
)
THUMBNAILS = frozenset(
    (
        *("@eadir", "#eadir", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        *(".thumbnails", ".@__thumb", "@__thumb", ".appledouble", "__macosx"),
    )
)
"""Names of files and folders, in small letters."""

NAMED = 5
"""Names kept of each reason; the other files are only counted."""


@dataclass
class PassedOver:
    """Files that aren't taken as images: how many for each reason, and the first few names.

    A folder that is passed over as a whole is one name, with the number of files in it. ``more``:
    how many further names there are.
    """

    files: dict[str, int] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    more: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, name: str, files: int = 1) -> None:
        """Count ``files`` for ``reason``; ``name``: the file's, or the folder's with a slash."""
        self._add(reason, files, [f"{name} ({files:,})" if name.endswith("/") else name])

    def merge(self, other: PassedOver) -> None:
        """Add what another walk has passed over."""
        for reason, files in other.files.items():
            self._add(reason, files, other.names[reason], other.more[reason])

    def _add(self, reason: str, files: int, names: Sequence[str], more: int = 0) -> None:
        mine = self.names.setdefault(reason, [])
        room = NAMED - len(mine)
        mine += names[:room]
        self.files[reason] = self.files.get(reason, 0) + files
        self.more[reason] = self.more.get(reason, 0) + more + len(names[room:])

    def below(self, folder: str) -> PassedOver:
        """Return the same files named from the folder above ``folder``."""
        names = {
            reason: [name if name.startswith("/") else f"{folder}/{name}" for name in some]
            for reason, some in self.names.items()
        }
        return PassedOver(dict(self.files), names, dict(self.more))

    @property
    def total(self) -> int:
        """Files passed over for any reason."""
        return sum(self.files.values())

    def to_json(self) -> list[dict[str, Any]]:
        """Return reason, files, the first names and how many more; most files first."""
        ranked = sorted(self.files.items(), key=lambda item: (-item[1], item[0]))
        return [
            {
                "reason": reason,
                "files": files,
                "names": list(self.names[reason]),
                "more": self.more[reason],
            }
            for reason, files in ranked
        ]


@dataclass(frozen=True)
class Entries:
    """What stands directly in a folder: names, sorted. The rest has been counted."""

    folders: list[str]
    images: list[str]
    folder_links: list[str]
    image_links: list[str]


def passing_reason(name: str) -> str | None:
    """Return why a file or folder of this name is never looked at, None where it is."""
    small = name.lower()
    if small in THUMBNAILS:
        return THUMBNAIL
    if small in BINS or small.startswith(".trash-"):
        return BIN
    if name.startswith("._"):
        return TWIN
    return HIDDEN if name.startswith(".") else None


def suffix_reason(name: str) -> str | None:
    """Return why a file of this name isn't taken as an image, None where it is."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a million times)
    if suffix in IMAGE_SUFFIXES:
        return None
    return OTHER_IMAGE if suffix in OTHER_IMAGE_SUFFIXES else NO_IMAGE


class Walker:
    """Walks below ``root``, whose folders it names by their POSIX path relative to it.

    ``passed``: what wasn't taken; ``followed``: the linked folders that were walked; ``problems``:
    folders that can't be read, and links that put one folder into two classes or splits. ``asked``:
    files that somebody names, and their folders: never passed over, whatever they are called.
    """

    def __init__(self, root: str, asked: frozenset[str] = frozenset()) -> None:
        self.root, self.asked = root, asked
        self.passed = PassedOver()
        self.followed: list[str] = []
        self.problems: list[str] = []
        self._taken_in: dict[str, int] = {}  # real path of a walked folder → its start
        self._above: set[str] = set()  # real paths of the folders that hold a start
        self._real_folders: dict[str, str] = {}

    def entries(self, folder: str) -> Entries:
        """Sort what stands in ``folder``; a folder that can't be read is a problem."""
        folders: list[str] = []
        images: list[str] = []
        folder_links: list[str] = []
        image_links: list[str] = []
        try:
            with os.scandir(self._place(folder)) as found:
                for entry in found:
                    name, is_link = entry.name, entry.is_symlink()
                    is_folder = _is_folder(entry)
                    is_asked = self._is_asked(folder, name)
                    reason = None if is_asked else passing_reason(name)
                    if reason:
                        self._pass(reason, folder, name, is_folder and not is_link)
                    elif is_folder:
                        (folder_links if is_link else folders).append(name)
                    elif reason := (not is_asked and suffix_reason(name)) or _special(entry):
                        nowhere = is_link and not _leads_somewhere(entry)
                        self._pass(LINK_NOWHERE if nowhere else reason, folder, name, False)
                    else:
                        (image_links if is_link else images).append(name)
        except OSError as error:
            self._refuse(folder, error)
        return Entries(sorted(folders), sorted(images), sorted(folder_links), sorted(image_links))

    def pass_folder(self, folder: str, reason: str) -> None:
        """Count every file below ``folder`` as passed over; links aren't followed."""
        files = 0
        if os.path.islink(self._place(folder)):  # noqa: PTH114
            self.passed.add(reason, folder)
            return
        for parent, below, names in os.walk(self._place(folder)):
            files += len(names)
            files += sum(os.path.islink(f"{parent}/{name}") for name in below)  # noqa: PTH114
        self.passed.add(reason, f"{folder}/", files)

    def images_below(self, starts: Sequence[str]) -> list[list[str]]:
        """Return the paths of the images below each of the ``starts``, unsorted.

        Real folders come first, then links to folders, then links to files, so that each is
        taken where it really lies and only once; links in a circle come to an end. A link named as
        an image that leads nowhere is taken: whoever reads it finds out. A linked image may stand
        in two classes or splits, where the audit finds it; a linked folder may not.
        """
        taken: list[list[str]] = [[] for _ in starts]
        folder_links: list[tuple[str, int]] = []
        image_links: list[tuple[str, int]] = []
        for number, start in enumerate(starts):
            real = os.path.realpath(self._place(start))
            self._above |= _folders_above(real)
            self._walk(start, real, number, taken[number], folder_links, image_links)
        folder_links.sort()
        for link, number in folder_links:  # grows while links are followed
            real = os.path.realpath(self._place(link))
            if real in self._above or self._taken_in.get(real) == number:
                self.passed.add(LINK_AGAIN, link)
            else:
                self.followed.append(link)
                self._walk(link, real, number, taken[number], folder_links, image_links)
        self._take_links(sorted(image_links), taken)
        return taken

    def _walk(
        self,
        start: str,
        real: str,
        number: int,
        taken: list[str],
        folder_links: list[tuple[str, int]],
        image_links: list[tuple[str, int]],
    ) -> None:
        waiting = [(start, real)]
        while waiting:
            folder, real = waiting.pop()
            other = self._taken_in.setdefault(real, number)
            if real in self._real_folders:
                if other == number:
                    self.pass_folder(folder, LINK_AGAIN)
                else:
                    self.problems.append(
                        f"{self._place(folder)}: must be a folder of its own, got a link to "
                        f"{self._place(self._real_folders[real])}: one folder can't be in two "
                        "classes or splits"
                    )
                continue
            self._real_folders[real] = folder
            found = self.entries(folder)
            prefix = f"{folder}/" if folder else ""
            taken += [prefix + name for name in found.images]
            waiting += [(prefix + name, os.path.join(real, name)) for name in found.folders]  # noqa: PTH118
            folder_links += [(prefix + name, number) for name in found.folder_links]
            image_links += [(prefix + name, number) for name in found.image_links]

    def _take_links(self, links: list[tuple[str, int]], taken: list[list[str]]) -> None:
        """Take each linked image once in a class folder."""
        targets: set[tuple[str, int]] = set()
        known: dict[str, str] = {}  # folder as links spell it → real path
        for link, number in links:
            real = _real_file(self._place(link), known)
            folder, name = os.path.split(real)
            is_taken_there = self._taken_in.get(folder) == number and not (
                passing_reason(name) or suffix_reason(name)
            )
            leads = os.path.exists(real)  # noqa: PTH110 (a million times)
            if leads and (is_taken_there or (real, number) in targets):
                self.passed.add(LINK_AGAIN, link)
            else:
                targets.add((real, number))
                taken[number].append(link)

    def _is_asked(self, folder: str, name: str) -> bool:
        return bool(self.asked) and (f"{folder}/{name}" if folder else name) in self.asked

    def _place(self, folder: str) -> str:
        return os.path.join(self.root, folder) if folder else self.root  # noqa: PTH118

    def _pass(self, reason: str, folder: str, name: str, is_folder: bool) -> None:
        path = f"{folder}/{name}" if folder else name
        if is_folder:
            self.pass_folder(path, reason)
        else:
            self.passed.add(reason, path)

    def _refuse(self, folder: str, error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        self.problems.append(f"{self._place(folder)}: must be a readable folder, got {reason}")


def _real_file(link: str, known: dict[str, str]) -> str:
    """Return what a link to a file leads to; of many links into one folder at a small price."""
    target = os.path.join(os.path.dirname(link), os.readlink(link))  # noqa: PTH118, PTH120, PTH115
    if os.path.islink(target):  # noqa: PTH114
        return os.path.realpath(link)
    folder, name = os.path.split(target)
    if folder not in known:
        known[folder] = os.path.realpath(folder)
    return os.path.join(known[folder], name)  # noqa: PTH118


def _folders_above(real: str) -> set[str]:
    return {os.fspath(folder) for folder in Path(real).parents}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself, or to where nobody may look
        return False


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    try:
        entry.stat()
    except OSError:
        return False
    return True


def _special(entry: os.DirEntry[str]) -> str | None:
    """Return the reason where an entry named as an image is no file; a link is looked at later."""
    if entry.is_file(follow_symlinks=False):
        return None
    if not entry.is_symlink():
        return SPECIAL
    return SPECIAL if _leads_somewhere(entry) and not entry.is_file() else None


def walk_folder(folder: str) -> tuple[list[str], PassedOver]:
    """Return the images below ``folder``, POSIX and relative to it, sorted; and what isn't taken.

    Raises :class:`InputError` with every folder that can't be listed.
    """
    walker = Walker(folder)
    [images] = walker.images_below([""])
    if walker.problems:
        raise InputError(walker.problems)
    return sorted(images), walker.passed


def passing_lines(passed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say in words what :meth:`PassedOver.to_json` tells: a line for each reason."""
    lines = []
    for one in passed:
        more = f" and {one['more']:,} more" if one["more"] else ""
        lines.append(f"{one['reason']}: {one['files']:,} ({', '.join(one['names'])}{more})")
    return lines
