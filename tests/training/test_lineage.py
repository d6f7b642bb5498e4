"""What a run says of the items since the run before it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from drupe.data.overlay import apply_fixes
from drupe.data.synthetic.generation import synthesise
from drupe.runs.items import ItemChanges, read_items
from drupe.runs.record import read_record
from drupe.training.run import train_run

pytestmark = pytest.mark.thorough


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """150 crops in plain class folders, of which 30 are held back in ``later``."""
    synthesise(tmp_path / "drawn", images=150, size=64, seed=11)
    for number, path in enumerate(sorted((tmp_path / "drawn").rglob("*.png"))):
        part, label = path.parts[-3:-1]
        place = tmp_path / ("later" if number % 5 == 0 else "set") / label / f"{part}-{path.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place)
    return tmp_path / "set"


@pytest.fixture
def changes(tiny, crops: Path, tmp_path: Path):
    """Train on the crops as they are now; return what the run says has changed."""

    def train(name: str, **sections) -> ItemChanges | None:
        data = {"root": str(crops), **sections.pop("data", {})}
        train_run(tiny(data=data, **sections), tmp_path / name, tmp_path / "store")
        record = read_record(tmp_path / name)
        assert record is not None
        return record.changes

    return train


def counts(found: ItemChanges | None) -> tuple[int, int, int, int]:
    assert found is not None
    return found.joined, found.left, found.relabelled, found.moved


def test_added_crops_move_no_old_one(changes, crops: Path, tmp_path: Path) -> None:
    assert changes("first") is None
    old = read_items(tmp_path / "first")
    assert old is not None
    assert {item.side for item in old} == {"fit", "calibration", "test"}
    shutil.copytree(tmp_path / "later", crops, dirs_exist_ok=True)
    found = changes("second")
    assert found is not None
    assert found.run == str(tmp_path / "first")
    assert counts(found) == (30, 0, 0, 0)
    assert set(old) < set(read_items(tmp_path / "second") or ())


def test_renamed_relabelled_and_removed_crops(changes, crops: Path, tmp_path: Path) -> None:
    changes("first")
    clean = sorted((crops / "cherry_clean").iterdir())
    clean[0].rename(clean[0].with_name("renamed.png"))
    clean[1].unlink()
    name = clean[2].relative_to(crops).as_posix()
    (tmp_path / "fix.csv").write_text(f"path,action,value\n{name},relabel,cherry_pit\n")
    apply_fixes(crops, tmp_path / "store", tmp_path / "fix.csv")
    assert counts(changes("second")) == (0, 1, 1, 0)


def test_another_split_moves_items(changes) -> None:
    changes("first")
    *same, moved = counts(changes("second", data={"split_seed": 1}))
    assert same == [0, 0, 0]
    assert moved > 0


def test_the_ancestor_counts_before_the_latest_run(changes, crops: Path, tmp_path: Path) -> None:
    changes("first")
    first = sorted((crops / "cherry_pit").iterdir())[0]
    first.unlink()
    changes("second")
    shutil.copytree(tmp_path / "later", crops, dirs_exist_ok=True)
    found = changes("third", training={"init": str(tmp_path / "first")})
    assert found is not None
    assert found.run == str(tmp_path / "first")
    assert (found.joined, found.left, found.relabelled) == (30, 1, 0)
    assert found.moved == 0


@pytest.mark.parametrize("data", [{"limit": 20}, {"inner": {"fold": 0, "folds": 2}}])
def test_runs_on_a_part_are_neither_compared_nor_the_latest(changes, tmp_path, data) -> None:
    changes("first")
    assert changes("part", data=data) is None
    found = changes("second")
    assert found is not None
    assert found.run == str(tmp_path / "first")
    assert not found.are_news


def test_a_run_that_is_gone_or_says_nothing_is_left_out(changes, tmp_path: Path) -> None:
    changes("first")
    (tmp_path / "first" / "items.csv").unlink()
    assert changes("second") is None
    latest = next((tmp_path / "store" / "latest").iterdir())
    latest.write_text("[]")
    assert changes("third") is None
