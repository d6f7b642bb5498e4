from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drupe.data.discover import discover, find_defect_class
from drupe.data.walk import NO_IMAGE, OTHER_IMAGE, OUTSIDE
from drupe.errors import InputError


def fill(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def problems(root: Path, defect: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        discover(root, defect)
    return str(caught.value)


def test_both_splits(tmp_path: Path) -> None:
    fill(tmp_path, "val/ok/2.png", "val/pit/3.jpg", "train/pit/b.BMP", "train/ok/a.TIFF")
    fill(tmp_path, "truth.json", "train/ok/.hidden.png", "train/ok/notes.txt", "train/ok/._a.png")
    listing = discover(tmp_path)
    assert listing.classes == ("ok", "pit")
    assert listing.paths == ("train/ok/a.TIFF", "train/pit/b.BMP", "val/ok/2.png", "val/pit/3.jpg")
    assert listing.is_defect.tolist() == [False, True, False, True]
    assert listing.in_val.tolist() == [False, False, True, True]
    assert listing.is_defect.dtype == listing.in_val.dtype == np.bool_
    assert listing.has_val
    assert listing.passed.total == 4


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_one_split(tmp_path: Path, prefix: str) -> None:
    listing = discover(fill(tmp_path, f"{prefix}bad/1.png", f"{prefix}good/1.jpeg"))
    assert listing.paths == (f"{prefix}bad/1.png", f"{prefix}good/1.jpeg")
    assert listing.is_defect.tolist() == [True, False]
    assert not listing.has_val
    assert not listing.in_val.any()


def test_nested_folders_belong_to_their_class_and_paths_are_sorted(tmp_path: Path) -> None:
    fill(tmp_path, "ok/z.png", "ok/day2/cam1/a.png", "ok/.trash/x.png", "pit/1.png", "ok/a-b.png")
    listing = discover(tmp_path)
    assert listing.paths == ("ok/a-b.png", "ok/day2/cam1/a.png", "ok/z.png", "pit/1.png")
    assert listing.is_defect.tolist() == [False, False, False, True]


def test_other_image_types_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, "ok/1.png", "ok/2.webp", "pit/1.png", "pit/2.GIF", "loose.png", "readme.md")
    assert discover(tmp_path).passed.files == {
        OTHER_IMAGE: 1,
        OUTSIDE: 1,
        NO_IMAGE: 1,
    }


def test_a_link_to_the_parent_does_not_loop(tmp_path: Path) -> None:
    fill(tmp_path, "ok/1.png", "pit/1.png")
    (tmp_path / "ok" / "again").symlink_to(tmp_path / "ok")
    assert discover(tmp_path).paths == ("ok/1.png", "pit/1.png")


def test_missing_file_and_empty_roots(tmp_path: Path) -> None:
    assert "no such folder" in problems(tmp_path / "nowhere")
    assert "got a file" in problems(fill(tmp_path, "f.png") / "f.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert problems(empty) == f"{empty}: must hold exactly two class folders, got none"
    loose = fill(tmp_path / "loose", "1.png", "2.png")
    assert "2 images lie outside any class folder" in problems(loose)


def test_one_class_and_three(tmp_path: Path) -> None:
    one = fill(tmp_path / "one", "pit/1.png")
    assert "must hold exactly two class folders, got 1: pit" in problems(one)
    three = fill(tmp_path / "three", "a/1.png", "b/1.png", "pit/1.png")
    assert "got 3: a, b, pit" in problems(three)


def test_val_alone(tmp_path: Path) -> None:
    assert "got val/ alone" in problems(fill(tmp_path, "val/ok/1.png", "val/pit/1.png"))


def test_classes_that_differ_are_named(tmp_path: Path) -> None:
    fill(tmp_path, "train/ok/1.png", "train/pit/1.png", "val/ok/1.png", "val/pits/1.png")
    text = problems(tmp_path)
    assert "only in train/: pit; only in val/: pits" in text


def test_all_problems_come_in_one_message(tmp_path: Path) -> None:
    fill(tmp_path, "train/ok/1.png", "train/mid/1.png", "train/pit/1.png", "val/ok/1.png")
    text = problems(tmp_path)
    assert "got 3: mid, ok, pit" in text
    assert "only in train/: mid, pit" in text


def test_classes_without_images(tmp_path: Path) -> None:
    fill(tmp_path, "train/ok/1.gif", "train/pit/notes.txt", "val/ok/1.png", "val/pit/1.png")
    text = problems(tmp_path)
    assert (
        f"{tmp_path / 'train/ok'}: must hold PNG, JPEG, BMP, TIFF or WebP images, got none" in text
    )
    assert f"{tmp_path / 'train/pit'}: must hold" in text
    assert "2 files are not taken" in text


@pytest.mark.parametrize("closed", ["", "train", "train/pit", "train/pit/deep"])
def test_a_folder_without_read_permission(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "train/ok/1.png", "train/pit/1.png", "train/pit/deep/1.png")
    # chmod would not stop root, under which tests may run.
    scandir = os.scandir

    def guarded(folder: Any) -> Any:
        if Path(folder) == tmp_path / closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    expected = f"{tmp_path / closed}: must be a readable folder, got permission denied"
    assert problems(tmp_path) == expected


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    fill(tmp_path, "ok/1.png", "pit/1.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "ok") + b"/\xff.png")).write_bytes(b"")
    except OSError:
        return  # this file system refuses such names itself
    assert "file names must be UTF-8" in problems(tmp_path)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("cherry_clean", "cherry_pit"), "cherry_pit"),
        (("cherry_pit", "cherry_clean"), "cherry_pit"),
        (("OK", "NG"), "NG"),
        (("orange", "ng"), "ng"),
        (("NGParts", "goodParts"), "NGParts"),
        (("good", "cherryPit"), "cherryPit"),
        (("ok", "Defective"), "Defective"),
        (("pass", "failed"), "failed"),
        (("rejected-2", "accepted-2"), "rejected-2"),
        (("badge", "bad_1"), "bad_1"),
        (("pitted_clean", "with_pit"), "with_pit"),
        (("1_good", "2_bad"), "2_bad"),
    ],
)
def test_the_defect_class_is_found_by_name(classes: tuple[str, str], expected: str) -> None:
    clean, defect = find_defect_class(classes, None)
    assert defect == expected
    assert {clean, defect} == set(classes)


@pytest.mark.parametrize(
    "classes",
    [
        ("orange", "king"),
        ("apple", "pear"),
        ("bad", "ng"),
        ("pit", "no_pit"),
        ("no_pit", "stone"),
        ("defect-free", "stone"),
        ("nondefective", "stone"),
        ("pitted", "whole"),
        ("spit", "badge"),
    ],
)
def test_names_that_do_not_tell_ask_for_the_defect(classes: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="--defect CLASS") as caught:
        find_defect_class(classes, None)
    assert all(name in str(caught.value) for name in classes)


def test_the_defect_class_can_be_named() -> None:
    assert find_defect_class(("bad", "good"), "good") == ("bad", "good")
    assert find_defect_class(("x", "y"), "x") == ("y", "x")
    with pytest.raises(InputError, match=r"must be one of cherry_clean, .* got 'cherry_pt'"):
        find_defect_class(("cherry_clean", "cherry_pit"), "cherry_pt")


def test_a_link_to_itself_is_listed_so_that_reading_it_is_reported(tmp_path: Path) -> None:
    fill(tmp_path, "train/ok/1.png", "train/pit/1.png")
    for name in ("loop.png", "loop"):
        (tmp_path / "train/pit" / name).symlink_to(tmp_path / "train/pit" / name)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert discover(tmp_path).paths == ("train/ok/1.png", "train/pit/1.png", "train/pit/loop.png")


LAYOUTS = {
    "train_val": ("train/ok/1.png", "train/pit/1.png", "val/ok/1.png", "val/pit/1.png"),
    "train_valid": ("train/ok/1.png", "train/pit/1.png", "valid/ok/1.png", "valid/pit/1.png"),
    "capitals": (
        "Train/ok/1.png",
        "Train/pit/1.png",
        "Validation/ok/1.png",
        "Validation/pit/1.png",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_val_folder_by_any_name_is_the_test_split(tmp_path: Path, name: str) -> None:
    listing = discover(fill(tmp_path, *LAYOUTS[name]))
    assert listing.has_val
    assert listing.in_val.tolist() == [False, False, True, True]
    assert listing.notes == ()


def test_beside_test_val_joins_training(tmp_path: Path) -> None:
    paths = [
        f"{split}/{label}/1.png" for split in ("test", "train", "val") for label in ("ok", "pit")
    ]
    listing = discover(fill(tmp_path, *paths))
    assert listing.in_val.tolist() == [True, True, False, False, False, False]
    assert listing.test_name == "test"
    assert "test/ is the test split; the items of val/ join those of training" in listing.notes[0]


ODD_FILES = [
    *((f"train/ok/a{suffix}", True) for suffix in (".jfif", ".jpe", ".webp", ".tif", ".JPG")),
    *((f"train/ok/a{suffix}", False) for suffix in (".gif", ".heic", ".txt", "", ".png.part")),
    *((f"train/ok/{name}", False) for name in (".a.png", "._a.png", "Thumbs.db", "desktop.ini")),
    *(
        (f"train/ok/{folder}/a.png", False)
        for folder in ("$RECYCLE.BIN", ".Trash-1000", "@Recycle", "@eaDir", ".thumbnails", ".git")
    ),
    *((f"{folder}/a.png", False) for folder in ("unlabelled", ".AppleDouble", "train", ".")),
    ("train/ok/deep/er/a.png", True),
    ("train/ok/a b .png", True),
    ("train/ok/ä.png", True),
]


@pytest.mark.parametrize(("path", "is_taken"), ODD_FILES)
def test_every_file_is_taken_or_counted(tmp_path: Path, path: str, is_taken: bool) -> None:
    fill(tmp_path, "train/ok/1.png", "train/pit/1.png", path)
    listing = discover(tmp_path)
    assert (path in listing.paths) == is_taken
    assert len(listing.paths) + listing.passed.total == 3


LINKS = {
    "loop": ({"train/ok/a": "../ok"}, [], 1),
    "circle": ({"train/ok/x/b": "../y", "train/ok/y/a": "../x"}, [], 2),
    "self": ({"train/ok/self": "self"}, [], 1),
    "up": ({"train/ok/up": "../.."}, [], 1),
    "file inside": ({"train/ok/again.png": "1.png"}, [], 1),
    "folder outside": ({"train/ok/more": "../../../outside"}, ["train/ok/more/a.png"], 0),
    "twice": (
        {"train/ok/more": "../../../outside", "train/ok/most": "../../../outside"},
        ["train/ok/more/a.png"],
        1,
    ),
    "file twice": (
        {"train/ok/p.png": "../../../outside/a.png", "train/ok/q.png": "../../../outside/a.png"},
        ["train/ok/p.png"],
        1,
    ),
    "broken image": ({"train/ok/gone.png": "nowhere.png"}, ["train/ok/gone.png"], 0),
    "broken other": ({"train/ok/gone.txt": "nowhere"}, [], 1),
}


@pytest.mark.parametrize("name", LINKS)
def test_links_are_followed_once(tmp_path: Path, name: str) -> None:
    links, more, passed = LINKS[name]
    fill(tmp_path, "outside/a.png")
    root = fill(tmp_path / "set", "train/ok/1.png", "train/pit/1.png")
    for link, target in links.items():
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(target)
    listing = discover(root)
    assert list(listing.paths) == sorted(["train/ok/1.png", "train/pit/1.png", *more])
    assert listing.passed.total == passed


def test_one_folder_in_two_classes_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "train/ok/1.png", "train/pit/1.png")
    (tmp_path / "train/pit/x").symlink_to("../ok")
    assert "one folder can't be in two classes or splits" in problems(tmp_path)


def test_classes_in_two_unicode_forms_are_told_apart_in_words(tmp_path: Path) -> None:
    fill(tmp_path, "train/caf\u00e9/1.png", "train/pit/1.png")
    fill(tmp_path, "val/cafe\u0301/1.png", "val/pit/1.png")
    assert "looks the same but is spelled in two Unicode forms" in problems(tmp_path)
