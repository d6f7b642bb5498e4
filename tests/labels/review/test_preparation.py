from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from drupe.data.decode import UnreadableImageError
from drupe.data.fixes import Fix, write_fix_list
from drupe.data.joined import join_datasets
from drupe.data.naming import Naming
from drupe.data.overlay import apply_fixes
from drupe.errors import InputError
from drupe.labels.ranking import RankedLabel, write_ranking
from drupe.labels.review.pictures import ReviewPictures
from drupe.labels.review.preparation import ReviewedData, open_queue, ranking_digest, reviewed_data
from review_files import request, write_crops


@pytest.fixture
def crops(tmp_path):
    return tmp_path / "crops", write_crops(tmp_path / "crops", 20)


def ranked(paths, label=None, split="fit"):
    return [
        RankedLabel(rank, path, split, label or path.partition("/")[0], 0.75, 0.1, -0.5, "unsure")
        for rank, path in enumerate(paths, 1)
    ]


def test_a_ranking_gives_the_suspects_and_what_it_says_of_them(tmp_path, crops) -> None:
    root, paths = crops
    write_ranking(tmp_path / "labels.csv", ranked(paths[::-1]))
    wanted = request(suspects=3, controls=5)
    queue = open_queue(tmp_path / "review", root, tmp_path / "labels.csv", wanted, tmp_path / "s")
    assert [item.path for item in queue.items[:3]] == paths[:-4:-1]
    assert {item.reason for item in queue.items} == {"unsure"}
    assert {item.score for item in queue.items} == {0.75}
    assert {item.split for item in queue.items} == {"fit"}
    again = open_queue(tmp_path / "review", root, tmp_path / "labels.csv", wanted, tmp_path / "s")
    assert again == queue
    other = request(suspects=4, controls=5)
    with pytest.raises(InputError, match=r"asked for otherwise [(]suspects 3, got 4"):
        open_queue(tmp_path / "review", root, tmp_path / "labels.csv", other, tmp_path / "s")


def test_a_folder_gives_controls_by_the_labels_that_hold_now(tmp_path, crops) -> None:
    root, paths = crops
    store = tmp_path / "store"
    fixes = [Fix(paths[0], "exclude"), Fix(paths[1], "relabel", "pit")]
    write_fix_list(tmp_path / "fixes.csv", fixes)
    apply_fixes(root, store, tmp_path / "fixes.csv")
    queue = open_queue(tmp_path / "review", root, None, request(0, 99), store)
    label_of = {item.path: item.label for item in queue.items}
    assert set(label_of) == set(paths[1:])
    assert label_of[paths[1]] == "pit"
    assert label_of[paths[3]] == "clean"
    assert {item.score for item in queue.items} == {None}


def test_copies_are_one_picture(tmp_path, crops) -> None:
    root, paths = crops
    (root / "clean" / "copy.png").write_bytes((root / paths[4]).read_bytes())
    queue = open_queue(tmp_path / "review", root, None, request(0, 99), tmp_path / "store")
    assert len(queue.items) == len(paths)
    assert sum(one.items for one in queue.strata) == len(paths)


def test_neighbours_give_no_label_away(tmp_path, crops) -> None:
    root, paths = crops
    queue = open_queue(tmp_path / "review", root, None, request(0, 99), tmp_path / "store")
    item = next(one for one in queue.items if one.path == paths[10])
    assert sorted(item.neighbours) == sorted(paths[index] for index in (8, 12, 9, 11))
    for one in queue.items:
        assert one.path not in one.neighbours
        assert sum(name.startswith("pit/") for name in one.neighbours) == 2
    firsts = [one.neighbours[0].partition("/")[0] == one.label for one in queue.items]
    assert 0 < sum(firsts) < len(firsts)


def test_neighbours_are_those_of_the_ranking_where_it_has_as_many_of_each_label(
    tmp_path, crops
) -> None:
    root, paths = crops
    clean = [path for path in paths if path.startswith("clean/")]
    pits = [path for path in paths if path.startswith("pit/")]
    near = {
        clean[0]: ((clean[7], clean[8]), (pits[6], pits[9])),
        clean[1]: ((clean[7],), (pits[6], pits[9])),  # one more of the other label goes
        pits[0]: ((), (clean[8],)),  # unequal: by file name
        pits[1]: ((pits[5], pits[6]), (pits[7], clean[8])),  # that one is a pit by now
        pits[2]: ((pits[5], pits[6]), (clean[7], "clean/gone.png")),
    }
    rows = [
        replace(one, near_own=own, near_other=other)
        for one, (own, other) in zip(ranked(list(near)), near.values(), strict=True)
    ]
    write_ranking(tmp_path / "labels.csv", rows)
    queue = open_queue(
        tmp_path / "review", root, tmp_path / "labels.csv", request(5, 0), tmp_path / "s"
    )
    shown = {item.path: set(item.neighbours) for item in queue.items}
    assert shown[clean[0]] == {clean[7], clean[8], pits[6], pits[9]}
    assert shown[clean[1]] == {clean[7], pits[6]}
    plain = open_queue(tmp_path / "plain", root, None, request(0, 99), tmp_path / "s")
    by_name = {item.path: set(item.neighbours) for item in plain.items}
    for path in pits[:3]:
        assert shown[path] == by_name[path]


@pytest.fixture
def table(tmp_path, crops):
    """A table that names the crops, the last of them from another folder, and all their paths."""
    root, paths = crops
    away = tmp_path / "away" / "pit.png"
    away.parent.mkdir()
    (root / paths[-1]).rename(away)
    named = [*paths[:-1], away.as_posix()]
    lines = [f"{path},{'clean' if 'clean/' in path else 'pit'}" for path in named]
    (root / "table.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return root / "table.csv", named


def test_a_table_is_reviewed(tmp_path, table) -> None:
    file, named = table
    store = tmp_path / "store"
    away = next(path for path in named if path.startswith("/"))
    rows = ranked(named, label="clean")
    rows = [replace(one, label="pit" if "pit" in one.path else "clean") for one in rows]
    write_ranking(tmp_path / "labels.csv", rows)
    write_fix_list(tmp_path / "fixes.csv", [Fix(named[0], "exclude")])
    apply_fixes(file, store, tmp_path / "fixes.csv")
    queue = open_queue(tmp_path / "review", file, tmp_path / "labels.csv", request(0, 99), store)
    assert {item.path for item in queue.items} == set(named[1:])
    assert queue.root == str(file)
    pictures = ReviewPictures.of(file, Naming())
    assert all(pictures.read_drawn(item) for item in queue.items)
    assert pictures.read(away)
    with pytest.raises(UnreadableImageError, match="not inside"):
        pictures.read((tmp_path / "labels.csv").as_posix())
    with pytest.raises(UnreadableImageError, match="not inside"):
        ReviewPictures.of(file.parent, Naming()).read(away)
    by_itself = open_queue(tmp_path / "plain", file, None, request(0, 99), store)
    assert {item.path for item in by_itself.items} == set(named[1:])


def test_several_datasets_are_reviewed_as_one(tmp_path, crops, table) -> None:
    file, named = table
    write_crops(tmp_path / "week47", 8)
    for path in (tmp_path / "week47").rglob("*.png"):
        path.write_bytes(path.read_bytes() + b"of another week")
    store = tmp_path / "store"
    root = join_datasets([file, tmp_path / "week47"], store)
    queue = open_queue(tmp_path / "review", root, None, request(0, 99), store)
    assert len(queue.items) == len(named) + 8
    pictures = ReviewPictures.of(root, Naming())
    assert all(pictures.read_drawn(item) for item in queue.items)


def test_splits_can_be_chosen(tmp_path, crops) -> None:
    root, paths = crops
    rows = ranked(paths[:10]) + ranked(paths[10:], split="test")
    write_ranking(tmp_path / "labels.csv", rows)
    wanted = request().model_copy(update={"splits": ("test",)})
    queue = open_queue(tmp_path / "review", root, tmp_path / "labels.csv", wanted, tmp_path / "s")
    assert {item.path for item in queue.items} <= set(paths[10:])
    wrong = request().model_copy(update={"splits": ("tets",)})
    with pytest.raises(InputError, match="--split: must be one of fit, test, got tets"):
        open_queue(tmp_path / "other", root, tmp_path / "labels.csv", wrong, tmp_path / "s")


def test_a_ranking_of_other_labels_is_refused(tmp_path, crops) -> None:
    root, paths = crops
    write_ranking(tmp_path / "labels.csv", ranked([*paths[:2], "pit/gone.png"], label="pit"))
    with pytest.raises(InputError) as refused:
        open_queue(tmp_path / "r", root, tmp_path / "labels.csv", request(), tmp_path / "store")
    assert "pit/gone.png: must be an image of" in str(refused.value)
    assert f"{paths[1]}: was ranked as pit, and is clean now" in str(refused.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("path", "../secret.png", "without '..'"),
        ("score", "nan", "must be finite"),
        ("rank", "first", "invalid literal"),
        ("near_own", "[1]", "near_own: must be a JSON list of paths"),
        ("near_other", "a.png", "near_other: must be a JSON list of paths"),
    ],
)
def test_a_damaged_ranking_is_refused(tmp_path, crops, column, value, words) -> None:
    root, paths = crops
    file = tmp_path / "labels.csv"
    write_ranking(file, ranked(paths))
    rows = list(csv.DictReader(file.open(newline="")))
    rows[2][column] = value
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    with pytest.raises(InputError, match=f"labels.csv, line 4: .*{words}"):
        open_queue(tmp_path / "review", root, file, request(), tmp_path / "store")


def test_where_the_pictures_lie(tmp_path, crops) -> None:
    root, paths = crops
    file = tmp_path / "labels.csv"
    write_ranking(file, ranked(paths))
    assert reviewed_data(root, None) == ReviewedData(root, None, Naming())
    assert reviewed_data(file, root) == ReviewedData(root, file, Naming())
    (tmp_path / "config.yaml").write_text("data: {root: crops, good: [clean]}")
    assert reviewed_data(file, root) == ReviewedData(root, file, Naming(good=("clean",)))
    table = tmp_path / "table.csv"
    table.write_text("path,label\n")
    (tmp_path / "config.yaml").write_text(f"data: {{root: {table}}}")
    assert reviewed_data(file, None) == ReviewedData(table, file, Naming())
    assert reviewed_data(table, None) == ReviewedData(table, None, Naming())
    (tmp_path / "config.yaml").write_text("data: {root: [a, b]}")
    with pytest.raises(InputError, match=r"config\.yaml"):
        reviewed_data(file, None)
    (tmp_path / "config.yaml").unlink()
    assert ranking_digest(None) is None
    with pytest.raises(InputError, match="lies in no run"):
        reviewed_data(file, None)
    with pytest.raises(InputError, match="is a dataset already"):
        reviewed_data(root, root)
    with pytest.raises(InputError, match="is a dataset already"):
        reviewed_data(table, root)
    (root / "config.yaml").write_text("model: {}")
    with pytest.raises(InputError, match=r"nothing there; drupe labels rank --run .* makes it"):
        reviewed_data(root / "labels.csv", None)
    with pytest.raises(InputError, match=r"got nothing there$"):
        reviewed_data(tmp_path / "absent", None)


def test_a_fix_to_a_label_that_is_gone_is_named(tmp_path, crops) -> None:
    root, paths = crops
    store = tmp_path / "store"
    write_fix_list(tmp_path / "fixes.csv", [Fix(paths[1], "relabel", "pit")])
    apply_fixes(root, store, tmp_path / "fixes.csv")
    (root / "pit").rename(root / "bad")
    with pytest.raises(InputError, match=r"img_1\.png: class must be one of .*bad.*, got 'pit'"):
        open_queue(tmp_path / "review", root, None, request(0, 99), store)
