from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from drupe.data.dataset import Dataset, open_dataset
from drupe.data.fingerprint import fingerprint_items

PATHS = ("train/clean/1.png", "train/pit/2.png", "val/clean/3.png", "val/pit/4.png")
CLASSES = ("clean", "pit")
DEFECT = (False, True, False, True)
VAL = (False, False, True, True)
DIGESTS = tuple(hashlib.sha256(bytes([number])).hexdigest() for number in range(4))


def fingerprint(**changed) -> str:
    items = {
        "paths": PATHS,
        "classes": CLASSES,
        "is_defect": DEFECT,
        "in_val": VAL,
        "digests": DIGESTS,
    }
    return fingerprint_items(**items | changed)


def test_it_is_the_digest_of_the_items_written_one_after_another() -> None:
    written = (
        f"train/clean/1.png\0clean\0train\0{DIGESTS[0]}\0"
        f"train/pit/2.png\0pit\0train\0{DIGESTS[1]}\0"
        f"val/clean/3.png\0clean\0val\0{DIGESTS[2]}\0"
        f"val/pit/4.png\0pit\0val\0{DIGESTS[3]}\0"
    )
    assert fingerprint() == hashlib.sha256(written.encode()).hexdigest()


@pytest.mark.parametrize(
    "changed",
    [
        {"paths": ("train/clean/9.png", *PATHS[1:])},
        {"classes": ("clean", "stone")},
        {"classes": ("pit", "clean")},
        {"is_defect": (True, True, False, True)},
        {"in_val": (True, False, True, True)},
        {"digests": (*DIGESTS[:3], DIGESTS[3][:-1] + "x")},
        {"digests": (DIGESTS[1], DIGESTS[0], *DIGESTS[2:])},
    ],
    ids=["path", "class-name", "classes-swapped", "label", "split", "digest", "digests-swapped"],
)
def test_each_field_of_an_item_counts(changed: dict[str, tuple]) -> None:
    assert fingerprint(**changed) != fingerprint()


@pytest.mark.parametrize("kept", [range(3), range(1, 4)])
def test_an_item_more_or_less_counts(kept: range) -> None:
    names = ("paths", "is_defect", "in_val", "digests")
    columns = (PATHS, DEFECT, VAL, DIGESTS)
    fewer = {
        name: tuple(column[index] for index in kept)
        for name, column in zip(names, columns, strict=True)
    }
    assert fingerprint(**fewer) != fingerprint()


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2)])
def test_the_order_of_the_items_does_not_count(order: tuple[int, ...]) -> None:
    paths, defect, val, digests = (
        tuple(column[index] for index in order) for column in (PATHS, DEFECT, VAL, DIGESTS)
    )
    found = fingerprint(paths=paths, is_defect=defect, in_val=val, digests=digests)
    assert found == fingerprint()


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        fingerprint(digests=DIGESTS[:3])


def opened(root: Path, store: Path) -> Dataset:
    return open_dataset(root, store=store, size=16, naming="pit")


def test_neither_place_nor_times_of_the_files_count(make_folder, store) -> None:
    first = opened(make_folder("one"), store).fingerprint
    moved = make_folder("elsewhere/two")
    for path in moved.rglob("*.png"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert opened(moved, store).fingerprint == first


def test_a_byte_behind_the_pixels_counts(make_folder, store) -> None:
    root = make_folder()
    before = opened(root, store)
    with (root / before.paths[0]).open("ab") as file:
        file.write(b"\0")
    after = opened(root, store)
    assert (after.images == before.images).all()
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize(
    "target", ["train/pit/000a.png", "train/clean/renamed.png", "val/clean/000a.png"]
)
def test_a_file_in_another_class_split_or_under_another_name_counts(
    make_folder, store, target: str
) -> None:
    root = make_folder()
    before = opened(root, store)
    (root / "train/clean/000.png").rename(root / target)
    after = opened(root, store)
    assert sorted(after.digests) == sorted(before.digests)
    assert after.fingerprint != before.fingerprint
