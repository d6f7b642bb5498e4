from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from drupe.data.copies import near_duplicates
from drupe.data.copies.alignment import compare
from drupe.data.copies.near_duplicates import NearPairs, find_near_duplicates
from drupe.data.copies.patches import ANGLES, polar, window
from drupe.data.copies.sketches import Sketches

SIDE = 96


def fruit(random: np.random.Generator, radius: float = 26.0) -> np.ndarray:
    """A textured ellipse with a soft edge on black: uint8 [SIDE, SIDE, 3]."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2 + random.uniform(-6, 6, (2, 1, 1))
    distance = np.hypot(y, x * random.uniform(0.8, 1.0)) - radius
    light = np.zeros((SIDE, SIDE, 3))
    for channel in (0, 2):
        grain = random.normal(size=(SIDE, SIDE))
        blurred = np.asarray(
            Image.fromarray(grain.astype(np.float32))
            .resize((SIDE // 3, SIDE // 3))
            .resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        )
        light[..., channel] = 140 + 60 * blurred
    return (light.clip(30, 250) / (1 + np.exp(distance))[..., None]).astype(np.uint8)


@pytest.fixture(scope="module")
def fruits() -> np.ndarray:
    random = np.random.default_rng(4)
    return np.stack([fruit(random) for _ in range(60)])


def search(images: np.ndarray) -> NearPairs:
    windows = np.stack([window(image) for image in images])
    with Sketches(len(images)) as sketches:
        sketches.draw(0, windows)
        return find_near_duplicates(sketches, lambda indices: windows[indices])


def altered(image: np.ndarray, turns: int, flip: bool, random: np.random.Generator) -> np.ndarray:
    turned = np.rot90(image[:, ::-1] if flip else image, turns)
    moved = np.roll(turned, random.integers(-2, 3, 2), axis=(0, 1))
    noisy = moved * random.uniform(0.95, 1.05) + random.normal(0, 1.5, moved.shape)
    return np.where(moved > 0, noisy.clip(0, 255), 0).astype(np.uint8)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_every_position_is_found_and_nothing_else(fruits, turns: int, flip: bool) -> None:
    random = np.random.default_rng(turns)
    copies = np.stack([altered(image, turns, flip, random) for image in fruits[:10]])
    found = search(np.concatenate([fruits, copies])).copies
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == {(index, 60 + index) for index in range(10)}
    assert (found.flipped == flip).all()
    # Angles run clockwise, since rows run downwards: a flip left to right is one top to bottom
    # and half a turn.
    expected = (90 * turns + 180 * flip * (1 if turns % 2 == 0 else 0)) % 360
    assert np.abs((found.degrees - expected + 180) % 360 - 180).max() < 3


@pytest.mark.parametrize("degrees", [10, 33, 71])
def test_other_angles_are_found_too(fruits, degrees: int) -> None:
    copies = [
        np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC))
        for image in fruits[:10]
    ]
    found = search(np.concatenate([fruits, np.stack(copies)])).copies
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs <= {(index, 60 + index) for index in range(10)}
    assert len(pairs) >= 9  # resampling takes some of the fine texture away
    assert np.abs(found.degrees - degrees).max() < 3


def test_unlike_fruit_are_not_paired_however_alike_their_outlines(fruits) -> None:
    found = search(fruits)
    assert len(found.copies) == 0
    assert found.nominated > 0


def test_images_without_content_or_texture_are_not_paired() -> None:
    found = search(np.stack([np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (0, 0, 90, 90)]))
    assert len(found.copies) == 0


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_sets_work(fruits, count: int) -> None:
    windows = np.stack([window(image) for image in fruits])[:count]
    with Sketches(count) as sketches:
        sketches.draw(0, windows)
        found = find_near_duplicates(sketches, lambda indices: windows[indices])
    assert len(found.copies) == 0


def test_cells_find_what_the_exhaustive_search_finds(fruits, monkeypatch) -> None:
    random = np.random.default_rng(0)
    images = np.concatenate([fruits, [altered(image, 1, False, random) for image in fruits]])
    whole = search(images).copies
    assert len(whole) == 60
    monkeypatch.setattr(near_duplicates, "CELL", 10)
    celled = search(images).copies
    assert set(celled.first.tolist()) == set(whole.first.tolist())


def test_a_cell_too_full_is_cut_and_counted(fruits, monkeypatch) -> None:
    monkeypatch.setattr(near_duplicates, "LARGEST_CELL", 20)
    assert search(fruits).crowded == 60


def test_pairs_beyond_the_limit_are_dropped_and_counted(fruits, monkeypatch) -> None:
    monkeypatch.setattr(near_duplicates, "SIFTED", -1.0)
    found = search(fruits)
    assert found.sifted == 60
    assert found.dropped > 0


def test_a_pair_nominated_in_several_cells_counts_once(fruits, monkeypatch) -> None:
    monkeypatch.setattr(near_duplicates, "CELL", 10)
    whole = search(fruits)
    assert 0 < whole.nominated <= 60 * 59 // 2
    monkeypatch.setattr(near_duplicates, "_PENDING", 0)
    assert search(fruits).nominated == whole.nominated


@pytest.mark.parametrize("joined", [1, 2])
def test_pairs_dropped_as_the_search_goes_are_those_dropped_at_its_end(
    fruits, monkeypatch, joined: int
) -> None:
    """The limit keeps those that agree best among all, however often it is applied."""
    monkeypatch.setattr(near_duplicates, "SIFTED", -1.0)
    monkeypatch.setattr(near_duplicates, "CHUNK", 7)
    kept: list[near_duplicates._Sifted] = []
    confirm = near_duplicates._confirm

    def noted(sifted, *rest):
        kept.append(sifted)
        return confirm(sifted, *rest)

    monkeypatch.setattr(near_duplicates, "_confirm", noted)
    monkeypatch.setattr(near_duplicates, "SIFTED_PER_IMAGE", 10**6)
    search(fruits)
    monkeypatch.setattr(near_duplicates, "SIFTED_PER_IMAGE", 2)
    monkeypatch.setattr(near_duplicates, "_JOINED", joined)
    found = search(fruits)
    every, best = kept
    rows = np.sort(np.argsort(-every.height, kind="stable")[:120])
    for column in ("first", "second", "flipped", "step", "height"):
        np.testing.assert_array_equal(getattr(best, column), getattr(every, column)[rows])
    assert (found.sifted, found.dropped) == (120, len(every.height) - 120)


def test_of_pairs_that_agree_equally_the_first_are_kept() -> None:
    height = np.array([0.7, 0.9, 0.8, 0.8, 0.6, 0.8], np.float32)
    rows = np.arange(6)
    pairs = near_duplicates._Sifted(rows, rows + 1, rows > 2, rows, height)
    for most, kept in (
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (5, [0, 1, 2, 3, 5]),
        (9, [*range(6)]),
    ):
        assert pairs.strongest(most).first.tolist() == kept


def test_candidates_limit_the_search(fruits) -> None:
    windows = np.stack(
        [window(image) for image in [fruits[0], fruits[0][::-1], fruits[0][:, ::-1]]]
    )
    with Sketches(3) as sketches:
        sketches.draw(0, windows)
        found = find_near_duplicates(sketches, lambda i: windows[i], np.array([0, 2])).copies
    assert (found.first.tolist(), found.second.tolist()) == ([0], [2])


def test_a_quarter_turn_shifts_the_polar_grid_by_a_quarter(fruits) -> None:
    image = window(fruits[0]).transpose(2, 0, 1)[None].astype(np.float32)
    upright, turned = polar(image), polar(np.rot90(image, axes=(2, 3)))
    np.testing.assert_allclose(turned, np.roll(upright, -ANGLES // 4, axis=2), atol=1e-2)


def test_window_follows_the_content(fruits) -> None:
    moved = np.zeros((200, 180, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        window(np.pad(fruits[0], ((0, 20), (15, 0), (0, 0)))), window(fruits[0])
    )
    moved[20 : 20 + SIDE, 60 : 60 + SIDE] = fruits[0]
    assert window(moved).shape == (64, 64, 2)


def test_an_image_agrees_with_itself_entirely(fruits) -> None:
    windows = np.stack([window(image) for image in fruits[:4]])
    found = compare(windows, windows, np.zeros(4, dtype=np.intp), np.zeros(4, dtype=bool))
    np.testing.assert_allclose(found.correlation, 1.0, atol=1e-5)
    np.testing.assert_allclose(found.overlap, 1.0, atol=1e-5)
    assert found.confirmed.all()
