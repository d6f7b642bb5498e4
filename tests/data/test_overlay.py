from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from drupe.data.dataset import open_dataset
from drupe.data.fix_matching import OTHER, UNKNOWN, FixMatch
from drupe.data.overlay import (
    active_fixes,
    apply_fixes,
    clear_fixes,
    find_fixes,
    overlay_path,
)
from drupe.errors import InputError


def fix_list(folder: Path, *lines: str) -> Path:
    path = folder / "fixes.csv"
    path.write_text("\n".join(["path,action,value,reason", *lines, ""]))
    return path


def changes(found: FixMatch) -> dict[str, str]:
    """Return what is done to which path of today."""
    return {path: fix.change for fix, path in found.honoured}


def other_picture(path: Path, shade: int) -> None:
    Image.new("RGB", (16, 16), (shade, 7, 9)).save(path)


def test_nothing_is_active_at_first(make_folder, store: Path) -> None:
    root = make_folder()
    assert active_fixes(root, store) is None
    assert find_fixes(root, store) == FixMatch(kept_in=overlay_path(root, store))


def test_applied_fixes_stay_with_their_reasons_and_images_are_untouched(
    make_folder, store: Path, tmp_path
) -> None:
    root = make_folder()
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    listed = fix_list(
        tmp_path, "train/pit/000.png,exclude,,blurred", "val/clean/001.png,relabel,pit,"
    )
    applied = apply_fixes(root, store, listed)
    assert (applied.new, applied.known, applied.kept) == (2, 0, 0)
    found = find_fixes(root, store)
    assert found.fixes.exclude == {"train/pit/000.png"}
    assert dict(found.fixes.relabel) == {"val/clean/001.png": "pit"}
    assert found.honoured[0][0].reason == "blurred"
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_a_folder_is_known_by_its_real_place(make_folder, store: Path, tmp_path: Path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    link = tmp_path / "link"
    link.symlink_to(root)
    assert changes(find_fixes(link, store)) == {"train/pit/000.png": "exclude"}


def test_a_copy_of_a_folder_that_stays_has_no_fixes(make_folder, store, tmp_path: Path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    shutil.copytree(root, tmp_path / "copy")
    assert find_fixes(tmp_path / "copy", store).all == ()


def test_another_picture_of_the_same_name_is_left_alone(make_folder, store, tmp_path: Path) -> None:
    root = make_folder()
    apply_fixes(
        root,
        store,
        fix_list(tmp_path, "train/pit/000.png,exclude,,", "train/clean/001.png,relabel,pit,"),
    )
    for shade, path in enumerate(sorted(root.rglob("*.png"))):  # next week's crops
        other_picture(path, 100 + shade)
    found = find_fixes(root, store)
    assert found.honoured == ()
    assert [why for _, why in found.unmatched] == [OTHER, OTHER]
    dataset = open_dataset(root, store=store, size=16, fixes=active_fixes(root, store))
    plain = open_dataset(root, store=store, size=16)
    assert dataset.fingerprint == plain.fingerprint
    assert dataset.fixed.to_json()["excluded"] == 0


def test_a_list_with_digests_is_refused_for_other_pictures(make_folder, store, tmp_path) -> None:
    root = make_folder()
    listed = tmp_path / "fixes.csv"
    listed.write_text(f"path,action,value,sha256\ntrain/pit/000.png,exclude,,{'0' * 64}\n")
    with pytest.raises(InputError, match=r"000.png: must be the picture that the list was made"):
        apply_fixes(root, store, listed)


def test_a_renamed_picture_is_found(make_folder, store, tmp_path: Path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    (root / "train/pit/000.png").rename(root / "train/pit/first.png")
    other_picture(root / "train/pit/000.png", 200)
    dataset = open_dataset(root, store=store, size=16, fixes=active_fixes(root, store))
    assert "train/pit/first.png" not in dataset.paths
    assert "train/pit/000.png" in dataset.paths
    assert dataset.fixed.to_json() == {
        "excluded": 1,
        "relabelled": 0,
        "revision": dataset.fixed.revision,
        "moved": 1,
        "unmatched": [],
    }


def test_fixes_follow_a_moved_folder_and_another_may_take_its_place(
    make_folder, store, tmp_path: Path
) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    root.rename(tmp_path / "week-46")
    shutil.copytree(tmp_path / "week-46", root)
    for shade, path in enumerate(sorted(root.rglob("*.png"))):
        other_picture(path, 100 + shade)
    assert changes(find_fixes(tmp_path / "week-46", store)) == {"train/pit/000.png": "exclude"}
    assert find_fixes(root, store).honoured == ()
    # A change there moves them home, and the new week's folder is rid of them.
    apply_fixes(tmp_path / "week-46", store, fix_list(tmp_path, "val/pit/001.png,exclude,,"))
    assert set(changes(find_fixes(tmp_path / "week-46", store))) == {
        "train/pit/000.png",
        "val/pit/001.png",
    }


@pytest.fixture
def leaked(make_folder, store, tmp_path: Path) -> Path:
    """A folder whose train copy of a val picture is left out."""
    root: Path = make_folder()
    shutil.copy(root / "val/pit/000.png", root / "train/pit/leak.png")
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/leak.png,exclude,,identical"))
    return root


def test_of_two_copies_only_the_named_one_is_left_out(leaked: Path, store) -> None:
    assert changes(find_fixes(leaked, store)) == {"train/pit/leak.png": "exclude"}
    (leaked / "train/pit/leak.png").rename(leaked / "train/pit/renamed.png")
    assert changes(find_fixes(leaked, store)) == {"train/pit/renamed.png": "exclude"}


def test_the_copy_that_was_kept_stays_when_the_other_is_deleted(leaked: Path, store) -> None:
    (leaked / "train/pit/leak.png").unlink()
    found = find_fixes(leaked, store)
    assert found.honoured == ()
    assert [fix.path for fix, _ in found.unmatched] == ["train/pit/leak.png"]


def test_the_copy_that_was_kept_stays_when_it_is_renamed_as_well(leaked: Path, store) -> None:
    (leaked / "train/pit/leak.png").unlink()
    (leaked / "val/pit/000.png").rename(leaked / "val/pit/renamed.png")
    found = find_fixes(leaked, store)
    assert found.honoured == ()
    assert "can't be told: val/pit/renamed.png" in found.unmatched[0][1]


def test_what_cannot_be_told_is_listed_and_settled_by_a_new_fix(
    leaked: Path, store, tmp_path
) -> None:
    for split in ("train", "val"):  # both copies have new names: which was to be left out?
        (leaked / split / "pit").rename(leaked / split / "stone")
    (leaked / "train/stone/leak.png").rename(leaked / "train/stone/x.png")
    found = find_fixes(leaked, store)
    assert found.honoured == ()
    [(_, why)] = found.unmatched
    assert why.startswith("which file is meant can't be told: ")
    assert "train/stone/x.png" in why
    assert "val/stone/000.png" in why
    apply_fixes(leaked, store, fix_list(tmp_path, "train/stone/x.png,exclude,,"))
    assert changes(find_fixes(leaked, store)) == {"train/stone/x.png": "exclude"}
    assert find_fixes(leaked, store).unmatched == ()


def test_copies_that_are_all_left_out_are_found_wherever_they_go(
    make_folder, store, tmp_path
) -> None:
    root = make_folder()
    shutil.copy(root / "train/clean/000.png", root / "train/pit/same.png")
    apply_fixes(
        root,
        store,
        fix_list(tmp_path, "train/clean/000.png,exclude,,", "train/pit/same.png,exclude,,"),
    )
    (root / "train/clean/000.png").rename(root / "train/clean/a.png")
    (root / "train/pit/same.png").rename(root / "train/pit/b.png")
    assert set(changes(find_fixes(root, store))) == {"train/clean/a.png", "train/pit/b.png"}
    shutil.copy(root / "train/pit/b.png", root / "train/pit/c.png")
    assert find_fixes(root, store).honoured == ()  # one more than were left out


def test_lists_add_up(make_folder, store, tmp_path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    applied = apply_fixes(
        root,
        store,
        fix_list(tmp_path, "train/pit/000.png,exclude,,", "train/pit/001.png,exclude,,"),
    )
    assert (applied.new, applied.known, applied.kept, applied.changed) == (1, 1, 0, ())
    assert set(changes(find_fixes(root, store))) == {"train/pit/000.png", "train/pit/001.png"}
    assert apply_fixes(root, store, fix_list(tmp_path)).kept == 2
    assert len(find_fixes(root, store).honoured) == 2


def test_of_two_that_contradict_the_newer_counts_and_is_named(make_folder, store, tmp_path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,relabel,clean,"))
    (root / "train/pit/000.png").rename(root / "train/pit/x.png")
    applied = apply_fixes(root, store, fix_list(tmp_path, "train/pit/x.png,exclude,,"))
    assert applied.lines() == [
        "fixes: 1 changed",
        "the newer fix counts: train/pit/x.png: exclude, was relabel clean",
    ]
    assert changes(find_fixes(root, store)) == {"train/pit/x.png": "exclude"}


def test_a_list_may_take_the_place_of_earlier_ones(make_folder, store, tmp_path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    root.rename(tmp_path / "moved")
    root = tmp_path / "moved"
    second = fix_list(tmp_path, "train/pit/001.png,exclude,,")
    applied = apply_fixes(root, store, second, replace_earlier=True)
    assert applied.lines() == ["fixes: 1 new, 1 earlier ones taken back"]
    assert changes(find_fixes(root, store)) == {"train/pit/001.png": "exclude"}


def test_all_are_taken_back_also_those_from_where_the_folder_was(
    make_folder, store, tmp_path
) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    root.rename(tmp_path / "moved")
    assert clear_fixes(tmp_path / "moved", store) == 1
    assert find_fixes(tmp_path / "moved", store).all == ()
    assert list((store / "overlays").iterdir()) == []


def test_unknown_images_and_classes_are_refused_together(make_folder, store, tmp_path) -> None:
    root = make_folder()
    listed = fix_list(
        tmp_path, "train/pit/999.png,exclude,,", "train/pit/001.png,relabel,claen,typing"
    )
    with pytest.raises(InputError) as caught:
        apply_fixes(root, store, listed)
    assert len(caught.value.problems) == 2
    assert "train/pit/999.png: must be an image of" in caught.value.problems[0]
    assert "got 'claen' (did you mean clean?)" in caught.value.problems[1]
    assert active_fixes(root, store) is None


def test_classes_that_do_not_tell_the_defect_are_no_obstacle(make_folder, store, tmp_path) -> None:
    root = make_folder(classes=("a", "b"))
    apply_fixes(root, store, fix_list(tmp_path, "train/a/000.png,relabel,b,"))
    assert changes(find_fixes(root, store)) == {"train/a/000.png": "relabel b"}


def test_folders_beside_the_classes_are_no_obstacle(make_folder, store, tmp_path) -> None:
    root = make_folder()
    (root / "train").rename(root / "Train")
    (root / "$RECYCLE.BIN").mkdir()
    apply_fixes(root, store, fix_list(tmp_path, "Train/pit/000.png,exclude,,"))
    assert changes(find_fixes(root, store)) == {"Train/pit/000.png": "exclude"}


def test_an_overlay_of_an_earlier_version_learns_its_pictures(make_folder, store) -> None:
    root = make_folder()
    path = overlay_path(root, store)
    path.parent.mkdir(parents=True)
    exclude = ["train/pit/000.png", "train/pit/gone.png"]
    old = {"root": str(root), "exclude": exclude, "relabel": {"val/clean/001.png": "pit"}}
    path.write_text(json.dumps(old))
    found = find_fixes(root, store)
    assert changes(found) == {"train/pit/000.png": "exclude", "val/clean/001.png": "relabel pit"}
    assert [(fix.path, why) for fix, why in found.unmatched] == [("train/pit/gone.png", UNKNOWN)]
    other_picture(root / "train/pit/000.png", 200)
    other_picture(root / "train/pit/gone.png", 201)
    assert changes(find_fixes(root, store)) == {"val/clean/001.png": "relabel pit"}


def test_an_overlay_of_an_earlier_version_whose_folder_moved_is_refused_by_name(
    make_folder, store, tmp_path
) -> None:
    root = make_folder()
    path = overlay_path(tmp_path / "gone", store)
    path.parent.mkdir(parents=True)
    old = {"root": str(tmp_path / "gone"), "exclude": ["train/pit/000.png"], "relabel": {}}
    path.write_text(json.dumps(old))
    with pytest.raises(InputError) as caught:
        open_dataset(root, store=store, size=16, fixes=active_fixes(root, store))
    assert str(caught.value).startswith(f"{path}: holds fixes of {tmp_path / 'gone'} by their path")
    assert f"drupe data audit {root} --apply FILE" in str(caught.value)
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/001.png,exclude,,"))
    dataset = open_dataset(root, store=store, size=16, fixes=active_fixes(root, store))
    assert dataset.fixed.fixes.exclude == {"train/pit/001.png"}
    unlike = make_folder("unlike", classes=("a", "b"))
    open_dataset(unlike, store=store, size=16, naming="b", fixes=active_fixes(unlike, store))


@pytest.mark.parametrize(
    "text",
    ['{"exclude": ["../x"], "relabel": {}}', '{"root": "/x", "fixes": [{"path": "a"}]}', "[]"],
)
def test_a_damaged_overlay_is_named(make_folder, store: Path, tmp_path: Path, text) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    overlay_path(root, store).write_text(text)
    with pytest.raises(InputError, match="must be an overlay"):
        find_fixes(root, store)
