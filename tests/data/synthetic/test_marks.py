from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drupe.data.discover import discover
from drupe.data.naming import Naming
from drupe.data.synthetic.generation import TRUTH_FILE, synthesise
from drupe.data.synthetic.marks import MARKS, add_split, add_stem, out_of_focus
from drupe.data.synthetic.rendering import render_crops
from drupe.data.synthetic.truth import SlicePlan, Truth, plan_files
from drupe.errors import InputError

NAMING = Naming(good=("clean",), group=r"camera-(\d+)")


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return render_crops(np.zeros(40, bool), 96, np.random.default_rng(4))


def marked(crops: np.ndarray, kind: str) -> np.ndarray:
    return np.stack([MARKS[kind](crop, np.random.default_rng(k)) for k, crop in enumerate(crops)])


def test_a_stem_is_bright_and_a_split_is_dark(clean: np.ndarray) -> None:
    change = {kind: marked(clean, kind).astype(int) - clean for kind in MARKS}
    assert np.all(change["split"] <= 0)
    assert change["stem"][..., 2].sum(axis=(1, 2)).min() > 0
    # Most marks are strong and small, a few are faint.
    for kind, where in (("stem", change["stem"][..., 2]), ("split", -change["split"][..., 2])):
        strongest = where.max(axis=(1, 2))
        assert np.median(strongest) > 90, kind
        assert 0 < np.mean(strongest < 60) < 0.3, kind
        area = np.count_nonzero(np.abs(change[kind]).max(axis=3) > 30, axis=(1, 2))
        assert area.max() < 0.08 * clean[0, :, :, 0].size, kind


@pytest.mark.parametrize("mark", [add_stem, add_split])
def test_marks_keep_green_empty_and_depend_on_their_seed_alone(clean: np.ndarray, mark) -> None:
    first, again, other = (mark(clean[0], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first.dtype == np.uint8
    assert not first[..., 1].any()


def test_a_crop_without_a_fruit_can_be_marked() -> None:
    assert add_stem(np.zeros((64, 64, 3), np.uint8), np.random.default_rng(0)).any()


def test_a_camera_out_of_focus_is_dim_and_blurred(clean: np.ndarray) -> None:
    for crop in clean[:5]:
        seen = out_of_focus(crop).astype(float)
        assert seen.sum() == pytest.approx(0.6 * crop.sum(), rel=0.02)
        sharpness = [
            np.abs(np.diff(one[..., 2].astype(float), axis=0)).max() for one in (seen, crop)
        ]
        assert sharpness[0] < 0.3 * sharpness[1]


def test_types_and_cameras_are_folders(tmp_path: Path) -> None:
    truth = synthesise(tmp_path / "set", images=240, size=32, types=3, groups=4, bad_group=2)
    assert (truth.types, truth.bad_group) == (("pit", "stem", "split"), "camera-2")
    assert Truth.read(tmp_path / "set" / TRUTH_FILE) == truth
    listing = discover(tmp_path / "set", NAMING)
    assert len(listing.paths) == 240
    types = Counter(listing.types)
    assert set(types) == {"", "pit", "stem", "split"}
    assert types[""] == 129  # 54 % of each split
    assert min(types.values()) > 20
    assert set(listing.groups) == {"1", "2", "3", "4"}
    levels = {
        group: np.mean(
            [
                np.asarray(Image.open(listing.root / path)).mean()
                for path, one in zip(listing.paths, listing.groups, strict=True)
                if one == group
            ]
        )
        for group in ("1", "2")
    }
    assert levels["2"] < 0.75 * levels["1"]


def test_what_is_asked_for_by_default_is_as_ever(tmp_path: Path) -> None:
    plain = synthesise(tmp_path / "plain", images=40, size=32, label_noise=0.1, leaks=2)
    assert set(plain.to_json()) & {"types", "groups", "bad_group", "shows"} == set()
    grouped = plan_files(40, 32, 0, 0.1, 0.25, {"leaks": 2}, SlicePlan(groups=2))
    files = [
        path.relative_to(tmp_path / "plain").as_posix()
        for path in sorted((tmp_path / "plain").rglob("*.png"))
    ]
    assert sorted(
        path.replace("camera-1/", "").replace("camera-2/", "") for path in grouped.paths
    ) == (files)


def test_copies_have_the_type_and_the_camera_of_their_original() -> None:
    faults = {"leaks": 10, "duplicates": 20, "near_duplicates": 20, "contradictions": 10}
    plan = plan_files(600, 32, 5, 0.05, 0.25, faults, SlicePlan(3, 4, 1))

    def places(path: str) -> tuple[str, str]:
        _, of_class, camera, _ = path.split("/")
        return of_class, camera

    truth = plan.truth
    for original, copy, *_ in (*truth.leaks, *truth.duplicates, *truth.near_duplicates):
        assert places(original) == places(copy)
    for original, copy in truth.contradictions:
        assert (places(original)[0] == "clean") != (places(copy)[0] == "clean")
        assert places(original)[1] == places(copy)[1]
    number = {path: k for k, path in enumerate(plan.paths)}
    assert [path for path, _ in truth.shows] == list(truth.label_noise)
    for path, shown in truth.shows:
        assert plan.shown_type(number[path]) == ("" if shown == "clean" else shown)
        assert (places(path)[0] == "clean") != (shown == "clean")
    others = set(plan.paths) - set(truth.label_noise)
    assert all((plan.shown_type(number[path]) or "clean") == places(path)[0] for path in others)


def test_limits(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        synthesise(tmp_path / "set", types=4, groups=2, bad_group=3)
    assert caught.value.problems == (
        "types: must be in [1, 3], got 4",
        "bad_group: must be in [0, 2], got 3",
    )
