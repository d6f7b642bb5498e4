from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drupe.data.audit import audit
from drupe.data.dataset import open_dataset
from drupe.data.fixes import Fixes, write_fix_list
from drupe.data.overlay import active_fixes, apply_fixes
from drupe.data.synthetic.generation import synthesise
from drupe.errors import InputError

FAULTS = {
    "leaks": 6,
    "duplicates": 7,
    "near_duplicates": 12,
    "contradictions": 4,
    "blanks": 3,
    "corrupt": 5,
}


@pytest.fixture
def folder(make_folder) -> Path:
    """Random images, four in each class of train and val, all different."""
    root = make_folder(count=4, size=32)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return root


def test_a_sound_folder_has_no_errors(folder: Path, store: Path) -> None:
    found = audit(folder, store=store)
    document = found.to_json()
    assert not found.has_errors
    assert found.proposed_fixes() == []
    assert document["images"] == 16
    assert document["per_class"] == {"clean": 8, "pit": 8}
    assert document["per_split"]["val"] == {"clean": 4, "pit": 4}
    assert document["sizes"] == {"32x32": 16}
    assert document["modes"] == {"PNG RGB": 16}
    assert document["largest_group"] == {"images": 0, "files": 0, "paths": []}
    assert document["content_box"]["crop"] == 32


def test_the_fingerprint_is_that_of_the_dataset_opened_without_unreadable_files(
    folder: Path, store: Path
) -> None:
    (folder / "train/pit/000.png").write_bytes(b"")
    fixes = Fixes(exclude=frozenset({"train/clean/001.png"}), relabel={"val/clean/002.png": "pit"})
    dataset = open_dataset(folder, store=store, size=32, unreadable="skip", fixes=fixes)
    assert audit(folder, store=store, fixes=fixes).fingerprint == dataset.fingerprint
    assert audit(folder, store=store).fingerprint != dataset.fingerprint


def test_faults_made_by_hand_are_reported_and_fixed(folder: Path, store: Path) -> None:
    (folder / "train/pit/001.png").write_bytes((folder / "val/pit/000.png").read_bytes())  # leak
    shutil.copy(folder / "train/clean/000.png", folder / "train/clean/001.png")  # duplicate
    shutil.copy(folder / "val/clean/002.png", folder / "val/pit/002.png")  # contradiction
    turned = Image.open(folder / "val/clean/000.png").transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "train/clean/003.png")  # leak under a turn
    (folder / "train/pit/002.png").write_bytes(b"not an image")
    Image.new("RGB", (32, 32)).save(folder / "train/pit/003.png")
    Image.new("L", (20, 30), 90).save(folder / "val/pit/003.png")

    found = audit(folder, store=store)
    document = json.loads(json.dumps(found.to_json()))
    assert found.has_errors
    assert document["exact_duplicate_pairs"] == 3
    assert document["cross_split_duplicate_pairs"] == 1
    assert document["near_duplicate_pairs"] == document["cross_split_near_duplicate_pairs"] == 1
    assert document["contradictory_labels"] == 1
    assert document["unreadable"] == 1
    assert document["findings"]["unreadable"] == [
        {"path": "train/pit/002.png", "reason": "not a PNG, JPEG, BMP, TIFF or WebP image"}
    ]
    assert document["findings"]["blank_or_tiny"] == ["train/pit/003.png", "val/pit/003.png"]
    assert document["findings"]["other_sizes"] == [{"path": "val/pit/003.png", "size": [20, 30]}]
    assert document["modes"] == {"PNG RGB": 14, "PNG L": 1}
    assert document["findings"]["other_modes"] == [{"path": "val/pit/003.png", "mode": "PNG L"}]
    assert {fix.path: fix.reason for fix in found.proposed_fixes()} == {
        "train/clean/001.png": "copy of train/clean/000.png",
        "train/clean/003.png": "turned copy of val/clean/000.png, which is in val",
        "train/pit/001.png": "identical to val/pit/000.png, which is in val",
        "train/pit/002.png": "unreadable: not a PNG, JPEG, BMP, TIFF or WebP image",
        "train/pit/003.png": "blank or tiny content",
        "val/clean/002.png": "same image as val/pit/002.png, of the other class",
        "val/pit/002.png": "same image as val/clean/002.png, of the other class",
        "val/pit/003.png": "blank or tiny content",
    }


def test_three_identical_files_are_three_pairs_and_two_fixes(folder: Path, store: Path) -> None:
    for name in ("001", "002"):
        shutil.copy(folder / "train/pit/000.png", folder / f"train/pit/{name}.png")
    found = audit(folder, store=store)
    document = found.to_json()
    assert document["exact_duplicate_pairs"] == 3
    assert document["largest_group"]["files"] == 3
    assert not found.has_errors
    assert [fix.path for fix in found.proposed_fixes()] == [
        "train/pit/001.png",
        "train/pit/002.png",
    ]


def test_empty_files_are_unreadable_and_nothing_else(folder: Path, store: Path) -> None:
    (folder / "train/pit/000.png").write_bytes(b"")
    (folder / "val/clean/000.png").write_bytes(b"garbage")
    document = audit(folder, store=store).to_json()
    assert document["unreadable"] == 2
    assert document["near_duplicate_pairs"] == document["exact_duplicate_pairs"] == 0
    assert document["findings"]["blank_or_tiny"] == []


def test_large_copies_are_compared_in_small(folder: Path, store: Path) -> None:
    random = np.random.default_rng(0)
    rough = Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    large = rough.resize((300, 300), Image.Resampling.BICUBIC)
    large.save(folder / "train/clean/900.png")
    large.transpose(Image.Transpose.ROTATE_180).save(folder / "train/clean/901.jpg", quality=97)
    found = audit(folder, store=store).to_json()
    pair = found["findings"]["near_duplicates"]
    assert [(p["first"], p["second"]) for p in pair] == [
        ("train/clean/900.png", "train/clean/901.jpg")
    ]
    assert found["sizes"]["300x300"] == 2


def test_fixes_are_honoured(folder: Path, store: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "val/clean/002.png", folder / "val/pit/002.png")
    (folder / "train/pit/002.png").write_bytes(b"not an image")
    relabelled = audit(
        folder,
        store=store,
        fixes=Fixes(frozenset({"train/pit/002.png"}), {"val/pit/002.png": "clean"}),
    )
    document = relabelled.to_json()
    assert not relabelled.has_errors
    assert document["contradictory_labels"] == document["unreadable"] == 0
    assert document["images"] == 15
    assert document["per_split"]["val"] == {"clean": 5, "pit": 3}
    assert document["fixes"] == {
        "excluded": 1,
        "relabelled": 1,
        "revision": document["fixes"]["revision"],
        "moved": 0,
        "unmatched": [],
        "wrong": [],
    }
    assert len(document["fixes"]["revision"]) == 12

    write_fix_list(tmp_path / "fixes.csv", audit(folder, store=store).proposed_fixes())
    apply_fixes(folder, store, tmp_path / "fixes.csv")
    assert not audit(folder, store=store, fixes=active_fixes(folder, store)).has_errors


def test_a_fix_for_a_lost_image_is_stale(folder: Path, store: Path) -> None:
    found = audit(folder, store=store, fixes=Fixes(frozenset({"train/pit/999.png"})))
    [stale] = found.to_json()["fixes"]["unmatched"]
    assert stale["path"] == "train/pit/999.png"


@pytest.mark.parametrize(
    ("path", "name", "reason"),
    [
        (
            "train/pit/001.png",
            "claen",
            "class must be one of clean, pit, got 'claen'",
        ),
        ("train/pit/999.png", "clean", "must be an image of the dataset, got no such image"),
    ],
)
def test_a_relabel_that_training_would_refuse_is_an_error(
    folder: Path, store: Path, path: str, name: str, reason: str
) -> None:
    found = audit(folder, store=store, fixes=Fixes(relabel={path: name}))
    document = found.to_json()
    assert found.has_errors
    [wrong] = document["fixes"]["wrong"]
    assert wrong["path"] == path
    assert wrong["reason"].startswith(reason)
    assert document["fixes"]["relabelled"] == 0
    assert document["per_class"] == {"clean": 8, "pit": 8}


def test_a_class_that_the_fixes_emptied_is_an_error(folder: Path, store: Path) -> None:
    every = frozenset(f"train/pit/{index:03}.png" for index in range(4))
    found = audit(folder, store=store, fixes=Fixes(every))
    assert found.has_errors
    assert found.to_json()["empty_classes"] == ["train/pit"]
    nothing_left = audit(folder, store=store, fixes=Fixes(frozenset(found.listing.paths) | every))
    assert len(nothing_left.empty_classes) == 4


def test_a_full_store_is_named(folder: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match="the disk is full") as caught:
        audit(folder, store=store)
    assert str(store) in str(caught.value)


def test_the_scratch_file_is_gone(folder: Path, store: Path) -> None:
    audit(folder, store=store)
    assert not [path for path in store.rglob("*") if path.is_file()]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_injected_fault_is_found_and_nothing_else(tmp_path: Path, seed: int) -> None:
    truth = synthesise(tmp_path / "set", images=800, seed=seed, **FAULTS)
    found = audit(tmp_path / "set", store=tmp_path / "store")
    document = found.to_json()
    lists = document["findings"]
    copies = {frozenset(p) for p in (*truth.leaks, *truth.duplicates, *truth.contradictions)}
    near = {frozenset(pair[:2]) for pair in truth.near_duplicates}
    assert {frozenset(group) for group in lists["exact_duplicates"]} == copies
    assert {frozenset(group) for group in lists["cross_split_duplicates"]} == {
        frozenset(pair) for pair in truth.leaks
    }
    assert {frozenset(group) for group in lists["contradictory_labels"]} == {
        frozenset(pair) for pair in truth.contradictions
    }
    assert {frozenset((p["first"], p["second"])) for p in lists["near_duplicates"]} == near
    assert set(lists["blank_or_tiny"]) == set(truth.blanks)
    assert {item["path"] for item in lists["unreadable"]} == {path for path, _ in truth.corrupt}
    assert document["exact_duplicate_pairs"] == 6 + 7 + 4
    assert document["near_duplicate_pairs"] == 12
    assert document["cross_split_near_duplicate_pairs"] == 0
    assert document["largest_group"]["files"] == 2


@pytest.mark.slow
def test_the_real_crops(real_crops: Path, tmp_path: Path) -> None:
    document = audit(real_crops, store=tmp_path).to_json()
    assert document["images"] == 3676
    assert document["exact_duplicate_pairs"] == 30
    assert document["cross_split_duplicate_pairs"] == 9
    assert document["near_duplicate_pairs"] == document["contradictory_labels"] == 0
    assert document["largest_group"]["files"] == 2
    # Second photographs of one fruit: looked at, and numbered closely by the camera.
    alike = {(pair["first"], pair["second"]) for pair in document["findings"]["alike"]}
    assert ("train/cherry_clean/cherry_376.png", "val/cherry_clean/cherry_390.png") in alike
    assert 10 <= len(alike) <= 20


def test_a_folder_of_deep_pictures(folder: Path, store: Path) -> None:
    """The audit finds in 12 bits what it finds in 8, and names what isn't of this kind."""
    before = audit(folder, store=store).to_json()
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            deep = np.asarray(image).max(-1).astype(np.uint16) * 16
        Image.fromarray(deep).save(path)
    found = audit(folder, store=store, white_level=4095)
    assert not found.has_errors
    assert found.to_json()["content_box"] == before["content_box"]
    (mode,) = found.to_json()["modes"]
    assert mode == "PNG I;16"
    unaware = audit(folder, store=store)
    assert unaware.to_json()["unreadable"] == len(found.listing.paths)
    stray = folder / found.listing.paths[0]
    Image.fromarray((deep // 16).astype(np.uint8)).save(stray)
    assert list(audit(folder, store=store, white_level=4095).inspection.unreadable) == [0]
