"""Fixes that stay: kept in the store for a dataset folder, whose images are never touched."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import MappingProxyType
from typing import Any

from drupe.data.discover import discover
from drupe.data.fixes import SHOWN, Fixes, is_inside, read_fixes
from drupe.data.store_errors import writing_to
from drupe.errors import InputError, shortened, suggest
from drupe.files import read_json, write_json


def overlay_path(root: Path, store: Path) -> Path:
    """Return where the overlay of the dataset folder ``root`` is kept."""
    return store / "overlays" / f"{_key(root)}.json"


def audit_path(root: Path, store: Path) -> Path:
    """Return where the last audit of the dataset folder ``root`` is kept."""
    return store / "audits" / f"{_key(root)}.json"


def _key(root: Path) -> str:
    return hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]


def active_fixes(root: Path, store: Path) -> Fixes | None:
    """Return the fixes that were applied to the dataset folder ``root``, None where none were.

    Raises :class:`InputError` where the overlay's file is damaged.
    """
    path = overlay_path(Path(root), Path(store))
    if not path.exists():
        return None
    document = read_json(path)
    if not _is_overlay(document):
        raise InputError(
            f"{path}: must be an overlay with exclude and relabel; delete it and apply the "
            "fix list again"
        )
    return Fixes(
        frozenset(document["exclude"]), MappingProxyType(document["relabel"]), kept_in=path
    )


def apply_fixes(root: Path, store: Path, fix_list: Path) -> Fixes:
    """Make ``fix_list`` the overlay of the dataset folder ``root``, in place of an earlier one.

    An empty fix list removes the overlay.

    Raises
    ------
    InputError
        The fix list is wrong (see :func:`drupe.data.fixes.read_fixes`), names images that the
        folder doesn't hold or classes that it doesn't have, or the store can't be written to.
    """
    root, store = Path(root), Path(store)
    fixes = read_fixes(Path(fix_list))
    listing = discover(root, defect=_any_class(root))
    _check(fixes, fix_list, root, set(listing.paths), listing.classes)
    path = overlay_path(root, store)
    with writing_to(store):
        if fixes:
            document = {
                "root": str(root.resolve()),
                "exclude": sorted(fixes.exclude),
                "relabel": dict(fixes.relabel),
            }
            write_json(path, document)
        else:
            path.unlink(missing_ok=True)
    return fixes


def _any_class(root: Path) -> str | None:
    """Name some class, since which one is the defect doesn't matter here and may be unclear."""
    top = root / "train" if (root / "train").is_dir() else root
    try:
        names = sorted(entry.name for entry in top.iterdir() if entry.is_dir())
    except OSError:
        return None  # discover says what is wrong
    visible = [name for name in names if not name.startswith(".")]
    return visible[0] if visible else None


def _check(
    fixes: Fixes, fix_list: Path, root: Path, known: set[str], classes: tuple[str, str]
) -> None:
    problems = [
        f"{fix_list}: {path}: must be an image of {root}, got no such image"
        for path in sorted({*fixes.exclude, *fixes.relabel} - known)
    ]
    problems += [
        f"{fix_list}: {path}: class must be one of {', '.join(classes)}, "
        f"got {name!r}{suggest(name, classes)}"
        for path, name in sorted(fixes.relabel.items())
        if name not in classes
    ]
    if problems:
        raise InputError(shortened(problems, SHOWN))


def _is_overlay(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    exclude, relabel = document.get("exclude"), document.get("relabel")
    return (
        isinstance(exclude, list)
        and isinstance(relabel, dict)
        and all(isinstance(text, str) and is_inside(text) for text in (*exclude, *relabel))
        and all(isinstance(name, str) for name in relabel.values())
    )
