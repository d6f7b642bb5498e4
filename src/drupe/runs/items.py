"""The items that a run saw, by content, and what has become of those of an earlier run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from drupe.files import write_text
from drupe.runs.layout import RunFolder

HEADER = "sha256,label,side"


class Item(NamedTuple):
    """An item: SHA-256 (hex) of its file, label, side (fit, calibration, test or dropped).

    label: the type of a defect where it is known, else the class.
    """

    digest: str
    label: str
    side: str


class ItemChanges(BaseModel):
    """What has become of the items of an earlier run: counts.

    run: its folder. joined, left: items that are new since, and those that are gone. Of the others,
    relabelled: those of another label now; moved: those on another side of the split. A renamed
    file is the same item.
    """

    run: str
    joined: int
    left: int
    relabelled: int
    moved: int

    @property
    def are_news(self) -> bool:
        """Whether the data has changed; sides alone change with the settings of the split."""
        return bool(self.joined or self.left or self.relabelled)


def write_items(run: Path, items: Iterable[Item]) -> None:
    """Write the items of a run into its folder, sorted by digest."""
    lines = [HEADER, *(",".join(item) for item in sorted(items))]
    write_text(RunFolder(run).items, "\n".join(lines) + "\n")


def read_items(run: Path) -> list[Item] | None:
    """Return what :func:`write_items` wrote; None for runs that say nothing of their items.

    Those of earlier versions do. Class names with a comma are read whole.
    """
    try:
        head, *lines = RunFolder(run).items.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # none there, or not even a header
        return None
    if head != HEADER:
        return None
    items = []
    for line in lines:
        digest, _, rest = line.partition(",")
        label, _, side = rest.rpartition(",")
        items.append(Item(digest, label, side))
    return items


def item_changes(run: Path, before: Iterable[Item], after: Iterable[Item]) -> ItemChanges:
    """Return what has changed since ``run``, which had the items ``before``.

    Copies have one digest: as many of them as there are on both sides of the comparison are matched
    so that the fewest count as changed.
    """
    old, new = _by_digest(before), _by_digest(after)
    joined = left = relabelled = moved = 0
    for digest in old.keys() | new.keys():
        were, are = old.get(digest, []), new.get(digest, [])
        joined += max(0, len(are) - len(were))
        left += max(0, len(were) - len(are))
        relabelled += _changed([one.label for one in were], [one.label for one in are])
        moved += _changed([one.side for one in were], [one.side for one in are])
    return ItemChanges(run=str(run), joined=joined, left=left, relabelled=relabelled, moved=moved)


def _by_digest(items: Iterable[Item]) -> Mapping[str, list[Item]]:
    found: defaultdict[str, list[Item]] = defaultdict(list)
    for item in items:
        found[item.digest].append(item)
    return found


def _changed(were: list[str], are: list[str]) -> int:
    """Return how many of the items that are in both can't be matched with an equal one."""
    if were == are:
        return 0
    same = (Counter(were) & Counter(are)).total()
    return min(len(were), len(are)) - same
