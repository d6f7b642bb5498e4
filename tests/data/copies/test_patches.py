from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from drupe.data.copies.patches import (
    ANGLES,
    CONTENT_LEVEL,
    FRAME,
    RINGS,
    TEXTURE_FLOOR,
    WINDOW,
    bilinear_taps,
    polar,
    silhouettes,
    textures,
    window,
)

MIDDLE = WINDOW // 2


def disc(radius: float = 24.0) -> np.ndarray:
    """A disc in the middle of the window: bool [W, W]."""
    y, x = np.mgrid[:WINDOW, :WINDOW] - (WINDOW - 1) / 2
    return np.hypot(y, x) <= radius


def grain(seed: int, count: int = 1) -> np.ndarray:
    """Textured discs on black: uint8 [count, W, W, 2]."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, WINDOW // 2, WINDOW // 2, 2)).repeat(2, 1).repeat(2, 2)
    light = np.clip(130 + 30 * coarse, 30, 250) * disc()[..., None]
    return light.astype(np.uint8)


# window: cut around the content's centre of mass


def test_the_window_is_centred_on_the_content_and_keeps_its_pixels() -> None:
    image = np.zeros((100, 120, 3), dtype=np.uint8)
    random = np.random.default_rng(0)
    # 20 rows from 30 on and 10 columns from 70 on: the centre is (39.5, 74.5), of the window 31.5.
    image[30:50, 70:80] = random.integers(80, 256, (20, 10, 3))
    expected = np.zeros((WINDOW, WINDOW, 2), dtype=np.uint8)
    block = image[30:50, 70:80]
    expected[22:42, 27:37, 0] = np.maximum(block[..., 0], block[..., 1])
    expected[22:42, 27:37, 1] = np.maximum(block[..., 1], block[..., 2])
    np.testing.assert_array_equal(window(image), expected)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 90), (70, 0), (70, 90)])
def test_beyond_the_border_the_window_is_black(row: int, column: int) -> None:
    image = np.zeros((80, 100, 3), dtype=np.uint8)
    image[row : row + 10, column : column + 10] = 200
    found = window(image)
    expected = np.zeros((WINDOW, WINDOW, 2), dtype=np.uint8)
    expected[27:37, 27:37] = 200
    np.testing.assert_array_equal(found, expected)


def test_a_bright_spot_pulls_the_window_no_more_than_other_content() -> None:
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[40:60, 40:60] = 64
    plain = window(image)
    image[40:44, 40:44] = 255
    np.testing.assert_array_equal(window(image) > 0, plain > 0)


def test_a_dark_ground_does_not_pull_the_window() -> None:
    image = np.full((100, 100, 3), CONTENT_LEVEL, dtype=np.uint8)
    image[60:80, 10:30] = 200
    found = window(image)
    rows, columns = np.nonzero(found[..., 0] == 200)
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (22, 41)


def test_without_content_the_window_lies_in_the_middle() -> None:
    image = np.zeros((101, 101, 3), dtype=np.uint8)
    image[50, 50] = CONTENT_LEVEL  # at the level is not yet above it
    found = window(image)
    rows, columns = np.nonzero(found[..., 0])
    # The middle, 50, lies between the window's two middle pixels; either one is right.
    assert rows.tolist() == columns.tolist()
    assert rows[0] in (MIDDLE - 1, MIDDLE)


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 200), (150, 300)])
def test_larger_images_are_shrunk_to_the_frame(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), dtype=np.uint8)
    scale = FRAME / max(height, width)
    # A square of about 30 pixels of the frame.
    side = round(30 / scale)
    image[20 : 20 + side, 30 : 30 + side] = 180
    found = window(image)[..., 0] / 180
    assert found.sum() == pytest.approx((side * scale) ** 2, rel=0.02)
    rows, columns = (np.arange(WINDOW) @ found.sum(axis=axis) / found.sum() for axis in (1, 0))
    assert abs(rows - 31.5) <= 0.55
    assert abs(columns - 31.5) <= 0.55


def test_an_image_as_large_as_the_frame_keeps_its_pixels() -> None:
    random = np.random.default_rng(1)
    image = np.zeros((FRAME, FRAME, 3), dtype=np.uint8)
    image[50:70, 50:70] = random.integers(100, 256, (20, 20, 3))
    expected = np.maximum(image[50:70, 50:70, 0], image[50:70, 50:70, 1])
    np.testing.assert_array_equal(window(image)[22:42, 22:42, 0], expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (3, 500)])
def test_odd_shapes_still_give_a_window(shape: tuple[int, int]) -> None:
    found = window(np.full((*shape, 3), 200, dtype=np.uint8))
    assert found.shape == (WINDOW, WINDOW, 2)
    assert found.max() == 200


# silhouettes and textures


def test_the_silhouette_is_where_either_channel_is_above_the_level() -> None:
    windows = np.zeros((1, WINDOW, WINDOW, 2), dtype=np.uint8)
    windows[0, 3, 4] = (CONTENT_LEVEL + 1, 0)
    windows[0, 5, 6] = (0, CONTENT_LEVEL + 1)
    windows[0, 7, 8] = CONTENT_LEVEL
    assert np.argwhere(silhouettes(windows)[0]).tolist() == [[3, 4], [5, 6]]


def test_texture_lies_inside_the_content_only_and_is_about_one_in_size() -> None:
    windows = grain(2)
    texture, inside = textures(windows)
    assert texture.shape == (1, 2, WINDOW, WINDOW)
    assert texture.dtype == np.float32
    assert inside.shape == (1, WINDOW, WINDOW)
    assert not texture[:, :, ~inside[0]].any()
    # Away from the edge by about a pixel or two: a narrower disc at least, a wider one at most.
    assert inside[0][disc(20)].all()
    assert not inside[0][~disc(23.5)].any()
    power = np.square(texture[:, :, inside[0]]).sum(axis=1).mean()
    assert 0.6 < np.sqrt(power) < 1.1


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(image, sigma, mode="constant", radius=int(3 * sigma))


def test_texture_agrees_with_scipys_filters() -> None:
    windows = grain(13)
    light = windows[0].astype(float)
    content = (light.max(axis=2) > CONTENT_LEVEL).astype(float)
    inside = blurred(content, 1.2) > 0.95
    fine = np.empty((2, WINDOW, WINDOW))
    for channel in range(2):
        masked = light[..., channel] * content
        smooth = blurred(masked, 2.0) / (blurred(content, 2.0) + 1e-3)
        fine[channel] = blurred((light[..., channel] - smooth) * content, 0.7)
    power = np.square(fine).sum(axis=0) * inside
    strength = blurred(power, 4.0) / (blurred(inside.astype(float), 4.0) + 1e-3)
    expected = fine / (np.sqrt(strength) + 2.0) * inside
    texture, found_inside = textures(windows)
    np.testing.assert_array_equal(found_inside[0], inside)
    np.testing.assert_allclose(texture[0], expected, atol=1e-3)


def test_a_texture_does_not_touch_its_neighbours_in_the_batch() -> None:
    windows = grain(3, 4)
    together, inside = textures(windows)
    for index in range(4):
        alone, inside_alone = textures(windows[index : index + 1])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-5)
        np.testing.assert_array_equal(inside[index], inside_alone[0])


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_light_and_its_slope_are_taken_out() -> None:
    windows = grain(4)
    slope = np.linspace(0.5, 0.9, WINDOW)[None, None, :, None]
    relit = (windows * slope).astype(np.uint8)
    (one, other), _ = textures(np.concatenate([windows, relit]))
    assert correlation(one, other) > 0.98
    assert np.std(other) / np.std(one) == pytest.approx(1, abs=0.1)


def test_different_grain_gives_unrelated_texture() -> None:
    (one, other), _ = textures(grain(5, 2))
    assert abs(correlation(one, other)) < 0.15


def test_even_content_has_no_texture() -> None:
    even = np.repeat((disc() * np.uint8(150))[None, :, :, None], 2, axis=3)
    texture, inside = textures(even)
    power = np.square(texture[:, :, inside[0]]).sum(axis=1).mean()
    assert np.sqrt(power) < TEXTURE_FLOOR


def test_black_windows_give_zeros() -> None:
    texture, inside = textures(np.zeros((1, WINDOW, WINDOW, 2), dtype=np.uint8))
    assert not texture.any()
    assert not inside.any()


# bilinear taps and the polar grid


def interpolated(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    index, weight = bilinear_taps(y, x)
    return (image.ravel()[index] * weight).sum(axis=0)


def test_taps_interpolate_exactly_what_is_bilinear() -> None:
    rows, columns = np.mgrid[:WINDOW, :WINDOW]
    image = 3.0 + 0.5 * rows - 0.25 * columns + 0.125 * rows * columns
    y, x = np.random.default_rng(6).uniform(0, WINDOW - 1, (2, 500))
    expected = 3.0 + 0.5 * y - 0.25 * x + 0.125 * y * x
    np.testing.assert_allclose(interpolated(image, y, x), expected, atol=1e-3)


def test_taps_at_whole_pixels_give_the_pixels_and_the_last_ones_too() -> None:
    image = np.random.default_rng(7).normal(size=(WINDOW, WINDOW))
    y, x = np.mgrid[:WINDOW, :WINDOW].astype(float)
    np.testing.assert_allclose(interpolated(image, y, x), image, atol=1e-12)


def test_taps_outside_take_the_nearest_border() -> None:
    image = np.random.default_rng(8).normal(size=(WINDOW, WINDOW))
    last = WINDOW - 1
    y, x = np.array([-5.0, last + 3.0, 7.0]), np.array([-2.0, last + 9.0, last + 1.5])
    expected = [image[0, 0], image[last, last], image[7, last]]
    np.testing.assert_allclose(interpolated(image, y, x), expected, atol=1e-12)


def test_taps_keep_any_shape_and_their_weights_sum_to_one() -> None:
    y, x = np.random.default_rng(9).uniform(-3, WINDOW + 3, (2, 4, 5, 6))
    index, weight = bilinear_taps(y, x)
    assert index.shape == weight.shape == (4, 4, 5, 6)
    assert index.min() >= 0
    assert index.max() < WINDOW * WINDOW
    np.testing.assert_allclose(weight.sum(axis=0), 1, atol=1e-6)


def test_the_polar_grid_of_a_slope_is_known_in_closed_form() -> None:
    rows, columns = np.mgrid[:WINDOW, :WINDOW] - (WINDOW - 1) / 2
    found = polar(np.stack([columns, rows])[None].astype(np.float32))
    # Ring r lies at 31 (r + 1/2) / 16 pixels, clockwise from the right as rows run downwards.
    radius = 31.0 * (np.arange(RINGS) + 0.5)[:, None] / RINGS
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    expected *= np.sqrt(radius / 31.0)[..., None]
    assert found.shape == (1, RINGS, ANGLES, 2)
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_shifts_the_grid_by_a_quarter(turns: int) -> None:
    images = np.random.default_rng(10).normal(size=(2, 2, WINDOW, WINDOW)).astype(np.float32)
    turned = np.ascontiguousarray(np.rot90(images, turns, axes=(2, 3)))
    expected = np.roll(polar(images), -turns * ANGLES // 4, axis=2)
    np.testing.assert_allclose(polar(turned), expected, atol=1e-5)


def test_a_flip_top_to_bottom_reverses_the_angles() -> None:
    images = np.random.default_rng(11).normal(size=(1, 2, WINDOW, WINDOW)).astype(np.float32)
    flipped = np.ascontiguousarray(images[:, :, ::-1])
    expected = polar(images)[:, :, -np.arange(ANGLES) % ANGLES]
    np.testing.assert_allclose(polar(flipped), expected, atol=1e-5)


def test_an_angle_of_the_grid_shifts_it_by_one_for_smooth_images() -> None:
    random = np.random.default_rng(12)
    smooth = Image.fromarray(random.normal(size=(8, 8)).astype(np.float32))
    image = smooth.resize((WINDOW, WINDOW), Image.Resampling.BICUBIC)
    turned = image.rotate(360 / ANGLES, Image.Resampling.BICUBIC)  # counter-clockwise
    one, other = (
        polar(np.repeat(np.asarray(picture)[None, None], 2, axis=1)) for picture in (image, turned)
    )
    within = slice(0, RINGS - 2)  # the corners of the turned image are black
    assert correlation(np.roll(one, -1, axis=2)[:, within], other[:, within]) > 0.999
