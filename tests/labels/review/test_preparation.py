from __future__ import annotations

import csv

import pytest

from drupe.data.fixes import Fix, write_fix_list
from drupe.data.naming import Naming
from drupe.data.overlay import apply_fixes
from drupe.errors import InputError
from drupe.labels.ranking import RankedLabel, write_ranking
from drupe.labels.review.preparation import data_folder, open_queue, ranking_digest
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
    assert data_folder(root, None) == (root, None, Naming())
    assert data_folder(file, root) == (root, file, Naming())
    (tmp_path / "config.yaml").write_text("data: {root: crops, good: [clean]}")
    assert data_folder(file, root) == (root, file, Naming(good=("clean",)))
    (tmp_path / "config.yaml").write_text(f"data: {{root: {file}}}")
    with pytest.raises(InputError, match="must be a folder of crops to be reviewed, got a file"):
        data_folder(file, None)
    (tmp_path / "config.yaml").write_text("data: {root: [a, b]}")
    with pytest.raises(InputError, match=r"config\.yaml"):
        data_folder(file, None)
    (tmp_path / "config.yaml").unlink()
    assert ranking_digest(None) is None
    with pytest.raises(InputError, match="lies in no run"):
        data_folder(file, None)
    with pytest.raises(InputError, match="is a folder already"):
        data_folder(root, root)
    with pytest.raises(InputError, match="got nothing there"):
        data_folder(tmp_path / "absent", None)


def test_a_fix_to_a_label_that_is_gone_is_named(tmp_path, crops) -> None:
    root, paths = crops
    store = tmp_path / "store"
    write_fix_list(tmp_path / "fixes.csv", [Fix(paths[1], "relabel", "pit")])
    apply_fixes(root, store, tmp_path / "fixes.csv")
    (root / "pit").rename(root / "bad")
    with pytest.raises(InputError, match=r"img_1\.png: class must be one of .*bad.*, got 'pit'"):
        open_queue(tmp_path / "review", root, None, request(0, 99), store)
