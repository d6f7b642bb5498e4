from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from drupe.data.copies.alignment import (
    ALIKE_EVIDENCE,
    ALIKE_OVERLAP,
    CORRELATION,
    EVIDENCE,
    OVERLAP,
    SHIFT,
    Agreement,
    compare,
)
from drupe.data.copies.patches import ANGLES, WINDOW, textures

QUARTER = ANGLES // 4
STEP = 360 / ANGLES  # degrees


def fruit(seed: int, radius: float = 24.0, grain: int = 2) -> np.ndarray:
    """A textured disc with a soft edge in the middle of a window: uint8 [W, W, 2]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:WINDOW, :WINDOW] - (WINDOW - 1) / 2
    light = np.empty((WINDOW, WINDOW, 2))
    for channel in range(2):
        coarse = random.normal(size=(WINDOW // grain, WINDOW // grain)).astype(np.float32)
        fine = Image.fromarray(coarse).resize((WINDOW, WINDOW), Image.Resampling.BICUBIC)
        light[..., channel] = 140 + 40 * np.asarray(fine)
    edge = 1 / (1 + np.exp(np.hypot(y, x) - radius))
    return (light.clip(40, 250) * edge[..., None]).astype(np.uint8)


@pytest.fixture(scope="module")
def fruits() -> np.ndarray:
    return np.stack([fruit(seed) for seed in range(6)])


def compared(
    first: np.ndarray, second: np.ndarray, step: int = 0, *, flipped: bool = False
) -> Agreement:
    """Compare all pairs at one and the same turn."""
    count = len(first)
    return compare(first, second, np.full(count, step), np.full(count, flipped))


def rotated(windows: np.ndarray, degrees: float) -> np.ndarray:
    """Windows turned counter-clockwise with Pillow's bicubic filter."""
    channels = [
        [
            np.asarray(
                Image.fromarray(image[..., channel]).rotate(degrees, Image.Resampling.BICUBIC)
            )
            for channel in range(2)
        ]
        for image in windows
    ]
    return np.moveaxis(np.array(channels), 1, 3)


def test_a_window_agrees_with_itself(fruits: np.ndarray) -> None:
    found = compared(fruits, fruits)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-4)
    np.testing.assert_allclose(found.overlap, 1, atol=1e-6)
    assert (found.degrees == 0).all()
    assert found.confirmed.all()
    assert not found.alike.any()


def test_evidence_is_fishers_of_the_pixels_compared(fruits: np.ndarray) -> None:
    found = compared(fruits, fruits)
    pixels = textures(fruits)[1].sum(axis=(1, 2))
    # r = 1 counts as 0.9999, whose atanh is ln(1.9999 / 0.0001) / 2.
    expected = np.log(1.9999 / 0.0001) / 2 * np.sqrt(pixels)
    np.testing.assert_allclose(found.evidence, expected, rtol=1e-4)


@pytest.mark.parametrize("flip", [False, True], ids=["plain", "flipped"])
@pytest.mark.parametrize("turns", range(4))
def test_quarter_turns_and_flips_are_undone(fruits: np.ndarray, turns: int, flip: bool) -> None:
    copies = fruits[:, ::-1] if flip else fruits  # top to bottom: α becomes −α
    copies = np.rot90(copies, turns, axes=(1, 2))
    # np.rot90 turns counter-clockwise, by which content at α comes to α − 90° (rows run down).
    step = turns * QUARTER
    found = compared(fruits, copies, -step if flip else step, flipped=flip)
    np.testing.assert_allclose(found.correlation, 1, atol=1e-3)
    np.testing.assert_allclose(found.degrees, (-90 if flip else 90) * turns % 360)
    assert found.confirmed.all()


@pytest.mark.parametrize(("step", "flipped"), [(0, True), (QUARTER, False), (2 * QUARTER, True)])
def test_at_the_wrong_turn_nothing_agrees(fruits: np.ndarray, step: int, flipped: bool) -> None:
    found = compared(fruits, fruits, step, flipped=flipped)
    assert (found.correlation < 0.5).all()
    assert not (found.confirmed | found.alike).any()


@pytest.mark.parametrize("degrees", [15.0, 30.0, 101.25])
def test_whole_steps_are_recovered(fruits: np.ndarray, degrees: float) -> None:
    found = compared(fruits, rotated(fruits, degrees), round(degrees / STEP))
    np.testing.assert_allclose(found.degrees, degrees)
    assert (found.overlap > 0.97).all()
    assert (found.correlation > 0.8).all()


@pytest.mark.parametrize(("half", "step"), [(0.5, 8), (-0.5, 8), (-0.5, 0)])
def test_half_a_step_beside_is_recovered(fruits: np.ndarray, half: float, step: int) -> None:
    degrees = (step + half) * STEP
    found = compared(fruits, rotated(fruits, degrees), step)
    np.testing.assert_allclose(found.degrees, degrees % 360)


@pytest.mark.parametrize(("down", "right"), [(2, -2), (-1, 2), (0, 1), (-2, -2), (2, 2)])
def test_shifts_are_undone(fruits: np.ndarray, down: int, right: int) -> None:
    found = compared(fruits, np.roll(fruits, (down, right), axis=(1, 2)))
    np.testing.assert_allclose(found.correlation, 1, atol=1e-4)
    np.testing.assert_allclose(found.overlap, 1, atol=1e-6)
    assert found.confirmed.all()


@pytest.mark.parametrize(("down", "right"), [(SHIFT + 1, 0), (0, -SHIFT - 1)])
def test_a_larger_shift_is_no_copy(fruits: np.ndarray, down: int, right: int) -> None:
    found = compared(fruits, np.roll(fruits, (down, right), axis=(1, 2)))
    assert not found.confirmed.any()


def test_each_pair_has_its_own_turn_flip_and_shift(fruits: np.ndarray) -> None:
    copies = np.stack(
        [
            fruits[0],
            np.rot90(fruits[1]),
            fruits[2, ::-1],
            np.roll(fruits[3], (1, -2), axis=(0, 1)),
            np.roll(np.rot90(fruits[4], 3), (-2, 1), axis=(0, 1)),
            fruits[0],  # another fruit
        ]
    )
    steps = np.array([0, QUARTER, 0, 0, 3 * QUARTER, 0])
    flipped = np.array([False, False, True, False, False, False])
    found = compare(fruits, copies, steps, flipped)
    assert found.confirmed.tolist() == [True] * 5 + [False]
    assert found.degrees[:5].tolist() == [0, 90, 0, 0, 270]


def test_light_and_noise_leave_a_copy_confirmed(fruits: np.ndarray) -> None:
    noise = np.random.default_rng(1).normal(0, 1.5, fruits.shape)
    relit = np.where(fruits > 0, (fruits * 0.96 + noise).clip(0, 255), 0).astype(np.uint8)
    found = compared(fruits, relit)
    assert (found.correlation >= 0.97).all()  # as measured beside CORRELATION
    assert (found.correlation < 0.9999).all()
    assert found.confirmed.all()


def test_different_fruit_of_one_shape_are_not_copies(fruits: np.ndarray) -> None:
    found = compared(fruits, np.roll(fruits, 1, axis=0))
    assert (found.overlap > 0.8).all()  # less than 1 by the shift that texture asked for
    assert (found.correlation < 0.5).all()
    assert not (found.confirmed | found.alike).any()


@pytest.mark.parametrize("cut_first", [False, True])
def test_the_same_texture_in_another_silhouette_is_not_a_copy(
    fruits: np.ndarray, cut_first: bool
) -> None:
    cut = fruits.copy()
    cut[:, : WINDOW // 2 - 12] = 0
    found = compared(cut, fruits) if cut_first else compared(fruits, cut)
    assert (found.correlation > CORRELATION).all()
    whole = (fruits.max(axis=3) > 16)[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    left = (cut.max(axis=3) > 16)[:, SHIFT:-SHIFT, SHIFT:-SHIFT]
    expected = (whole & left).sum(axis=(1, 2)) / whole.sum(axis=(1, 2))
    np.testing.assert_allclose(found.overlap, expected, atol=0.01)
    assert not found.confirmed.any()


def test_beyond_the_window_a_turned_content_is_black() -> None:
    full = fruit(0, radius=100)[None]
    found = compared(full, full, ANGLES // 8)
    # A square of half side 32, turned by 45°, covers one of 30 but for four corners whose legs
    # are 60 − 32 √2 pixels long.
    expected = 1 - 2 * (60 - 32 * np.sqrt(2)) ** 2 / 60**2
    np.testing.assert_allclose(found.overlap, expected, atol=0.03)


def test_a_small_object_has_less_evidence() -> None:
    small = np.stack([fruit(seed, radius=7) for seed in range(3)])
    noise = np.random.default_rng(2).normal(0, 16, small.shape)
    noisy = np.where(small > 0, (small + noise).clip(0, 255), 0).astype(np.uint8)
    found = compared(small, noisy)
    assert (found.correlation >= CORRELATION).all()
    assert (found.evidence < EVIDENCE).all()
    assert not found.confirmed.any()


def test_a_channel_without_texture_leaves_the_other_to_speak(fruits: np.ndarray) -> None:
    dark = fruits.copy()
    dark[..., 1] = 0
    np.testing.assert_allclose(compared(dark, dark).correlation, 1, atol=1e-4)


def test_even_and_black_windows_agree_with_nothing() -> None:
    y, x = np.mgrid[:WINDOW, :WINDOW] - (WINDOW - 1) / 2
    even = np.repeat(((np.hypot(y, x) < 24) * np.uint8(150))[None, ..., None], 2, axis=3)
    found = compared(np.concatenate([even, 0 * even]), np.concatenate([even, 0 * even]))
    assert found.correlation.tolist() == [0, 0]
    assert found.evidence.tolist() == [0, 0]
    np.testing.assert_allclose(found.overlap, [1, 0], atol=1e-6)
    assert not (found.confirmed | found.alike).any()


# The bounds themselves, each met exactly and missed by the next float32.

LEAST = {"correlation": CORRELATION, "overlap": OVERLAP, "evidence": EVIDENCE}


def at(**values: float) -> Agreement:
    columns = {name: np.float32([value]) for name, value in (LEAST | values).items()}
    # The bounds are no float32: the first one not below each.
    for name, column in columns.items():
        if column[0] < (LEAST | values)[name]:
            columns[name] = np.nextafter(column, np.float32(np.inf))
    return Agreement(**columns, degrees=np.zeros(1, dtype=np.float32))


def test_on_all_three_bounds_a_pair_is_confirmed_and_not_also_alike() -> None:
    assert at().confirmed.tolist() == [True]
    assert at().alike.tolist() == [False]


@pytest.mark.parametrize("name", LEAST)
def test_below_any_bound_a_pair_is_only_alike(name: str) -> None:
    value = getattr(at(), name)
    below = replace(at(), **{name: np.nextafter(value, np.float32(0)) - np.float32(1e-6)})
    assert below.confirmed.tolist() == [False]
    assert below.alike.tolist() == [True]


@pytest.mark.parametrize(
    ("values", "alike"),
    [
        ({"evidence": ALIKE_EVIDENCE, "overlap": ALIKE_OVERLAP}, True),
        ({"evidence": ALIKE_EVIDENCE - 0.01, "overlap": ALIKE_OVERLAP}, False),
        ({"evidence": ALIKE_EVIDENCE, "overlap": ALIKE_OVERLAP - 0.01}, False),
        ({"evidence": ALIKE_EVIDENCE, "correlation": 0.1}, True),
    ],
)
def test_a_pair_is_alike_by_evidence_and_silhouette(values: dict[str, float], alike: bool) -> None:
    assert at(**values).alike.tolist() == [alike]
