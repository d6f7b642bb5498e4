from __future__ import annotations

import hashlib

import numpy as np
import pytest

from drupe.configuration import fingerprint
from drupe.errors import InputError
from drupe.training.learnt import read_digests, write_digests
from drupe.training.preparation import prepare_data
from drupe.training.trained_on import find_training_files


@pytest.fixture
def data(tiny, store):
    return prepare_data(tiny(), store)


def listed(tmp_path, data, *lines: str):
    file = tmp_path / "list.txt"
    file.write_text("\n".join(["# the training files", "", *lines]))
    return find_training_files(file, data)


def sha256(data, index: int) -> str:
    return hashlib.sha256((data.dataset.root / data.dataset.paths[index]).read_bytes()).hexdigest()


def test_a_file_is_named_by_its_path_or_its_digest(data, tmp_path) -> None:
    index = int(data.split.test[0])
    path, digest = data.dataset.paths[index], sha256(data, index)

    ways = (path, path.replace("/", "\\"), digest, f"{digest.upper()}  elsewhere.png")
    found = [listed(tmp_path, data, line) for line in ways]

    assert {one.digests for one in found} == {frozenset({digest})}
    assert found[0].overlap.test >= 1
    assert (found[0].overlap.named, found[0].overlap.sha256) == (1, fingerprint([digest]))


def test_copies_of_a_listed_file_count_as_it_does(data, tmp_path) -> None:
    groups, counts = np.unique(data.groups, return_counts=True)
    members = np.flatnonzero(data.groups == groups[counts.argmax()])
    assert len(members) > 1

    overlap = listed(tmp_path, data, data.dataset.paths[members[0]]).overlap

    for name in ("fit", "calibration", "test"):
        expected = np.isin(getattr(data.split, name), members).sum()
        assert getattr(overlap, name) == expected, name


def test_a_folder_names_everything_in_it(data, tmp_path) -> None:
    found = listed(tmp_path, data, "train")

    inside = [i for i, path in enumerate(data.dataset.paths) if path.startswith("train/")]
    assert found.digests == {sha256(data, i) for i in inside}
    assert found.overlap.fit == len(data.split.fit)
    assert found.overlap.calibration == len(data.split.calibration)


def test_digests_are_kept_with_the_run(data, tmp_path) -> None:
    found = listed(tmp_path, data, data.dataset.paths[0], data.dataset.paths[1])
    run = tmp_path / "run"
    run.mkdir()
    assert read_digests(run) == frozenset()

    write_digests(run, found.digests)

    assert read_digests(run) == found.digests


def test_a_file_of_the_dataset_that_is_in_no_split_is_known_by_its_bytes(data, tmp_path) -> None:
    stray = data.dataset.root / "notes.txt"
    stray.write_text("not an image")
    try:
        found = listed(tmp_path, data, "notes.txt")
    finally:
        stray.unlink()

    assert found.digests == {hashlib.sha256(b"not an image").hexdigest()}
    assert (found.overlap.fit, found.overlap.calibration, found.overlap.test) == (0, 0, 0)


def test_a_name_may_hold_what_else_ends_a_line(data, tmp_path) -> None:
    with pytest.raises(InputError, match="no such file: train/a\u2028b\x85c"):
        listed(tmp_path, data, "train/a\u2028b\x85c.png")


def test_misspelt_names_are_listed_and_the_rest_counted(data, tmp_path) -> None:
    with pytest.raises(InputError) as caught:
        listed(tmp_path, data, *(f"train/wrong-{n}.png" for n in range(7)), "../outside.png")

    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'list.txt'}: must name files below {data.dataset.root}")
    assert "train/wrong-0.png, train/wrong-1.png" in said
    assert said.endswith("3 more")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n\n", "must name at least one training file, got none"),
        (b"\xff\xfe\x00", "must be a text file in UTF-8, got something else"),
    ],
)
def test_a_list_that_says_nothing_is_refused(data, tmp_path, content, message) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(content)

    with pytest.raises(InputError, match=message):
        find_training_files(file, data)
