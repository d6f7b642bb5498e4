"""A fix list: which images to leave out and which to give another label, as a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from drupe.configuration import fingerprint
from drupe.errors import InputError, shortened, suggest
from drupe.files import write_text

COLUMNS = ("path", "action", "value", "reason")
ACTIONS = ("exclude", "relabel")
SHOWN = 20
"""Mistakes named in a message before it only counts."""


@dataclass(frozen=True)
class Fixes:
    """Changes to a dataset: paths are POSIX and relative to its root.

    exclude: images to leave out; relabel: path → name of the right class; kept_in: the file of
    the overlay that they come from, None where they don't.
    """

    exclude: frozenset[str] = frozenset()
    relabel: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    kept_in: Path | None = field(default=None, compare=False)

    def __bool__(self) -> bool:
        """Return whether anything is to be changed."""
        return bool(self.exclude or self.relabel)

    def wrong_relabels(
        self, known: Container[str], classes: tuple[str, str]
    ) -> list[tuple[str, str]]:
        """Return (path, reason) of relabels of images or to classes that aren't there.

        An image to leave out that isn't there is no mistake: it is left out.
        """
        wrong = []
        for path, name in sorted(self.relabel.items()):
            if path not in known:
                wrong.append((path, "must be an image of the dataset, got no such image"))
            elif name not in classes:
                hint = suggest(name, classes)
                wrong.append(
                    (path, f"class must be one of {', '.join(classes)}, got {name!r}{hint}")
                )
        return wrong

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what is changed, independent of order and reasons."""
        return fingerprint({"exclude": sorted(self.exclude), "relabel": dict(self.relabel)})


@dataclass(frozen=True)
class Proposal:
    """One line of a fix list; ``value`` is the class name of a relabel, else empty."""

    path: str
    action: str
    value: str
    reason: str


def write_fix_list(path: Path, proposals: Iterable[Proposal]) -> None:
    """Write ``proposals`` as CSV with the columns path, action, value, reason, atomically."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows((line.path, line.action, line.value, line.reason) for line in proposals)
    write_text(path, text.getvalue())


def read_fixes(path: Path) -> Fixes:
    """Read a fix list; the column reason, and any further ones, are optional and ignored.

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
    return _collect(path, rows)


def _collect(source: Path, rows: list[tuple[int, dict[str, str]]]) -> Fixes:
    problems: list[str] = []
    seen: dict[str, tuple[str, str, int]] = {}
    for line, row in rows:
        item, action, value = (row[name].strip() for name in COLUMNS[:3])
        wrong = _row_problem(item, action, value)
        if not wrong and item in seen and seen[item][:2] != (action, value):
            first = " ".join(filter(None, seen[item][:2]))
            second = " ".join(filter(None, (action, value)))
            wrong = (
                f"{item}: must be fixed in one way, got '{first}' (line {seen[item][2]}) "
                f"and '{second}'"
            )
        if wrong:
            problems.append(f"{source}, line {line}: {wrong}")
        else:
            seen.setdefault(item, (action, value, line))
    if problems:
        raise InputError(shortened(problems, SHOWN))
    return Fixes(
        exclude=frozenset(item for item, fix in seen.items() if fix[0] == "exclude"),
        relabel=MappingProxyType(
            {item: fix[1] for item, fix in sorted(seen.items()) if fix[0] == "relabel"}
        ),
    )


def _row_problem(item: str, action: str, value: str) -> str:
    if action not in ACTIONS:
        return f"action: must be {' or '.join(ACTIONS)}, got {action!r}{suggest(action, ACTIONS)}"
    if not is_inside(item):
        return f"path: must be relative to the dataset folder and without '..', got {item!r}"
    if action == "relabel" and not value:
        return f"value: must name the right class of {item}, got nothing"
    if action == "exclude" and value:
        return f"value: must be empty for exclude, got {value!r}"
    return ""


def is_inside(path: str) -> bool:
    """Return whether ``path`` can only mean something below the dataset folder."""
    parts = PurePosixPath(path).parts
    drive = len(path) > 1 and path[1] == ":"
    return bool(parts) and not path.startswith("/") and not drive and ".." not in parts
