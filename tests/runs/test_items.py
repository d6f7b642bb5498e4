from __future__ import annotations

from pathlib import Path

import pytest

from drupe.runs.items import Item, ItemChanges, item_changes, read_items, write_items

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def test_items_are_read_as_they_were_written(tmp_path: Path) -> None:
    items = [Item(B, "pit, small", "test"), Item(A, "ok", "fit"), Item(A, "ok", "dropped")]
    write_items(tmp_path, items)
    assert read_items(tmp_path) == sorted(items)


@pytest.mark.parametrize("text", [None, "", "digest\n", "other,header\n1,2\n"])
def test_what_says_nothing_of_items(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "items.csv").write_text(text)
    assert read_items(tmp_path) is None


BEFORE = [Item(A, "ok", "fit"), Item(B, "pit", "calibration")]


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        (BEFORE, (0, 0, 0, 0)),
        ([*BEFORE, Item(C, "ok", "test")], (1, 0, 0, 0)),
        (BEFORE[:1], (0, 1, 0, 0)),
        ([BEFORE[0], Item(B, "ok", "calibration")], (0, 0, 1, 0)),
        ([BEFORE[0], Item(B, "pit", "fit")], (0, 0, 0, 1)),
        ([BEFORE[0], Item(B, "ok", "fit")], (0, 0, 1, 1)),
        # A copy more: one joined, and the one that was there is what it was.
        ([*BEFORE, Item(A, "ok", "fit")], (1, 0, 0, 0)),
        ([*BEFORE, Item(A, "pit", "test")], (1, 0, 0, 0)),
        ([Item(A, "pit", "fit"), Item(C, "ok", "fit")], (1, 1, 1, 0)),
    ],
)
def test_changes(after: list[Item], counts: tuple[int, ...]) -> None:
    found = item_changes(Path("run"), BEFORE, after)
    joined, left, relabelled, moved = counts
    assert found == ItemChanges(
        run="run", joined=joined, left=left, relabelled=relabelled, moved=moved
    )
    assert found.are_news == any(counts[:3])
    # The other way round, joined and left change places.
    back = item_changes(Path("run"), after, BEFORE)
    assert (back.joined, back.left, back.relabelled, back.moved) == (
        left,
        joined,
        relabelled,
        moved,
    )
