"""A table as a dataset: what it takes, what it refuses, and what lies beside it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from drupe.data.audit import audit
from drupe.data.dataset import Dataset, open_dataset
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.overlay import active_fixes, apply_fixes, clear_fixes, find_fixes
from drupe.data.table_listing import NOT_NAMED, table_images
from drupe.data.walk import NO_IMAGE
from drupe.errors import InputError


def table(folder: Path, *rows: str, name: str = "labels.csv", header: str = "path,label") -> Path:
    (folder / name).write_text("\n".join((header, *rows)) + "\n")
    return folder / name


def table_of(root: Path, name: str = "labels.csv") -> Path:
    """Write a table of all images of a folder with train/ and val/."""
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    rows = (f"{path},{path.split('/')[1]},{path.split('/')[0]}" for path in paths)
    return table(root, *rows, name=name, header="path,label,split")


def problems(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        list_dataset(path)
    return str(caught.value)


def test_a_table_is_what_its_folder_is(make_folder, store: Path) -> None:
    root = make_folder()
    listed, folder = list_dataset(table_of(root)), list_dataset(root)
    assert listed.paths == folder.paths
    assert listed.classes == folder.classes
    assert (listed.is_defect == folder.is_defect).all()
    assert (listed.in_val == folder.in_val).all()
    assert listed.has_val
    assert listed.root == root
    assert listed.named == root / "labels.csv"
    assert listed.passed.total == 0  # the table isn't a file that was left out
    one = open_dataset(root / "labels.csv", store=store, size=16)
    assert one.fingerprint == open_dataset(root, store=store, size=16).fingerprint


def test_groups_types_and_weights_follow_their_rows(make_folder) -> None:
    root = make_folder(splits=(), count=1)
    listing = list_dataset(
        table(
            root,
            "pit/000.png,pit,cam 2,stem,2",
            "clean/000.png,clean,cam 1,,0.5",
            header="path,label,group,type,weight",
        )
    )
    assert listing.paths == ("clean/000.png", "pit/000.png")
    assert listing.groups == ("cam 1", "cam 2")
    assert listing.types == ("", "stem")
    assert listing.weights is not None
    assert listing.weights.tolist() == [0.5, 2.0]
    assert not listing.has_val


def test_weights_belong_to_what_is_learnt(make_folder, store: Path) -> None:
    root = make_folder(splits=(), count=1)
    rows = ("clean/000.png,clean,1", "pit/000.png,pit,{}")
    header = "path,label,weight"

    def opened(weight: str) -> Dataset:
        return open_dataset(
            table(root, rows[0], rows[1].format(weight), header=header), store=store, size=16
        )

    weighted, plain = opened("2"), opened("1")
    assert weighted.weights.tolist() == [1.0, 2.0]
    assert plain.weights is None  # all equal to one: the same as no column
    assert plain.fingerprint == open_dataset(root, store=store, size=16).fingerprint
    assert len({weighted.fingerprint, plain.fingerprint, opened("3").fingerprint}) == 3


def test_spellings_of_a_path_are_one_identity(make_folder) -> None:
    root = make_folder(splits=(), count=2)
    written = (
        "./clean//000.png,clean",
        f"{root.absolute()}/clean/001.png,clean",
        "pit\\000.png,pit",
        "pit/../pit/001.png,pit",
    )
    assert list_dataset(table(root, *written)).paths == (
        "clean/000.png",
        "clean/001.png",
        "pit/000.png",
        "pit/001.png",
    )


def test_files_elsewhere_keep_a_posix_path(make_folder, tmp_path: Path, store: Path) -> None:
    root = make_folder(splits=(), count=2)
    (tmp_path / "lists").mkdir()
    named = table(
        tmp_path / "lists",
        "../set/clean/000.png,clean",
        "../set/clean/001.png,clean",
        f"{root.absolute()}/pit/000.png,pit",
        f"{root.absolute()}/pit/001.png,pit",
    )
    dataset = open_dataset(named, store=store, size=16)
    assert dataset.paths == (
        "../set/clean/000.png",
        "../set/clean/001.png",
        f"{root.absolute().as_posix()}/pit/000.png",
        f"{root.absolute().as_posix()}/pit/001.png",
    )
    assert all(dataset.digests)
    assert audit(named, store=store).to_json()["root"] == str(named)


def test_the_same_file_twice_is_named_however_it_is_spelled(make_folder, tmp_path: Path) -> None:
    root = make_folder(splits=(), count=1)
    text = problems(
        table(
            root,
            "clean/000.png,clean",
            "pit/000.png,pit",
            "./clean/000.png,pit",
            f"{root.absolute()}/pit/000.png,pit",
        )
    )
    assert f"{root}/labels.csv, line 4: path: must be named once, got ./clean/000.png again" in text
    assert "(line 2 as clean/000.png)" in text
    assert "line 5" in text
    (tmp_path / "lists").mkdir()
    elsewhere = table(
        tmp_path / "lists",
        "../set/clean/000.png,clean",
        f"{root.absolute()}/clean/000.png,clean",
        "../set/pit/000.png,pit",
    )
    assert "line 3: path: must be named once" in problems(elsewhere)


def test_missing_files_and_folders_are_named(make_folder) -> None:
    root = make_folder(splits=(), count=1)
    text = problems(table(root, "clean/000.png,clean", "pit/0.png,pit", "pit,pit", "/no/x.png,pit"))
    assert "line 3: path: must be a file, got no such file: pit/0.png" in text
    assert "line 4: path: must be a file, got a folder: pit" in text
    assert "line 5: path: must be a file, got no such file: /no/x.png" in text
    spaced = problems(table(root, "clean/000.png,clean", "pit/000.png ,pit"))
    assert "line 3: path: must be a file, got no such file: 'pit/000.png '" in spaced


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_named_and_never_read(make_folder) -> None:
    root = make_folder(splits=(), count=1)
    os.mkfifo(root / "pit/pipe.png")
    text = problems(table(root, "clean/000.png,clean", "pit/000.png,pit", "pit/pipe.png,pit"))
    assert "line 4: path: must be a file, got a pipe, socket or device: pit/pipe.png" in text


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (("a.png,ok,train",), "label: must hold two classes, got 1: 'ok'"),
        (
            ("a.png,ok,train", "b.png,pit,train", "c.png,nok,train"),
            "label: must hold two classes, got 3: 'nok', 'ok', 'pit'",
        ),
        (("a.png,ok,val", "b.png,pit,test"), "split: must have train, got test and val"),
        (
            ("a.png,ok,train", "b.png,pit,train", "c.png,ok,val"),
            "split val: must have images of both classes, got none of pit",
        ),
        (("a.png,x,train", "b.png,y,train"), "defect class: no name clearly holds one of pit"),
    ],
)
def test_classes_and_splits(tmp_path: Path, rows: tuple[str, ...], wanted: str) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    named = table(tmp_path, *rows, header="path,label,split")
    assert f"{named}: {wanted}" in problems(named)


def test_test_beside_val_is_the_test_split(make_folder) -> None:
    root = make_folder(splits=("train", "val", "test"), count=1)
    listing = list_dataset(table_of(root))
    assert listing.test_name == "test"
    assert [p for p, is_test in zip(listing.paths, listing.in_val, strict=True) if is_test] == [
        "test/clean/000.png",
        "test/pit/000.png",
    ]
    assert "join those of training" in listing.notes[0]


def test_whatever_the_table_does_not_name_is_counted(make_folder) -> None:
    root = make_folder(splits=(), count=2)
    for path in ("other/deep/1.png", "other/notes.txt", "pit/readme.md", "loose.gif", ".hidden/a"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    shutil.copy(root / "pit/001.png", root / ".hidden/asked.png")
    (root / "again").symlink_to(root / "pit")
    named = table(root, "clean/000.png,clean", "pit/000.png,pit", ".hidden/asked.png,pit")
    listing = list_dataset(named)
    assert listing.paths == (".hidden/asked.png", "clean/000.png", "pit/000.png")
    names = {one["reason"]: one["names"] for one in listing.passed.to_json()}
    assert sorted(names[NOT_NAMED]) == ["again", "clean/001.png", "other/ (2)", "pit/001.png"]
    assert sorted(names[NO_IMAGE]) == [".hidden/a", "pit/readme.md"]
    files = sum(len(files) for _, _, files in os.walk(root)) + 1  # the link
    assert len(listing.paths) + listing.passed.total + 1 == files  # the table


def test_a_linked_folder_is_followed_where_a_row_does(make_folder, tmp_path: Path) -> None:
    root = make_folder(splits=(), count=1)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "week").symlink_to(root)
    named = table(tmp_path / "lists", "week/clean/000.png,clean", "week/pit/000.png,pit")
    assert list_dataset(named).paths == ("week/clean/000.png", "week/pit/000.png")


def fix(tmp_path: Path, path: str, action: str = "exclude,,") -> Path:
    (tmp_path / "fix.csv").write_text(f"path,action,value,reason\n{path},{action}\n")
    return tmp_path / "fix.csv"


def kept(root: Path, store: Path) -> tuple[str, ...]:
    return open_dataset(root, store=store, size=16, fixes=active_fixes(root, store)).paths


def test_fixes_of_a_folder_hold_in_a_table_of_its_files_and_back(
    make_folder, store: Path, tmp_path: Path
) -> None:
    root = make_folder()
    (tmp_path / "lists").mkdir()
    named = table(
        tmp_path / "lists",
        *(f"../set/{path},{path.split('/')[1]}" for path in list_dataset(root).paths),
    )
    apply_fixes(root, store, fix(tmp_path, "train/pit/000.png"))
    assert "../set/train/pit/000.png" not in kept(named, store)
    apply_fixes(named, store, fix(tmp_path, "../set/train/pit/001.png"))
    assert not {"train/pit/000.png", "train/pit/001.png"} & set(kept(root, store))
    assert len(find_fixes(root, store).honoured) == 2
    assert clear_fixes(root, store) == 2
    assert len(kept(named, store)) == len(kept(root, store)) == 12


def test_a_fix_of_a_table_of_other_files_changes_nothing(
    make_folder, store: Path, tmp_path: Path
) -> None:
    week46, week47 = make_folder("week46"), make_folder("week47", seed=1)
    apply_fixes(table_of(week46), store, fix(tmp_path, "train/pit/000.png"))
    assert len(kept(week46 / "labels.csv", store)) == 11
    assert len(kept(table_of(week47), store)) == 12


def test_a_copy_of_a_fixed_picture_stays(make_folder, store: Path, tmp_path: Path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix(tmp_path, "train/pit/000.png"))
    shutil.copytree(root, tmp_path / "copy")
    assert len(kept(table_of(tmp_path / "copy"), store)) == 12


def test_moved_with_its_table_it_is_the_same_dataset(
    make_folder, store: Path, tmp_path: Path
) -> None:
    root = make_folder()
    before = open_dataset(table_of(root), store=store, size=16)
    root.rename(tmp_path / "there")
    after = open_dataset(tmp_path / "there/labels.csv", store=store, size=16)
    assert after.fingerprint == before.fingerprint


def test_the_files_of_a_table_without_labels(make_folder) -> None:
    root = make_folder(splits=(), count=1)
    named = table(root, "pit/000.png", "./pit/000.png", "gone.png", header="path")
    assert table_images(named) == [str(root / "pit/000.png"), str(root / "gone.png")]


def typed(folder: Path, *rows: str) -> Path:
    for row in rows:
        (folder / row.split(",")[0]).touch()
    return table(folder, *rows, header="path,label,type,group")


def test_labels_may_be_types(tmp_path: Path) -> None:
    named = typed(tmp_path, "a.png,ok,,c1", "b.png,stem,,c1", "c.png,pit,,c2")
    listing = list_dataset(named, Naming(good=("ok",)))
    assert listing.classes == ("ok", "defect")
    assert listing.is_defect.tolist() == [False, True, True]
    assert listing.types == ("", "stem", "pit")
    assert listing.groups == ("c1", "c1", "c2")
    with pytest.raises(InputError, match=r"must hold two classes, got 3: .*--good CLASS"):
        list_dataset(named)
    with pytest.raises(InputError, match="must hold the class fine, got none"):
        list_dataset(named, Naming(good=("fine",)))
    assert list_dataset(named, either_defect=True).paths == listing.paths


def test_types_are_told_once_and_of_defects_alone(tmp_path: Path) -> None:
    named = typed(tmp_path, "a.png,ok,stem,c1", "b.png,pit,stem,c1")
    text = problems(named)
    assert text == f"{named}, line 2: type: must be empty for ok, got 'stem'"
    assert list_dataset(named, either_defect=True).paths == ("a.png", "b.png")
    with pytest.raises(InputError, match="type: must be told once"):
        list_dataset(named, Naming(good=("ok",)))


def test_groups_are_told_once(tmp_path: Path) -> None:
    named = typed(tmp_path, "c1-a.png,ok,,c1", "c2-b.png,pit,,c1")
    with pytest.raises(InputError, match="group: must be told once"):
        list_dataset(named, Naming(group=r"(c\d)-"))
    (tmp_path / "two.csv").write_text("path,label\nc1-a.png,ok\nc2-b.png,pit\n")
    listing = list_dataset(tmp_path / "two.csv", Naming(group=r"(c\d)-"))
    assert listing.groups == ("c1", "c2")
