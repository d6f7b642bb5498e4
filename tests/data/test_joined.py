"""Several datasets as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from drupe.data.audit import audit
from drupe.data.dataset import open_dataset
from drupe.data.joined import description_files, is_joined, join_datasets
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.overlay import active_fixes, apply_fixes, clear_fixes
from drupe.errors import InputError


def problems(*datasets: Path, store: Path) -> str:
    with pytest.raises(InputError) as caught:
        list_dataset(join_datasets(datasets, store))
    return str(caught.value)


def test_one_dataset_is_itself(make_folder, store: Path) -> None:
    root = make_folder()
    assert join_datasets([root], store) == root
    assert not is_joined(root)
    assert not store.exists()


def test_the_union_keeps_paths_apart(make_folder, store: Path) -> None:
    week46, week47 = make_folder("week46", count=2), make_folder("week47", count=1, seed=1)
    joined = join_datasets([week47, week46], store)
    assert join_datasets([week46, week47], store) == joined
    listing = list_dataset(joined)
    assert len(listing.paths) == 12
    assert listing.paths[:2] == ("week46/train/clean/000.png", "week46/train/clean/001.png")
    assert listing.paths[8:] == tuple(f"week47/{path}" for path in list_dataset(week47).paths)
    assert listing.in_val.tolist() == ["/val/" in path for path in listing.paths]
    assert listing.is_defect.tolist() == ["/pit/" in path for path in listing.paths]
    assert listing.has_val
    assert listing.test_name == "val"
    assert listing.passed.total == 0
    dataset = open_dataset(joined, store=store, size=16)
    assert len(set(dataset.digests)) == 12


def test_moved_and_joined_again_it_is_the_same_dataset(
    make_folder, store: Path, tmp_path: Path
) -> None:
    roots = [make_folder("week46"), make_folder("week47", seed=1)]
    before = open_dataset(join_datasets(roots, store), store=store, size=16).fingerprint
    (tmp_path / "there").mkdir()
    moved = [shutil.move(root, tmp_path / "there" / root.name) for root in roots]
    joined = join_datasets([Path(root) for root in moved], store)
    assert open_dataset(joined, store=store, size=16).fingerprint == before


def test_names_are_the_shortest_that_differ(make_folder, store: Path) -> None:
    listing = list_dataset(
        join_datasets([make_folder("monday/crops"), make_folder("tuesday/crops", seed=1)], store)
    )
    assert {path.split("/")[0] for path in listing.paths} == {"monday-crops", "tuesday-crops"}


def test_folders_and_tables(make_folder, store: Path) -> None:
    week46, week47 = make_folder("week46"), make_folder("week47", splits=(), seed=1)
    (week47 / "labels.csv").write_text(
        "path,label,group\nclean/000.png,clean,cam 1\npit/000.png,pit,cam 2\n"
    )
    joined = join_datasets([week46, week47 / "labels.csv"], store)
    listing = list_dataset(joined)
    assert listing.paths[-2:] == ("week47/clean/000.png", "week47/pit/000.png")
    assert listing.groups is not None
    assert listing.groups[-2:] == ("cam 1", "cam 2")
    assert set(listing.groups[:-2]) == {"week46"}
    assert listing.notes == ("week47 brings no test split: all its items join those of training",)
    assert sorted(listing.passed.to_json()[0]["names"]) == [
        *("week47/clean/001.png", "week47/clean/002.png"),
        *("week47/pit/001.png", "week47/pit/002.png"),
    ]
    assert description_files(joined) == ["drupe-joined.json", "week47/labels.csv"]
    assert audit(joined, store=store).to_json()["passed_over"][0]["files"] == 4


def test_the_same_picture_in_both_is_found_by_the_audit(make_folder, store: Path) -> None:
    week46, week47 = make_folder("week46"), make_folder("week47", seed=1)
    shutil.copy(week46 / "train/pit/000.png", week47 / "val/pit/copy.png")
    found = audit(join_datasets([week46, week47], store), store=store)
    assert found.to_json()["findings"]["cross_split_duplicates"] == [
        ["week46/train/pit/000.png", "week47/val/pit/copy.png"]
    ]


def test_fixes_of_each_hold_in_the_union_and_back(make_folder, store: Path, tmp_path: Path) -> None:
    week46, week47 = make_folder("week46"), make_folder("week47", seed=1)
    joined = join_datasets([week46, week47], store)

    def kept(root: Path) -> tuple[str, ...]:
        return open_dataset(root, store=store, size=16, fixes=active_fixes(root, store)).paths

    (tmp_path / "one.csv").write_text("path,action,value\ntrain/pit/000.png,exclude,\n")
    apply_fixes(week46, store, tmp_path / "one.csv")
    assert "week46/train/pit/000.png" not in kept(joined)
    assert "week47/train/pit/000.png" in kept(joined)
    (tmp_path / "two.csv").write_text("path,action,value\nweek47/train/pit/001.png,exclude,\n")
    apply_fixes(joined, store, tmp_path / "two.csv")
    assert "train/pit/001.png" not in kept(week47)
    assert len(kept(joined)) == 22
    assert clear_fixes(joined, store) == 2
    assert len(kept(week46)) == len(kept(week47)) == 12


def test_what_can_not_be_joined_is_named(make_folder, store: Path, tmp_path: Path) -> None:
    week46 = make_folder("week46")
    assert "must be given once, got it twice" in problems(week46, week46, store=store)
    inside = problems(week46, week46 / "train", store=store)
    assert f"{week46 / 'train'}: must be a dataset of its own, lies in {week46}" in inside
    missing = problems(week46, tmp_path / "none", store=store)
    assert f"{tmp_path / 'none'}: must be a dataset folder or table, got no such" in missing
    other = make_folder("other", classes=("good", "pit"))
    text = problems(week46, other, store=store)
    assert "must have the same classes" in text
    assert "other: good, pit" in text
    assert "week46: clean, pit" in text


def test_tables_of_one_folder(make_folder, store: Path, tmp_path: Path) -> None:
    root = make_folder(splits=(), count=2)
    for name, number in (("a", 0), ("b", 1)):
        rows = f"path,label\nclean/00{number}.png,clean\npit/00{number}.png,pit\n"
        (root / f"{name}.csv").write_text(rows)
    listing = list_dataset(join_datasets([root / "a.csv", root / "b.csv"], store))
    assert listing.paths == (
        *("a/clean/000.png", "a/pit/000.png"),
        *("b/clean/001.png", "b/pit/001.png"),
    )


def test_a_file_elsewhere_that_two_tables_name(make_folder, store: Path, tmp_path: Path) -> None:
    root = make_folder(splits=(), count=1).absolute()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        rows = f"path,label\n{root}/clean/000.png,clean\n{root}/pit/000.png,pit\n"
        (tmp_path / name / "labels.csv").write_text(rows)
    text = problems(tmp_path / "a/labels.csv", tmp_path / "b/labels.csv", store=store)
    assert f"{root}/clean/000.png: must be in one dataset, got it in a and b" in text


def test_a_folder_that_has_gone_is_named(make_folder, store: Path, tmp_path: Path) -> None:
    week46, week47 = make_folder("week46"), make_folder("week47", seed=1)
    joined = join_datasets([week46, week47], store)
    week46.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"week46: must be a folder with data of week46\+week47-"):
        list_dataset(joined)
    (joined / "drupe-joined.json").write_text(json.dumps({"datasets": [1]}))
    with pytest.raises(InputError, match="damaged; delete"):
        list_dataset(joined)


def test_a_system_without_links_is_told_another_way(
    make_folder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [make_folder("week46"), make_folder("week47", seed=1)]

    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(InputError, match="in one table instead"):
        join_datasets(roots, store)


def test_a_link_that_another_process_has_made_is_taken(
    make_folder, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [make_folder("week46"), make_folder("week47", seed=1)]
    make = Path.symlink_to

    def race(link: Path, target: Path, target_is_directory: bool = False) -> None:
        make(link, target, target_is_directory)
        make(link, target, target_is_directory)

    monkeypatch.setattr(Path, "symlink_to", race)
    assert len(list_dataset(join_datasets(roots, store)).paths) == 24


def test_groups_are_found_in_the_names_of_the_datasets(make_folder, store: Path) -> None:
    types = ("clean", "pit", "stem")
    weeks = [make_folder(f"week{n}", splits=(), classes=types, seed=n) for n in (46, 47)]
    naming = Naming(good=("clean",), group="^(week..)/")
    listing = list_dataset(join_datasets(weeks, store), naming)
    assert set(zip(listing.groups, listing.types, strict=True)) == {
        (f"week{n}", name) for n in (46, 47) for name in ("", "pit", "stem")
    }
    assert set(listing.meanings) == {"clean", "defect", "pit", "stem"}
    rows = ("path,label,group", "clean/000.png,clean,a", "pit/000.png,pit,a", "")
    (weeks[0] / "labels.csv").write_text("\n".join(rows))
    both = join_datasets([weeks[0] / "labels.csv", weeks[1]], store)
    with pytest.raises(InputError, match="week46: group: must be told once, got a column"):
        list_dataset(both, naming)
