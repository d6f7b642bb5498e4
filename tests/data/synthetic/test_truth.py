from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from drupe.data.synthetic.truth import (
    CORRUPT_KINDS,
    GENERATOR_VERSION,
    TURNS,
    Plan,
    Truth,
    plan_files,
)
from drupe.errors import InputError

FAULTS = {
    "leaks": 7,
    "duplicates": 6,
    "near_duplicates": 40,
    "contradictions": 5,
    "blanks": 4,
    "corrupt": 8,
}


def plan(
    images: int = 400,
    seed: int = 3,
    label_noise: float = 0.05,
    val_share: float = 0.25,
    **faults: int,
) -> Plan:
    return plan_files(images, 128, seed, label_noise, val_share, faults)


@pytest.fixture(scope="module")
def faulty() -> Plan:
    return plan(**FAULTS)


def split_and_class(path: str) -> tuple[str, str]:
    split, label, _ = path.split("/")
    return split, label


# the plan


def test_each_number_has_one_path_in_order(faulty: Plan) -> None:
    assert [path.rsplit("/", 1)[1] for path in faulty.paths] == [f"{n:05d}.png" for n in range(400)]


def test_names_grow_with_the_number_of_files() -> None:
    assert plan(100_000, label_noise=0).paths[-1].endswith("/99999.png")
    paths = plan(100_001, label_noise=0).paths
    assert paths[0].endswith("/000000.png")
    assert paths[-1].endswith("/100000.png")


@pytest.mark.parametrize(
    ("images", "val_share", "cells"),
    [
        # 46 % of 300 is 138, of 100 is 46.
        (400, 0.25, (162, 138, 54, 46)),
        # 46 % of 8 is 3.68, of 2 is 0.92.
        (10, 0.2, (4, 4, 1, 1)),
        # Each split keeps two files at least, one of each class.
        (10, 0.0, (4, 4, 1, 1)),
        (10, 1.0, (1, 1, 4, 4)),
        (4, 0.5, (1, 1, 1, 1)),
    ],
)
def test_splits_and_classes_hold_their_shares(
    images: int, val_share: float, cells: tuple[int, ...]
) -> None:
    found = Counter(
        split_and_class(path) for path in plan(images, label_noise=0, val_share=val_share).paths
    )
    names = [(split, name) for split in ("train", "val") for name in ("cherry_clean", "cherry_pit")]
    assert tuple(found[name] for name in names) == cells


def test_truth_names_what_was_asked_for(faulty: Plan) -> None:
    truth = faulty.truth
    assert (truth.images, truth.size, truth.seed, truth.val_share) == (400, 128, 3, 0.25)
    assert truth.version == GENERATOR_VERSION
    assert {fault: len(getattr(truth, fault)) for fault in FAULTS} == FAULTS
    assert len(truth.label_noise) == 20


def test_a_file_takes_part_in_one_fault_at_most(faulty: Plan) -> None:
    truth = faulty.truth
    pairs = (*truth.leaks, *truth.duplicates, *truth.contradictions)
    named = [
        *chain.from_iterable(pairs),
        *chain.from_iterable(pair[:2] for pair in truth.near_duplicates),
        *truth.blanks,
        *(path for path, _ in truth.corrupt),
        *truth.label_noise,
    ]
    assert len(named) == 2 * (7 + 6 + 5 + 40) + 4 + 8 + 20
    assert len(set(named)) == len(named)
    assert set(named) <= set(faulty.paths)


def test_leaks_cross_the_splits_within_a_class(faulty: Plan) -> None:
    for original, copy in faulty.truth.leaks:
        assert split_and_class(original)[0] == "train"
        assert split_and_class(copy)[0] == "val"
        assert split_and_class(original)[1] == split_and_class(copy)[1]


def test_duplicates_share_split_and_class(faulty: Plan) -> None:
    pairs = (*faulty.truth.duplicates, *(near[:2] for near in faulty.truth.near_duplicates))
    for original, copy in pairs:
        assert split_and_class(original) == split_and_class(copy)


def test_contradictions_share_the_split_but_not_the_class(faulty: Plan) -> None:
    for original, copy in faulty.truth.contradictions:
        assert split_and_class(original)[0] == split_and_class(copy)[0]
        assert split_and_class(original)[1] != split_and_class(copy)[1]


def test_near_duplicates_are_turned_in_all_eight_ways(faulty: Plan) -> None:
    turns = [turn for _, _, turn in faulty.truth.near_duplicates]
    flips = ("", "flip+")
    assert set(turns) == {"identity", "flip"} | {
        f"{flip}rot{degrees}" for flip in flips for degrees in (90, 180, 270)
    }
    assert set(turns) == set(TURNS)


def test_pixels_show_the_folders_class_but_for_label_noise(faulty: Plan) -> None:
    shown = {
        path: "cherry_pit" if pit else "cherry_clean"
        for path, pit in zip(faulty.paths, faulty.shows_pit.tolist(), strict=True)
    }
    differing = [path for path in faulty.paths if shown[path] != split_and_class(path)[1]]
    assert differing == list(faulty.truth.label_noise)


def test_exact_copies_are_all_pairs_of_identical_files(faulty: Plan) -> None:
    truth = faulty.truth
    found = list(faulty.exact_copies())
    assert sorted(found) == sorted([*truth.leaks, *truth.duplicates, *truth.contradictions])


@pytest.mark.parametrize("count", range(1, 9))
def test_corrupt_files_take_each_kind_but_no_second_empty_one(count: int) -> None:
    kinds = [kind for _, kind in plan(corrupt=count).truth.corrupt]
    assert kinds[:3] == list(CORRUPT_KINDS)[:count]
    assert kinds.count("empty") == (count >= 3)
    assert set(kinds[3:]) <= {"truncated", "text"}
    assert abs(kinds.count("truncated") - kinds.count("text")) <= 1


def test_a_seed_decides_everything() -> None:
    one, same, other = plan(**FAULTS), plan(**FAULTS), plan(seed=4, **FAULTS)
    assert one.truth == same.truth
    assert one.paths == same.paths
    assert (one.shows_pit == same.shows_pit).all()
    assert one.paths != other.paths
    assert one.truth.leaks != other.truth.leaks


def test_without_faults_none_are_named() -> None:
    found = plan(label_noise=0)
    assert list(found.exact_copies()) == []
    assert found.truth == Truth(images=400, size=128, seed=3, val_share=0.25)


# Of 12 images with a val_share of a half, each split holds 3 of each class (46 % of 6 is 2.76).


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        ("leaks", 6),
        ("contradictions", 6),
        ("duplicates", 4),  # one of each three is left over
        ("near_duplicates", 4),
        ("blanks", 12),
        ("corrupt", 12),
    ],
)
def test_as_many_faults_as_files_allow_and_no_more(fault: str, most: int) -> None:
    found = plan(12, label_noise=0, val_share=0.5, **{fault: most})
    assert len(getattr(found.truth, fault)) == most
    with pytest.raises(InputError) as caught:
        plan(12, label_noise=0, val_share=0.5, **{fault: most + 1})
    assert str(caught.value) == (
        "images: too few for these faults, no files of the right split and class are left for "
        f"{fault}: ask for more images or for fewer faults"
    )


def test_the_smaller_split_bounds_the_leaks() -> None:
    # 10 files in train and 2 in val, one of each class.
    assert len(plan(12, label_noise=0, val_share=1 / 6, leaks=2).truth.leaks) == 2
    with pytest.raises(InputError, match="left for leaks"):
        plan(12, label_noise=0, val_share=1 / 6, leaks=3)


def test_label_noise_is_rounded_to_whole_files() -> None:
    assert len(plan(400, label_noise=0.0065).truth.label_noise) == 3  # of 2.6


def test_label_noise_takes_files_that_no_fault_has() -> None:
    assert len(plan(12, label_noise=0.5, val_share=0.5, leaks=3).truth.label_noise) == 6
    with pytest.raises(InputError, match="left for label_noise"):
        plan(12, label_noise=0.5, val_share=0.5, leaks=4)


# truth.json


def test_truth_survives_json(faulty: Plan, tmp_path: Path) -> None:
    document = faulty.truth.to_json()
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    assert json.loads(path.read_text()) == document  # of JSON's own types: lists, no tuples
    assert Truth.read(path) == faulty.truth
    assert document["leaks"][0] == list(faulty.truth.leaks[0])


def test_a_truth_without_faults_reads_from_its_four_keys() -> None:
    document = {"images": 4, "size": 64, "seed": 0, "val_share": 0.5}
    assert Truth.from_json(document).to_json() == document | {
        "version": GENERATOR_VERSION,
        "label_noise": [],
        "leaks": [],
        "duplicates": [],
        "near_duplicates": [],
        "contradictions": [],
        "blanks": [],
        "corrupt": [],
    }


@pytest.mark.parametrize(
    "document",
    [
        {"images": 4, "size": 64, "seed": 0},
        {"images": 4, "size": 64, "seed": 0, "val_share": 0.5, "scratches": []},
        [],
        "text",
        None,
    ],
    ids=["missing", "unknown", "list", "text", "null"],
)
def test_another_document_is_refused(document, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"^truth\.json: not the truth of a synthetic set"):
        Truth.read(path)


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    with pytest.raises(InputError) as caught:
        Truth.read(path)
    assert str(caught.value) == f"{path}: no such file"
    path.write_text('{"images": 4')
    with pytest.raises(InputError) as caught:
        Truth.read(path)
    assert str(caught.value).startswith(f"{path}: not valid JSON (")
