"""Fixes that stay: kept in the store for a dataset, whose images are never touched.

The overlay of a folder or table is a file in ``STORE/overlays/``. A fix holds in the dataset that
it was applied to; in any other one that takes the very same file; and, once its picture is no
longer where it was, wherever the picture has gone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drupe.data.file_digests import file_digests
from drupe.data.fix_matching import FixMatch, match_by_content
from drupe.data.fixes import (
    SHOWN,
    Fix,
    Fixes,
    fix_document,
    is_inside,
    outside,
    parse_fix,
    read_fix_list,
)
from drupe.data.label_history import find_revision, record_revision, revision_name
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.store_errors import writing_to
from drupe.data.table import folder_of
from drupe.errors import InputError, shortened, suggest
from drupe.files import read_json, write_json
from drupe.progress import Progress, silent

EARLIER = "fixes of an earlier version"


def overlay_path(root: Path, store: Path) -> Path:
    """Return where the overlay of the dataset ``root`` is kept."""
    return store / "overlays" / f"{_key(root)}.json"


def audit_path(root: Path, store: Path) -> Path:
    """Return where the last audit of the dataset ``root`` is kept."""
    return store / "audits" / f"{_key(root)}.json"


def history_folder(root: Path, store: Path) -> Path:
    """Return where the revisions of the dataset folder ``root``'s labels are kept."""
    return store / "label-history" / _key(root)


def record_trial(root: Path, store: Path, fixes: Sequence[Fix], why: str) -> str:
    """Keep a state that the labels of ``root`` were never in; return its name.

    Runs can use it by that name. It is no part of the labels' history, and nothing else changes.
    """
    history = history_folder(root, store)
    with writing_to(store):
        record_revision(history.with_name(f"{history.name}-trials"), fixes, why)
    return revision_name(fixes)


def _key(root: Path) -> str:
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


@dataclass(frozen=True)
class _Kept:
    """One overlay: the folder or table that its fixes were applied to, and the fixes.

    is_old: it was written before fixes named their pictures by content.
    """

    root: Path
    fixes: tuple[Fix, ...]
    is_old: bool = False

    def file_of(self, fix: Fix) -> str | None:
        """Return the real path of the picture of ``fix``, None where it lies there no longer."""
        path = folder_of(self.root) / fix.path
        try:
            with path.open("rb") as file:
                is_there = hashlib.file_digest(file, "sha256").hexdigest() == fix.sha256
        except OSError:
            return None
        return os.path.realpath(path) if is_there else None


@dataclass(frozen=True)
class Overlay:
    """The fixes in ``store`` that may be about pictures of a dataset, ``root``.

    ``pinned``: those of an earlier revision of its labels, instead of what holds now.
    """

    root: Path
    store: Path
    pinned: tuple[Fix, ...] | None = None

    def matched(self, paths: Sequence[str], digests: Sequence[str]) -> FixMatch:
        """Return the fixes for a dataset of files with these paths and SHA-256 (hex).

        The dataset's own fixes come first. Those of other datasets count for pictures without one:
        for the very file that they were applied to, and for any copy where the other dataset no
        longer has the picture in its place. An overlay of an earlier version learns here which
        pictures it is about.

        Raises :class:`InputError` where an overlay's file is damaged.
        """
        if self.pinned is not None:
            return match_by_content(
                self.pinned, paths, digests, overlay_path(self.root, self.store)
            )
        own = self._own(paths, digests)
        taken = {fix.sha256 for fix in own}
        here = {digest for digest in digests if digest} - taken
        others: list[Fix] = []
        shared: list[tuple[str, Fix]] = []
        for kept in self._others():
            for fix in kept.fixes:
                if fix.sha256 not in here:
                    continue
                file = kept.file_of(fix)
                if file is None:
                    others.append(fix)
                else:
                    shared.append((file, fix))
        others += self._in_both(shared, paths, digests)
        unique = {(fix.path, fix.change, fix.sha256): fix for fix in (*own, *others)}
        own_file = overlay_path(self.root, self.store)
        return match_by_content(unique.values(), paths, digests, own_file)

    def _in_both(
        self, shared: Sequence[tuple[str, Fix]], paths: Sequence[str], digests: Sequence[str]
    ) -> list[Fix]:
        """Return the fixes whose file this dataset takes too, by the path that it has here."""
        if not shared:
            return []
        wanted = {fix.sha256 for _, fix in shared}
        path_of = {
            os.path.realpath(folder_of(self.root) / path): path
            for path, digest in zip(paths, digests, strict=True)
            if digest in wanted
        }
        return [
            replace(fix, path=path_of[file], copies=()) for file, fix in shared if file in path_of
        ]

    def require_known(self, paths: Sequence[str]) -> None:
        """Refuse an overlay of an earlier version that may be about a folder of these ``paths``.

        Its own folder is gone, so which pictures it is about can't be told.
        """
        if self.pinned is not None or overlay_path(self.root, self.store).exists():
            return
        here = set(paths)
        for file, kept in self._other_files():
            lost = kept.is_old and not kept.root.is_dir()
            if lost and {fix.path for fix in kept.fixes} <= here:
                raise InputError(
                    f"{file}: holds fixes of {kept.root} by their paths alone, as earlier versions "
                    f"did; that folder is gone, and {self.root} has files of these names. If they "
                    f"are its pictures: drupe data audit {self.root} --apply FILE with the list; "
                    "if not, delete this overlay"
                )

    def keep(self, fixes: Sequence[Fix], instead_of: Sequence[Fix], why: str) -> None:
        """Write ``fixes`` as the dataset's own; ``instead_of`` are taken out of other overlays.

        Those of another dataset stay in its overlay where they are about a file of its own.
        """
        own = _Kept(self.root, tuple(instead_of))
        gone = {(own.file_of(fix), fix.change, fix.sha256) for fix in instead_of}
        moved = set(instead_of)
        pictures = {fix.sha256 for fix in instead_of}
        write_overlay(self.root, self.store, fixes, why)
        for kept in self._others():
            left = []
            for fix in kept.fixes:
                file = kept.file_of(fix) if fix.sha256 in pictures else None
                is_gone = fix in moved if file is None else (file, fix.change, fix.sha256) in gone
                if not is_gone:
                    left.append(fix)
            if len(left) < len(kept.fixes):
                write_overlay(kept.root, self.store, left, f"pictures went to {self.root}")

    def _own(self, paths: Sequence[str], digests: Sequence[str]) -> tuple[Fix, ...]:
        path = overlay_path(self.root, self.store)
        if not path.exists():
            return ()
        kept = _read(path)
        if not kept.is_old:
            return kept.fixes
        fixes = with_content(kept.fixes, paths, digests)
        write_overlay(self.root, self.store, fixes, EARLIER)
        return fixes

    def _others(self) -> list[_Kept]:
        return [kept for _, kept in self._other_files() if not kept.is_old]

    def _other_files(self) -> list[tuple[Path, _Kept]]:
        own = overlay_path(self.root, self.store)
        files = sorted(path for path in own.parent.glob("*.json") if path != own)
        return [(path, _read(path)) for path in files]


def active_fixes(root: Path, store: Path, revision: str | None = None) -> Overlay | None:
    """Return the fixes that may hold in the dataset ``root``, None where the store has none.

    Which of them do is known when the dataset's files are: :meth:`Overlay.matched`. ``revision``:
    those of an earlier state of its labels, see :func:`~drupe.data.label_history.find_revision`.
    """
    root, store = Path(root), Path(store)
    if revision is not None:
        return Overlay(root, store, find_revision(history_folder(root, store), revision).fixes)
    return Overlay(root, store) if any((store / "overlays").glob("*.json")) else None


def match_fixes(
    fixes: Overlay | Fixes | None, paths: Sequence[str], digests: Sequence[str]
) -> FixMatch:
    """Return what ``fixes`` change in a folder of files with these paths and SHA-256 (hex).

    Raises :class:`InputError` where an overlay is damaged, or what it is about can't be told.
    """
    if isinstance(fixes, Overlay):
        fixes.require_known(paths)
        return fixes.matched(paths, digests)
    return FixMatch.by_path(fixes or Fixes(), set(paths))


def with_content(
    fixes: Sequence[Fix], paths: Sequence[str], digests: Sequence[str]
) -> tuple[Fix, ...]:
    """Return ``fixes`` with the SHA-256 of the files at their paths, and the paths of copies.

    Those whose path isn't among ``paths`` stay as they are.
    """
    digest_at = dict(zip(paths, digests, strict=True))
    fixed = {fix.path for fix in fixes}
    copies: dict[str, list[str]] = {digest_at.get(fix.path, ""): [] for fix in fixes}
    for path, digest in digest_at.items():
        if digest and digest in copies and path not in fixed:
            copies[digest].append(path)
    return tuple(
        replace(fix, sha256=digest_at[fix.path], copies=tuple(copies[digest_at[fix.path]]))
        if fix.path in digest_at
        else fix
        for fix in fixes
    )


@dataclass(frozen=True)
class Applied:
    """What became of a fix list: how many of its fixes are ``new`` and how many were ``known``.

    changed: contradictions with earlier fixes, in words; kept, taken_back: counts of earlier ones.
    """

    new: int
    known: int
    changed: tuple[str, ...]
    kept: int
    taken_back: int

    def lines(self) -> list[str]:
        """Say what became of the list, then each contradiction."""
        counts = {"new": self.new, "known before": self.known, "changed": len(self.changed)}
        counts |= {"earlier ones kept": self.kept, "earlier ones taken back": self.taken_back}
        words = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        lines = [f"fixes: {words or 'none'}"]
        return lines + [f"the newer fix counts: {one}" for one in self.changed]


def apply_fixes(
    root: Path,
    store: Path,
    fix_list: Path,
    *,
    naming: Naming | None = None,
    replace_earlier: bool = False,
    progress: Progress = silent,
) -> Applied:
    """Add ``fix_list`` to the fixes of the dataset ``root``, or put it in their place.

    Where an earlier fix of a picture says otherwise, the new one wins. ``naming`` says which names
    a label may have beside those of the class folders.

    Raises
    ------
    InputError
        The fix list is wrong (see :func:`drupe.data.fixes.read_fix_list`), names images that the
        folder doesn't hold, others than it was made for, or classes that the folder doesn't have,
        or the store can't be written to.
    """
    root, store = Path(root), Path(store)
    listing = list_dataset(root, either_defect=True)
    wanted = read_fix_list(Path(fix_list), outside(listing.paths))
    why = f"fix list {fix_list}"
    return add_fixes(
        root,
        store,
        wanted,
        source=str(fix_list),
        why=f"{why}, in place of all earlier fixes" if replace_earlier else why,
        naming=naming,
        replace_earlier=replace_earlier,
        progress=progress,
    )


def add_fixes(
    root: Path,
    store: Path,
    wanted: Sequence[Fix],
    *,
    source: str,
    why: str,
    naming: Naming | None = None,
    replace_earlier: bool = False,
    progress: Progress = silent,
) -> Applied:
    """Add the fixes ``wanted``, each path once, as :func:`apply_fixes` does those of a list.

    ``source`` is what a message calls them, ``why`` what the history of the labels says of it.
    """
    has_types = naming is not None and naming.has_types
    listing = list_dataset(root, naming) if has_types else list_dataset(root, either_defect=True)
    digests = file_digests(listing.root, listing.paths, store=store, progress=progress).digests
    digest_at = dict(zip(listing.paths, digests, strict=True))
    _check(wanted, source, root, digest_at, tuple(listing.meanings))
    new = {fix.path: fix for fix in with_content(wanted, listing.paths, digests)}
    overlay = Overlay(root, store)
    found = overlay.matched(listing.paths, digests)
    earlier = {path: fix for fix, path in found.honoured}
    again = [path for path in new if path in earlier and not replace_earlier]
    differing = [path for path in again if earlier[path].change != new[path].change]
    for path in set(again) - set(differing):
        # What a review found stays known as such, whoever says the same again.
        new[path] = replace(new[path], origin=new[path].origin or earlier[path].origin)
    kept: list[Fix] = []
    if not replace_earlier:
        kept = [replace(fix, path=path) for path, fix in earlier.items() if path not in new]
    # Paths count as of today for what was found; what wasn't keeps what it knows.
    fixes = list(with_content([*kept, *new.values()], listing.paths, digests))
    if not replace_earlier:
        settled = {fix.sha256 for fix in new.values()}
        lost = [fix for fix, _ in found.unmatched if fix.sha256 not in settled]
        kept, fixes = [*kept, *lost], [*fixes, *lost]
    overlay.keep(fixes, instead_of=found.all, why=why)
    return Applied(
        new=len(new) - len(again),
        known=len(again) - len(differing),
        changed=tuple(
            f"{path}: {new[path].change}, was {earlier[path].change}" for path in differing
        ),
        kept=len(kept),
        taken_back=len(found.all) if replace_earlier else 0,
    )


def clear_fixes(root: Path, store: Path, *, progress: Progress = silent) -> int:
    """Take back all fixes of the dataset ``root``, and return how many there were."""
    root, store = Path(root), Path(store)
    overlay = Overlay(root, store)
    found = find_fixes(root, store, progress=progress)
    overlay.keep([], instead_of=found.all, why="all fixes taken back")
    return len(found.all)


def restore_fixes(
    root: Path, store: Path, fixes: Sequence[Fix], why: str, *, progress: Progress = silent
) -> None:
    """Make ``fixes``, those of an earlier revision, hold for the dataset ``root`` again."""
    root, store = Path(root), Path(store)
    found = find_fixes(root, store, progress=progress)
    Overlay(root, store).keep(fixes, instead_of=found.all, why=why)


def find_fixes(
    root: Path, store: Path, revision: str | None = None, *, progress: Progress = silent
) -> FixMatch:
    """Return the fixes of the dataset ``root``, those that hold there and those that don't.

    ``revision``: those of an earlier state of its labels; None: of now.
    Raises :class:`InputError` where the folder is no dataset, or an overlay's file is damaged.
    """
    root, store = Path(root), Path(store)
    listing = list_dataset(root, either_defect=True)
    digests = file_digests(listing.root, listing.paths, store=store, progress=progress).digests
    return (active_fixes(root, store, revision) or Overlay(root, store)).matched(
        listing.paths, digests
    )


def write_overlay(root: Path, store: Path, fixes: Sequence[Fix], why: str = "") -> None:
    """Write ``fixes`` as the overlay of the dataset ``root``; none removes it.

    The history of the dataset's labels gets a revision, with ``why`` as its reason.
    """
    path = overlay_path(root, store)
    history = history_folder(root, store)
    with writing_to(store):
        if path.exists() and not history.exists():
            record_revision(history, _read(path).fixes, EARLIER)
        record_revision(history, fixes, why)
        if not fixes:
            path.unlink(missing_ok=True)
            return
        document = {
            "root": str(root.resolve()),
            "fixes": [
                fix_document(fix)
                for fix in sorted(fixes, key=lambda fix: (fix.path, fix.sha256 or ""))
            ],
        }
        write_json(path, document)


def _check(
    fixes: Sequence[Fix],
    source: str,
    root: Path,
    digest_at: dict[str, str],
    classes: Sequence[str],
) -> None:
    problems = []
    for fix in fixes:
        where = f"{source}: {fix.path}"
        if fix.path not in digest_at:
            problems.append(f"{where}: must be an image of {root}, got no such image")
        elif fix.sha256 and fix.sha256 != digest_at[fix.path]:
            problems.append(
                f"{where}: must be the picture that the list was made for (sha256 "
                f"{fix.sha256[:12]}), got another picture of that name in {root}"
            )
        if fix.action == "relabel" and fix.value not in classes:
            problems.append(
                f"{where}: class must be one of {', '.join(classes)}, "
                f"got {fix.value!r}{suggest(fix.value, classes)}"
            )
    if problems:
        raise InputError(shortened(problems, SHOWN))


def _read(path: Path) -> _Kept:
    document = read_json(path)
    kept = _new_form(document) or _old_form(document)
    if kept is None:
        raise InputError(
            f"{path}: must be an overlay of a folder and its fixes; delete it and apply the fix "
            "list again"
        )
    return kept


def _new_form(document: Any) -> _Kept | None:
    if not isinstance(document, dict) or not isinstance(document.get("root"), str):
        return None
    listed = document.get("fixes")
    if not isinstance(listed, list):
        return None
    fixes = [parse_fix(one) for one in listed]
    if None in fixes:
        return None
    return _Kept(Path(document["root"]), tuple(fix for fix in fixes if fix))


def _old_form(document: Any) -> _Kept | None:
    """Read what earlier versions wrote: paths alone, the root not always."""
    if not isinstance(document, dict):
        return None
    exclude, relabel = document.get("exclude"), document.get("relabel")
    if not isinstance(exclude, list) or not isinstance(relabel, dict):
        return None
    names = (*exclude, *relabel)
    if not all(isinstance(text, str) and is_inside(text) for text in names):
        return None
    if not all(isinstance(name, str) for name in relabel.values()):
        return None
    fixes = [Fix(path, "exclude") for path in exclude]
    fixes += [Fix(path, "relabel", name) for path, name in relabel.items()]
    return _Kept(Path(str(document.get("root", ""))), tuple(fixes), is_old=True)
