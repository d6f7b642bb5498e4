from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drupe.data.audit import audit
from drupe.data.dataset import open_dataset
from drupe.data.discover import discover
from drupe.data.fixes import Fix, Fixes, write_fix_list
from drupe.data.naming import Naming
from drupe.data.overlay import apply_fixes, find_fixes
from drupe.errors import InputError

CLASSES = ("clean", "pit", "stem")
ONE_GOOD = Naming(good=("clean",))


def problems(root: Path, naming: Naming | str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        discover(root, naming)
    return str(caught.value)


def test_every_other_folder_is_a_type_of_defect(make_folder) -> None:
    root = make_folder(classes=CLASSES, count=2)
    listing = discover(root, ONE_GOOD)
    assert listing.classes == ("clean", "defect")
    by_path = dict(zip(listing.paths, listing.types, strict=True))
    assert by_path["train/clean/000.png"] == ""
    assert by_path["train/stem/001.png"] == "stem"
    assert by_path["val/pit/000.png"] == "pit"
    assert listing.is_defect.tolist() == [bool(name) for name in listing.types]
    assert listing.groups is None


def test_several_clean_classes_are_called_good(make_folder) -> None:
    root = make_folder(classes=CLASSES, count=2)
    listing = discover(root, Naming(good=("clean", "stem"), defects=("pit",)))
    assert listing.classes == ("good", "defect")
    assert set(listing.types) == {"", "pit"}
    assert sum(listing.is_defect) == 4


def test_two_folders_are_as_before_unless_the_clean_one_is_named(make_folder) -> None:
    root = make_folder()
    plain, named = discover(root), discover(root, ONE_GOOD)
    assert (plain.classes, plain.types, plain.labels) == (("clean", "pit"), None, {})
    assert plain.is_defect.tolist() == named.is_defect.tolist()
    assert set(named.types) == {"", "pit"}


def test_three_folders_name_the_way_on(make_folder) -> None:
    text = problems(make_folder(classes=CLASSES))
    assert "must hold exactly two class folders, got 3: clean, pit, stem; name the clean" in text
    assert "--good CLASS (or data.good, data.classes)" in text


@pytest.mark.parametrize(
    ("naming", "message"),
    [
        (Naming(good=("claen",)), "must hold the class claen, got none of that name (did you mean"),
        (Naming(good=CLASSES), "must hold classes of defects beside clean, pit, stem, got none"),
        (
            Naming(good=("clean",), defects=("pit",)),
            "classes must be those that data.classes names, got stem",
        ),
        (
            Naming(good=("clean",), defects=("pit", "stem", "split")),
            "must hold the class split, got none of that name",
        ),
    ],
)
def test_classes_that_do_not_fit(make_folder, naming: Naming, message: str) -> None:
    assert message in problems(make_folder(classes=CLASSES), naming)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"good": ("a",), "defects": ("a",)}, "must name each class once, got a 2 times"),
        ({"defects": ("a",)}, "must name the clean classes, got defects alone"),
        ({"good": ("a",), "defect": "b"}, r"can't be named \(b\) where the clean classes are \(a"),
        ({"good": ("defect",)}, "must not be called defect"),
        ({"group": "cam"}, "one capture group such as 'camera-.*got 'cam' with 0"),
        ({"group": "(a)(b)"}, "got .* with 2"),
        ({"group": "(a"}, "missing \\)"),
    ],
)
def test_what_can_not_be_meant(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Naming(**options)


def test_a_type_may_be_missing_from_a_split_only_where_all_are_listed(make_folder) -> None:
    root = make_folder(classes=CLASSES)
    for path in (root / "val/stem").iterdir():
        path.unlink()
    (root / "val/stem").rmdir()
    assert "only in train/: stem" in problems(root, ONE_GOOD)
    listing = discover(root, Naming(good=("clean",), defects=("pit", "stem")))
    assert listing.notes == ("val/ holds no stem",)
    assert listing.types.count("stem") == 3


def test_new_items_need_not_have_every_class(make_folder) -> None:
    root = make_folder(splits=(), classes=("clean", "bruise"))
    naming = Naming(good=("clean", "stalk"), defects=("pit",)).of_new_items()
    listing = discover(root, naming)
    assert listing.classes == ("good", "defect")
    assert set(listing.types) == {"", "bruise"}


def test_a_pattern_finds_the_group_in_the_path(make_folder) -> None:
    root = make_folder(splits=(), classes=("clean/camera-a1", "pit/camera-b2"))
    listing = discover(root, Naming(group=r"camera-(\w+)"))
    assert set(zip(listing.groups, listing.is_defect.tolist(), strict=True)) == {
        ("a1", False),
        ("b2", True),
    }


def test_paths_without_a_group_are_counted_and_named(make_folder) -> None:
    root = make_folder(splits=(), classes=("clean/camera-a1", "pit"), count=12)
    text = problems(root, Naming(group=r"camera-(\w+)"))
    assert r"every path must name its group by 'camera-(\\w+)', got 12 of 24 that don't" in text
    assert "  pit/000.png" in text
    assert "… and 2 more" in text


def test_new_items_need_not_name_their_group(make_folder) -> None:
    root = make_folder(splits=(), classes=("clean/camera-a1", "pit"))
    naming = Naming(good=("clean",), group=r"camera-(\w+)").of_new_items()
    listing = discover(root, naming)
    assert discover(root, Naming(group=naming.group).of_new_items()).groups == listing.groups
    assert [bool(group) for group in listing.groups] == [not one for one in listing.is_defect]
    assert discover(root, Naming(good=("clean",), group="x(y)").of_new_items()).groups is None


def test_a_dataset_has_types_origins_and_a_fingerprint_of_its_own(make_folder, store) -> None:
    root = make_folder(classes=("clean", "pit"))
    plain = open_dataset(root, store=store, size=16)
    assert (plain.types, plain.origins) == (None, None)
    typed = open_dataset(root, store=store, size=16, naming=ONE_GOOD)
    assert typed.types == tuple("" if "clean" in path else "pit" for path in typed.paths)
    numbered = open_dataset(root, store=store, size=16, naming=Naming(group=r"/0*(\d+)\.png"))
    assert set(numbered.origins) == {"0", "1", "2"}
    assert len({one.fingerprint for one in (plain, typed, numbered)}) == 3


def test_a_label_may_become_any_of_the_types(make_folder, store) -> None:
    root = make_folder(classes=CLASSES)
    relabel = {
        "train/clean/000.png": "stem",
        "train/pit/000.png": "stem",
        "train/pit/001.png": "clean",
        "train/pit/002.png": "defect",
        "train/clean/001.png": "defect",
    }
    dataset = open_dataset(
        root, store=store, size=16, naming=ONE_GOOD, fixes=Fixes(relabel=relabel)
    )
    found = {
        path: (bool(is_defect), of_type)
        for path, is_defect, of_type in zip(
            dataset.paths, dataset.is_defect, dataset.types, strict=True
        )
    }
    assert [found[path] for path in relabel] == [
        (True, "stem"),
        (True, "stem"),
        (False, ""),
        (True, "pit"),
        (True, ""),
    ]
    with pytest.raises(InputError, match="must be one of clean, defect, pit, stem, got 'sten'"):
        open_dataset(
            root,
            store=store,
            size=16,
            naming=ONE_GOOD,
            fixes=Fixes(relabel={"train/clean/000.png": "sten"}),
        )


def test_fixes_of_a_folder_with_types_are_kept_and_listed(make_folder, store, tmp_path) -> None:
    root = make_folder(classes=CLASSES)
    fixes = [Fix("train/clean/000.png", "relabel", "stem"), Fix("train/pit/000.png", "exclude")]
    write_fix_list(tmp_path / "fixes.csv", fixes)
    assert apply_fixes(root, store, tmp_path / "fixes.csv").new == 2
    assert apply_fixes(root, store, tmp_path / "fixes.csv", naming=ONE_GOOD).known == 2
    assert [path for _, path in find_fixes(root, store).honoured] == [
        "train/clean/000.png",
        "train/pit/000.png",
    ]


def test_an_audit_counts_types_and_groups(make_folder, store) -> None:
    root = make_folder(classes=CLASSES)
    naming = Naming(good=("clean",), group="^(train|val)/")
    found = audit(root, store=store, naming=naming)
    document = found.to_json()
    assert document["per_type"] == {"pit": 6, "stem": 6}
    assert document["per_group"] == {
        "train": {"clean": 3, "defect": 6},
        "val": {"clean": 3, "defect": 6},
    }
    assert found.fingerprint == open_dataset(root, store=store, size=16, naming=naming).fingerprint
    plain = audit(make_folder("plain"), store=store).to_json()
    assert (plain["per_type"], plain["per_group"]) == ({}, {})


def test_two_classes_stay_two_for_new_items(make_folder) -> None:
    root = make_folder()
    (root / "val/pit").rename(root / "val/pits")
    with pytest.raises(InputError, match="only in train/: pit; only in val/: pits"):
        discover(root, Naming(defect="pit").of_new_items())
