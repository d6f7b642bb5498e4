"""Every state that a dataset's labels have been in: a file per revision, none of them ever changed.

A revision is named by its fixes: the same pictures with the same changes have the same name on any
machine. Revision 0, ``original``, is the folder without fixes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drupe.data.fixes import Fix, fix_document, parse_fix
from drupe.errors import InputError
from drupe.files import read_json, write_json

ORIGINAL = "original"
SHORTEST_NAME = 4
"""Letters of a revision's name that may stand for it."""


@dataclass(frozen=True)
class LabelRevision:
    """A state of the labels: its number from 0, its name, its fixes; when and why it came about.

    ``at`` is in UTC (ISO 8601), empty for the folder as it was first.
    """

    number: int
    name: str
    at: str
    why: str
    fixes: tuple[Fix, ...]

    def to_json(self) -> dict[str, Any]:
        """Return number, name, time, reason, and how many fixes of each kind it holds."""
        actions = [fix.action for fix in self.fixes]
        return {
            "number": self.number,
            "name": self.name,
            "at": self.at,
            "why": self.why,
            "excluded": actions.count("exclude"),
            "relabelled": actions.count("relabel"),
        }


def revision_name(fixes: Iterable[Fix]) -> str:
    """Return the name of a state with these fixes: 12 hexadecimal digits, or ``original``."""
    lines = sorted(f"{fix.sha256 or ''} {fix.change} {fix.path}" for fix in fixes)
    if not lines:
        return ORIGINAL
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def record_revision(folder: Path, fixes: Sequence[Fix], why: str) -> None:
    """Add a revision to the history kept in ``folder``, unless it is as the last one."""
    history = read_history(folder)
    name = revision_name(fixes)
    if name == history[-1].name:
        return
    number = len(history)
    document = {
        "number": number,
        "name": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "why": why,
        "fixes": [fix_document(fix) for fix in fixes],
    }
    write_json(folder / f"{number:06}.json", document)


def read_history(folder: Path) -> tuple[LabelRevision, ...]:
    """Return all revisions kept in ``folder``, the oldest first.

    Raises :class:`InputError` where a file of it is damaged.
    """
    revisions = [LabelRevision(0, ORIGINAL, "", "the folder without fixes", ())]
    for path in sorted(folder.glob("*.json")):
        document = read_json(path)
        fixes = _fixes(document)
        if fixes is None:
            raise InputError(
                f"{path}: must be a revision of labels and its fixes, got another file"
            )
        name, at, why = (str(document.get(key, "")) for key in ("name", "at", "why"))
        revisions.append(LabelRevision(len(revisions), name, at, why, fixes))
    return tuple(revisions)


def find_revision(folder: Path, wanted: str) -> LabelRevision:
    """Return the revision called ``wanted``: its number, its name, or the name's first letters.

    A name is looked for in the histories of other folders too.

    Raises :class:`InputError` where there is none, or more than one that differ.
    """
    history = read_history(folder)
    found = [one for one in history if wanted in (one.name, str(one.number), f"r{one.number}")]
    if not found and len(wanted) >= SHORTEST_NAME:
        # The folder may have been moved: a name means the same pictures and changes anywhere.
        others = (read_history(other) for other in sorted(folder.parent.glob("*")))
        known_names = {one.name: one for kept in (*others, history) for one in kept}
        found = [one for name, one in known_names.items() if name.startswith(wanted)]
    if len({one.name for one in found}) != 1:
        known = ", ".join(f"{one.number} ({one.name})" for one in history[-10:])
        raise InputError(
            f"labels: must be a revision's number or name, one of {known}; got {wanted!r}"
        )
    return found[-1]


def _fixes(document: Any) -> tuple[Fix, ...] | None:
    listed = document.get("fixes") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return None
    fixes = [parse_fix(one) for one in listed]
    return None if None in fixes else tuple(fix for fix in fixes if fix)
