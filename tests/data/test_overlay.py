from __future__ import annotations

from pathlib import Path

import pytest

from drupe.data.overlay import active_fixes, apply_fixes, overlay_path
from drupe.errors import InputError


def fix_list(folder: Path, *lines: str) -> Path:
    path = folder / "fixes.csv"
    path.write_text("\n".join(["path,action,value,reason", *lines, ""]))
    return path


def test_nothing_is_active_at_first(make_folder, store: Path) -> None:
    assert active_fixes(make_folder(), store) is None


def test_applied_fixes_stay_and_images_are_untouched(make_folder, store: Path, tmp_path) -> None:
    root = make_folder()
    before = {path: path.read_bytes() for path in root.rglob("*.png")}
    listed = fix_list(tmp_path, "train/pit/000.png,exclude,,", "val/clean/001.png,relabel,pit,")
    applied = apply_fixes(root, store, listed)
    found = active_fixes(root, store)
    assert found is not None
    assert found.exclude == applied.exclude == {"train/pit/000.png"}
    assert dict(found.relabel) == {"val/clean/001.png": "pit"}
    assert found.fingerprint() == applied.fingerprint()
    assert {path: path.read_bytes() for path in root.rglob("*.png")} == before


def test_a_folder_is_known_by_its_real_place(make_folder, store: Path, tmp_path: Path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    link = tmp_path / "link"
    link.symlink_to(root)
    assert active_fixes(link, store) is not None
    assert active_fixes(make_folder("other"), store) is None


def test_a_new_list_replaces_the_old_and_an_empty_one_clears(make_folder, store, tmp_path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/001.png,exclude,,"))
    found = active_fixes(root, store)
    assert found is not None
    assert found.exclude == {"train/pit/001.png"}
    apply_fixes(root, store, fix_list(tmp_path))
    assert active_fixes(root, store) is None


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
    found = active_fixes(root, store)
    assert found is not None
    assert dict(found.relabel) == {"train/a/000.png": "b"}


def test_a_damaged_overlay_is_named(make_folder, store: Path, tmp_path: Path) -> None:
    root = make_folder()
    apply_fixes(root, store, fix_list(tmp_path, "train/pit/000.png,exclude,,"))
    overlay_path(root, store).write_text('{"exclude": ["../x"], "relabel": {}}')
    with pytest.raises(InputError, match="must be an overlay"):
        active_fixes(root, store)
