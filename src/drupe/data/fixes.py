"""A fix list: which images to leave out and which to give another label, as a CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from drupe.errors import InputError, shortened, suggest
from drupe.files import write_text
from drupe.printable import from_spreadsheet_cell, spreadsheet_cell

COLUMNS = ("path", "action", "value", "reason", "sha256")
ACTIONS = ("exclude", "relabel")
SHOWN = 20
"""Mistakes named in a message before it only counts."""


CAUSES = ("suspect", "control", "all")


@dataclass(frozen=True)
class FixOrigin:
    """The review that a fix comes from: its queue's id, who judged, and when (UTC, ISO 8601).

    cause: why the picture was looked at. ``suspect``: a model disagreed with its label;
    ``control``: it was drawn at random, with known probability; ``all``: every picture of its
    ``split`` was looked at. split: as it was for whoever ranked the labels.
    """

    review: str
    reviewers: tuple[str, ...]
    at: str
    cause: str
    split: str


@dataclass(frozen=True)
class Fix:
    """One fix of one picture: a line of a fix list.

    path: POSIX, relative to the dataset folder; action: one of :data:`ACTIONS`; value: the class
    name of a relabel, else empty; sha256 (hex): of the picture's file, empty where that couldn't be
    read, None where it isn't known. copies: paths of the same bytes that stayed as they were when
    the fix was applied. origin: None for a fix that comes from no review.
    """

    path: str
    action: str
    value: str = ""
    reason: str = ""
    sha256: str | None = None
    copies: tuple[str, ...] = ()
    origin: FixOrigin | None = None

    @property
    def change(self) -> str:
        """What is done to the picture, such as ``relabel pit``."""
        return f"{self.action} {self.value}".strip()


@dataclass(frozen=True)
class Fixes:
    """Changes to a dataset: paths are POSIX and relative to its root.

    exclude: images to leave out; relabel: path → name of the right class; kept_in: the file of
    the overlay that they come from, None where they don't.
    """

    exclude: frozenset[str] = frozenset()
    relabel: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    kept_in: Path | None = field(default=None, compare=False)

    @classmethod
    def of(cls, fixes: Iterable[Fix], kept_in: Path | None = None) -> Fixes:
        """Return the changes that ``fixes`` ask for, each path once."""
        listed = sorted(fixes, key=lambda fix: fix.path)
        exclude = frozenset(fix.path for fix in listed if fix.action == "exclude")
        relabel = {fix.path: fix.value for fix in listed if fix.action == "relabel"}
        return cls(exclude, MappingProxyType(relabel), kept_in)

    def __bool__(self) -> bool:
        """Return whether anything is to be changed."""
        return bool(self.exclude or self.relabel)

    def wrong_relabels(
        self, known: Container[str], classes: Collection[str]
    ) -> list[tuple[str, str]]:
        """Return (path, reason) of relabels of images or to classes that aren't there.

        ``known`` are paths, ``classes`` all that a label may be called.

        An image to leave out that isn't there is no mistake: it is left out.
        """
        wrong = []
        for path, name in sorted(self.relabel.items()):
            if path not in known:
                wrong.append((path, "must be an image of the dataset, got no such image"))
            elif name not in classes:
                hint = suggest(name, tuple(classes))
                wrong.append(
                    (path, f"class must be one of {', '.join(classes)}, got {name!r}{hint}")
                )
        return wrong


def write_fix_list(path: Path, fixes: Iterable[Fix]) -> None:
    """Write ``fixes`` as CSV with the columns :data:`COLUMNS`, atomically.

    What a spreadsheet would take for a formula gets a ``'`` in front, which reading takes off.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(
        (*map(spreadsheet_cell, (fix.path, fix.action, fix.value, fix.reason)), fix.sha256 or "")
        for fix in fixes
    )
    write_text(path, text.getvalue())


def read_fix_list(path: Path, elsewhere: Container[str] = ()) -> tuple[Fix, ...]:
    """Read a fix list: one fix for each path, in the list's order, names exactly as written.

    The columns reason and sha256 are optional, further ones are ignored. ``elsewhere``: paths out
    of the dataset's folder that a table names.

    Raises
    ------
    InputError
        With every mistake: missing file or column, unknown action, a relabel without a class,
        an exclude with one, an absolute path or one with '..', one image fixed in two ways.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: must be a CSV file in UTF-8, got {error}") from None
    table = csv.DictReader(io.StringIO(text, newline=""), restval="")
    names = table.fieldnames or []
    missing = [name for name in COLUMNS[:3] if name not in names]
    if missing:
        got = ", ".join(names) or "an empty file"
        raise InputError(
            f"{path}: must have the columns {', '.join(COLUMNS[:3])}; "
            f"{', '.join(missing)} missing, got {got}"
        )
    try:
        rows = [(table.line_num, row) for row in table]
    except csv.Error as error:
        raise InputError(f"{path}, line {table.line_num}: not valid CSV ({error})") from None
    return _collect(path, rows, elsewhere)


def _collect(
    source: Path, rows: list[tuple[int, dict[str, str]]], elsewhere: Container[str]
) -> tuple[Fix, ...]:
    problems: list[str] = []
    seen: dict[str, tuple[Fix, int]] = {}
    for line, row in rows:
        fix = Fix(
            path=from_spreadsheet_cell(row["path"]),
            action=row["action"].strip(),
            value=from_spreadsheet_cell(row["value"]),
            reason=from_spreadsheet_cell(row.get("reason", "")),
            sha256=row.get("sha256", "").strip().lower() or None,
        )
        wrong = _problem(fix, elsewhere)
        first = seen.get(fix.path)
        if not wrong and first and first[0].change != fix.change:
            wrong = (
                f"{fix.path}: must be fixed in one way, got '{first[0].change}' (line {first[1]}) "
                f"and '{fix.change}'"
            )
        if wrong:
            problems.append(f"{source}, line {line}: {wrong}")
        else:
            seen.setdefault(fix.path, (fix, line))
    if problems:
        raise InputError(shortened(problems, SHOWN))
    return tuple(fix for fix, _ in seen.values())


def _problem(fix: Fix, elsewhere: Container[str]) -> str:
    action = fix.action
    if action not in ACTIONS:
        return f"action: must be {' or '.join(ACTIONS)}, got {action!r}{suggest(action, ACTIONS)}"
    if not is_inside(fix.path) and fix.path not in elsewhere:
        return f"path: must be relative to the dataset folder and without '..', got {fix.path!r}"
    if action == "relabel" and not fix.value:
        return f"value: must name the right class of {fix.path}, got nothing"
    if action == "exclude" and fix.value:
        return f"value: must be empty for exclude, got {fix.value!r}"
    if fix.sha256 and not re.fullmatch("[0-9a-f]{64}", fix.sha256):
        return f"sha256: must be empty or 64 hexadecimal digits, got {fix.sha256!r}"
    return ""


def outside(paths: Iterable[str]) -> frozenset[str]:
    """Return those of ``paths`` that may lead out of the dataset's folder."""
    return frozenset(path for path in paths if not is_inside(path))


def is_inside(path: str) -> bool:
    """Return whether ``path`` can only mean something below the dataset's folder."""
    parts = PurePosixPath(path).parts
    drive = len(path) > 1 and path[1] == ":"
    return bool(parts) and not path.startswith("/") and not drive and ".." not in parts


def fix_document(fix: Fix) -> dict[str, Any]:
    """Return a fix as it is kept: in overlays, and in the history of labels."""
    document = asdict(fix) | {"copies": list(fix.copies)}
    if fix.origin is None:
        del document["origin"]
    else:
        document["origin"]["reviewers"] = list(fix.origin.reviewers)
    return document


def parse_fix(document: Any) -> Fix | None:
    """Return the fix that :func:`fix_document` made a document of, None where it isn't one."""
    texts = {"path", "action", "value", "reason"}
    if not isinstance(document, dict) or set(document) - {"origin"} != texts | {"sha256", "copies"}:
        return None
    origin = _parse_origin(document["origin"]) if "origin" in document else None
    if (
        all(isinstance(document[name], str) for name in texts)
        and isinstance(document["sha256"], str | None)
        and _are_texts(document["copies"])
        and document["action"] in ACTIONS
        and (origin is None) == ("origin" not in document)
    ):
        return Fix(**{**document, "copies": tuple(document["copies"]), "origin": origin})
    return None


def _parse_origin(document: Any) -> FixOrigin | None:
    texts = {"review", "at", "cause", "split"}
    if not isinstance(document, dict) or set(document) != texts | {"reviewers"}:
        return None
    right = all(isinstance(document[name], str) for name in texts)
    if not right or document["cause"] not in CAUSES or not _are_texts(document["reviewers"]):
        return None
    return FixOrigin(**{**document, "reviewers": tuple(document["reviewers"])})


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
