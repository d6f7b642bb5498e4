from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from scipy import ndimage, stats
from torchvision.transforms.v2 import functional as reference

from drupe.configuration import validate
from drupe.errors import InputError
from drupe.models.geometry import Geometry
from drupe.training.augmentation import (
    LUMA,
    Augment,
    AugmentationConfig,
    ColourChange,
    blur_some,
    extent,
    inverse_maps,
    line_kernels,
    recolour,
    warp,
)

SIZE = 64
OFF = AugmentationConfig.off()


def only(**changes: object) -> AugmentationConfig:
    return AugmentationConfig.model_validate({**OFF.model_dump(), **changes})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(n: int, size: int = SIZE, low: int = 0, high: int = 256, seed: int = 1) -> torch.Tensor:
    shape = (n, size, size, 3)
    return torch.randint(low, high, shape, dtype=torch.uint8, generator=seeded(seed))


def smooth(n: int, size: int = SIZE) -> torch.Tensor:
    blurred = ndimage.gaussian_filter(noise(n, size).numpy().astype(float), (0, 3, 3, 0))
    blurred = (blurred - blurred.min()) / np.ptp(blurred)
    return torch.from_numpy((255 * blurred).astype(np.uint8))


def channels_first(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float()


def change(n: int, **values: float) -> ColourChange:
    keep = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, **values}
    return ColourChange(**{k: torch.full((n,), v, dtype=torch.float64) for k, v in keep.items()})


def draws_for(config: AugmentationConfig, turn: float = 0.0) -> torch.Tensor:
    """Draws of one image: not flipped, turned by ``turn`` degrees, not zoomed, not shifted."""
    at = 0.5 + turn / (2 * config.rotation)
    return torch.tensor([0.9, 0.9, at, 0.5, 0.5, 0.5], dtype=torch.float64)[:, None]


# --- Configuration -------------------------------------------------------------------------------


def test_defaults_are_those_of_the_study() -> None:
    assert AugmentationConfig().model_dump() == {
        "flips": True,
        "rotation": 180.0,
        "shift": 0.10,
        "zoom": 0.10,
        "brightness": 0.30,
        "contrast": 0.30,
        "saturation": 0.20,
        "hue": 0.05,
        "motion_blur": 0.5,
        "blur_kernel": 5,
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rotation", 181),
        ("rotation", -1),
        ("shift", 0.6),
        ("zoom", 1.0),
        ("brightness", -0.1),
        ("contrast", 1.1),
        ("saturation", 2),
        ("hue", 0.51),
        ("motion_blur", 1.5),
        ("motion_blur", float("nan")),
        ("blur_kernel", 4),
        ("blur_kernel", 1),
        ("flips", "sometimes"),
        ("rotate", 10),
    ],
)
def test_wrong_values_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        AugmentationConfig.model_validate({key: value})


def test_a_mistake_names_key_range_and_value() -> None:
    with pytest.raises(
        InputError, match=r"shift: must be in \[0, 0\.5\], got 0\.9 \(study\.yaml\)"
    ):
        validate(AugmentationConfig, {"shift": 0.9}, "study.yaml")


# --- The whole -----------------------------------------------------------------------------------


@pytest.mark.parametrize("crop", [None, 48, 47])
def test_all_off_is_the_centre_crop_to_the_bit(crop: int | None) -> None:
    images = noise(3)
    side = crop or SIZE
    start = (SIZE - side) // 2
    expected = channels_first(images)[:, :, start : start + side, start : start + side]
    result = Augment(OFF, Geometry(SIZE, crop))(images, seeded())
    assert result.dtype == torch.float32
    assert torch.equal(result, expected)


@pytest.mark.parametrize(("size", "crop"), [(64, None), (64, 48), (65, 48)])
def test_shape_and_range(size: int, crop: int | None) -> None:
    result = Augment(AugmentationConfig(), Geometry(size, crop))(noise(8, size), seeded())
    side = crop or size
    assert result.shape == (8, 3, side, side)
    assert result.dtype == torch.float32
    assert 0 <= result.min() < 1
    assert 254 < result.max() <= 255


def test_same_generator_same_pixels_and_another_differs() -> None:
    images, augment = noise(6), Augment(AugmentationConfig(), Geometry(SIZE))
    first = augment(images, seeded(7))
    assert torch.equal(first, augment(images, seeded(7)))
    assert not torch.equal(first, augment(images, seeded(8)))


def test_images_of_a_batch_are_changed_differently() -> None:
    images = noise(1).expand(4, -1, -1, -1)
    result = Augment(AugmentationConfig(), Geometry(SIZE))(images, seeded())
    assert all(not torch.equal(result[0], other) for other in result[1:])


def test_what_is_switched_off_does_not_move_the_other_draws() -> None:
    images = smooth(6)
    moved = Augment(only(rotation=180), Geometry(SIZE))(images, seeded(3))
    dimmed = Augment(only(rotation=180, brightness=0.3), Geometry(SIZE))(images, seeded(3))
    ratio = dimmed.sum((1, 2, 3)) / moved.sum((1, 2, 3))
    unclamped = dimmed.amax((1, 2, 3)) < 255
    rescaled = moved * ratio[:, None, None, None]
    assert unclamped.any()
    torch.testing.assert_close(dimmed[unclamped], rescaled[unclamped], rtol=1e-3, atol=1e-2)


def test_it_takes_twelve_numbers_per_image_from_the_generator() -> None:
    for config in (OFF, AugmentationConfig()):
        used, expected = seeded(5), seeded(5)
        Augment(config, Geometry(SIZE))(noise(3), used)
        torch.rand(3, 12, generator=expected, dtype=torch.float64)
        assert torch.equal(used.get_state(), expected.get_state())


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \[N, 64, 64, 3\], got \[2, 32, 32, 3\]"):
        Augment(OFF, Geometry(SIZE))(noise(2, 32), seeded())


# --- Geometry ------------------------------------------------------------------------------------


def test_flips_are_exact_and_all_four_occur_equally_often() -> None:
    image = noise(1)
    result = Augment(only(flips=True), Geometry(SIZE))(image.expand(400, -1, -1, -1), seeded())
    pixels = channels_first(image)[0]
    kinds = [pixels, pixels.flip(2), pixels.flip(1), pixels.flip(1, 2)]
    counts = [sum(torch.equal(item, kind) for item in result) for kind in kinds]
    assert sum(counts) == 400
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize(("turn", "quarters"), [(90.0, -1), (-90.0, 1), (180.0, 2)])
def test_quarter_turns_equal_rot90(turn: float, quarters: int) -> None:
    images, config = noise(1), only(rotation=180)
    result = warp(images, inverse_maps(draws_for(config, turn), config), SIZE)
    expected = torch.rot90(channels_first(images), quarters, dims=(2, 3))
    torch.testing.assert_close(result, expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("mirrored", [(), (3,), (2,), (2, 3)])
def test_geometry_agrees_with_torchvision(mirrored: tuple[int, ...]) -> None:
    config = AugmentationConfig()
    flips = [0.1 if axis in mirrored else 0.9 for axis in (3, 2)]
    draws = torch.tensor([*flips, 0.6, 0.8, 0.2, 0.7], dtype=torch.float64)[:, None]
    images = smooth(1)
    result = warp(images, inverse_maps(draws, config), SIZE)
    expected = reference.affine(
        channels_first(images).flip(mirrored),
        angle=0.2 * 180,
        translate=[-0.06 * SIZE, 0.04 * SIZE],
        scale=1.06,
        shear=[0.0, 0.0],
        interpolation=reference.InterpolationMode.BILINEAR,
    )
    torch.testing.assert_close(result, expected, rtol=0, atol=0.1)


def test_draws_are_uniform_over_the_configured_ranges() -> None:
    config = AugmentationConfig(flips=False)
    draws = torch.rand(6, 4000, generator=seeded(11), dtype=torch.float64)
    maps = inverse_maps(draws, config)
    forward = torch.linalg.inv(maps[:, :, :2])
    angle = torch.rad2deg(torch.atan2(forward[:, 1, 0], forward[:, 0, 0])).numpy()
    scale = torch.linalg.det(forward).sqrt().numpy()
    shift = -(forward @ maps[:, :, 2:]).squeeze(2).numpy()
    assert stats.kstest(angle, stats.uniform(-180, 360).cdf).pvalue > 0.001
    assert stats.kstest(scale, stats.uniform(0.9, 0.2).cdf).pvalue > 0.001
    for axis in (0, 1):  # in half sides: ±0.10 of the side is ±0.20
        assert stats.kstest(shift[:, axis], stats.uniform(-0.2, 0.4).cdf).pvalue > 0.001


def test_crop_is_the_centre_of_the_full_result() -> None:
    images, config = noise(8), AugmentationConfig(contrast=0)  # contrast looks at the whole window
    full = Augment(config, Geometry(SIZE))(images, seeded(2))
    cropped = Augment(config, Geometry(SIZE, 48))(images, seeded(2))
    torch.testing.assert_close(cropped, full[:, :, 8:-8, 8:-8], rtol=0, atol=0.05)


def test_outside_of_the_image_is_black() -> None:
    config = only(rotation=45)
    white = torch.full((1, SIZE, SIZE, 3), 255, dtype=torch.uint8)
    result = warp(white, inverse_maps(draws_for(config, 45), config), SIZE)[0]
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert (result[:, row, column] == 0).all()
    assert (result[:, SIZE // 2, SIZE // 2] == 255).all()


# --- Colour --------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.7, 0.9, 1.0, 1.3])
@pytest.mark.parametrize("what", ["brightness", "contrast", "saturation"])
def test_factors_agree_with_torchvision(what: str, factor: float) -> None:
    pixels = channels_first(noise(4, 32))
    result = recolour(pixels, change(4, **{what: factor})).clamp(0, 255)
    expected = getattr(reference, f"adjust_{what}")(pixels / 255, factor) * 255
    torch.testing.assert_close(result, expected, rtol=0, atol=0.05)


def test_steps_together_equal_steps_one_after_another() -> None:
    pixels = channels_first(noise(2, 32))
    steps = {"brightness": 0.8, "contrast": 1.2, "saturation": 0.85, "hue": 0.04}
    one_by_one = pixels
    for name, value in steps.items():
        one_by_one = recolour(one_by_one, change(2, **{name: value}))
    torch.testing.assert_close(recolour(pixels, change(2, **steps)), one_by_one, rtol=0, atol=0.01)


@pytest.mark.parametrize("turn", [-0.05, 0.05, 0.3])
def test_hue_keeps_luma_and_greys(turn: float) -> None:
    pixels = channels_first(noise(2, 32))
    luma = torch.tensor(LUMA)[:, None, None]
    result = recolour(pixels, change(2, hue=turn))
    torch.testing.assert_close((result * luma).sum(1), (pixels * luma).sum(1), rtol=0, atol=0.01)
    grey = torch.full((1, 3, 8, 8), 77.0)
    torch.testing.assert_close(recolour(grey, change(1, hue=turn)), grey)


def test_hue_turns_the_way_torchvision_does() -> None:
    pixels = channels_first(noise(2, 32, low=60, high=180))
    expected = reference.adjust_hue(pixels / 255, 0.05) * 255
    same, other = (
        (recolour(pixels, change(2, hue=turn)) - expected).abs().mean() for turn in (0.05, -0.05)
    )
    assert same < 0.6 * other


def test_each_image_has_its_own_colour_change() -> None:
    grey = torch.full((1000, 4, 4, 3), 128, dtype=torch.uint8)
    result = Augment(only(brightness=0.3), Geometry(4))(grey, seeded())
    factors = (result[:, 0, 0, 0] / 128).numpy()
    assert stats.kstest(factors, stats.uniform(0.7, 0.6).cdf).pvalue > 0.001


def test_mean_grey_leaves_out_the_margin_of_the_blur() -> None:
    images, seed = noise(4), 4
    without = Augment(only(contrast=0.3), Geometry(SIZE))(images, seeded(seed))
    never_drawn = Augment(only(contrast=0.3, motion_blur=1e-12), Geometry(SIZE))
    torch.testing.assert_close(never_drawn(images, seeded(seed)), without, rtol=0, atol=1e-3)


def test_colour_and_geometry_are_drawn_independently() -> None:
    white = torch.full((800, 16, 16, 3), 128, dtype=torch.uint8)
    result = Augment(only(shift=0.4, brightness=0.3), Geometry(16))(white, seeded())
    lit = (result > 0).float()
    rows = torch.arange(16.0)[:, None] - 7.5
    height = (lit * rows).sum((1, 2, 3)) / lit.sum((1, 2, 3))
    brightness = result.amax((1, 2, 3))
    assert stats.spearmanr(height, brightness).pvalue > 0.001


# --- Motion blur ---------------------------------------------------------------------------------


def test_kernels_are_lines_with_sum_one() -> None:
    angles = torch.linspace(0, math.pi, 37, dtype=torch.float64)
    kernels = line_kernels(angles, 5)
    assert (kernels >= 0).all()
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(37, dtype=torch.float64))
    torch.testing.assert_close(kernels, kernels.flip(1, 2))  # no shift: symmetric about the centre
    row = torch.zeros(5, 5, dtype=torch.float64)
    row[2] = 0.2
    torch.testing.assert_close(kernels[0], row)
    torch.testing.assert_close(kernels[18], row.T)


def test_kernel_spreads_along_its_angle() -> None:
    angles = torch.tensor([0.3, 1.0, 2.0, 2.9], dtype=torch.float64)
    ticks = torch.arange(-4.0, 5.0, dtype=torch.float64)
    for angle, kernel in zip(angles, line_kernels(angles, 9), strict=True):
        xx = (kernel * ticks**2).sum()
        yy = (kernel * ticks[:, None] ** 2).sum()
        xy = (kernel * ticks * ticks[:, None]).sum()
        axis = 0.5 * torch.atan2(2 * xy, xx - yy)
        assert math.isclose(float(torch.sin(axis - angle)), 0, abs_tol=0.03)


def test_blur_agrees_with_scipy_and_leaves_the_others() -> None:
    pixels = channels_first(noise(4, 32))
    chosen = torch.tensor([1, 3])
    kernels = line_kernels(torch.tensor([0.4, 2.2], dtype=torch.float64), 5)
    result = blur_some(pixels, chosen, kernels)
    sharp = pixels[:, :, 2:-2, 2:-2]
    assert torch.equal(result[[0, 2]], sharp[[0, 2]])
    for index, kernel in zip(chosen, kernels, strict=True):
        for channel in range(3):
            expected = ndimage.correlate(pixels[index, channel].double().numpy(), kernel.numpy())
            np.testing.assert_allclose(
                result[index, channel].numpy(), expected[2:-2, 2:-2], atol=1e-3
            )


def test_blur_keeps_the_mean_inside_a_black_border() -> None:
    images = torch.zeros(16, SIZE, SIZE, 3, dtype=torch.uint8)
    images[:, 16:48, 16:48] = noise(16, 32)
    result = Augment(only(motion_blur=1.0), Geometry(SIZE))(images, seeded())
    expected = channels_first(images)
    torch.testing.assert_close(result.mean((2, 3)), expected.mean((2, 3)), rtol=1e-4, atol=1e-3)
    assert (result.var((2, 3)) < expected.var((2, 3))).all()


def test_half_of_the_images_are_blurred() -> None:
    images = noise(400, 16)
    result = Augment(only(motion_blur=0.5), Geometry(16))(images, seeded())
    changed = (result != channels_first(images)).flatten(1).any(1)
    assert stats.binomtest(int(changed.sum()), 400, 0.5).pvalue > 0.001


def test_every_angle_of_blur_is_as_likely() -> None:
    dot = torch.zeros(500, 17, 17, 3, dtype=torch.uint8)
    dot[:, 8, 8] = 255
    spread = (
        Augment(only(motion_blur=1.0, blur_kernel=9), Geometry(17))(dot, seeded()).sum(1).double()
    )
    ticks = torch.arange(-8.0, 9.0, dtype=torch.float64)
    xx, yy = (spread * ticks**2).sum((1, 2)), (spread * ticks[:, None] ** 2).sum((1, 2))
    xy = (spread * ticks * ticks[:, None]).sum((1, 2))
    angles = 0.5 * torch.atan2(2 * xy, xx - yy)
    uniform = stats.uniform(-math.pi / 2, math.pi)
    assert stats.kstest(angles.numpy(), uniform.cdf).pvalue > 0.001


def test_the_window_is_resized_after_all_else() -> None:
    images = noise(4)
    native = Augment(AugmentationConfig(), Geometry(SIZE, 48))(images, seeded())
    resized = Augment(AugmentationConfig(), Geometry(SIZE, 48, 72))(images, seeded())
    expected = F.interpolate(native, (72, 72), mode="bilinear", antialias=True)
    torch.testing.assert_close(resized, expected, atol=2e-3, rtol=0)


def grey_noise(n: int, size: int = SIZE) -> torch.Tensor:
    return noise(n, size)[..., :1].contiguous()


def test_one_channel_is_augmented_as_a_grey_image() -> None:
    """Saturation and hue keep greys, so three equal channels stay what the one becomes."""
    images = grey_noise(6)
    mono = Augment(AugmentationConfig(), Geometry(SIZE, 48, 56), channels=1)(images, seeded())
    three = Augment(AugmentationConfig(), Geometry(SIZE, 48, 56))(
        images.expand(-1, -1, -1, 3).contiguous(), seeded()
    )
    assert mono.shape == (6, 1, 56, 56)
    torch.testing.assert_close(mono.expand(-1, 3, -1, -1), three, atol=1e-3, rtol=0)


def test_deep_images_keep_their_scale() -> None:
    images = grey_noise(6)
    deep = (images.to(torch.int32) * 16).to(torch.uint16)
    usual = Augment(AugmentationConfig(), Geometry(SIZE), 1)(images, seeded())
    found = Augment(AugmentationConfig(), Geometry(SIZE), 1, white_level=16 * 255)(deep, seeded())
    torch.testing.assert_close(found, 16 * usual, atol=1e-2, rtol=0)
    assert found.max() == 16 * 255, "clipped at white, not at 255"


@pytest.mark.parametrize("sides", [(32, 64), (64, 32), (20, 64)])
def test_an_image_that_is_not_square_moves_as_in_a_black_square(sides) -> None:
    """Turned, flipped and zoomed about its centre without being sheared."""
    height, width = sides
    images = torch.zeros((8, 64, 64, 3), dtype=torch.uint8)
    top, left = (64 - height) // 2, (64 - width) // 2
    images[:, top : top + height, left : left + width] = noise(8)[:, :height, :width]
    inside = images[:, top : top + height, left : left + width].contiguous()
    config = only(flips=True, rotation=180, zoom=0.2)
    draws = torch.rand((6, 8), generator=seeded(4), dtype=torch.float64)
    expected = warp(images, inverse_maps(draws, config), 64)
    expected = expected[:, :, top : top + height, left : left + width]
    found = warp(inside, inverse_maps(draws, config, extent(sides)), sides)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_a_shift_is_a_share_of_each_side() -> None:
    images = noise(1)[:, :32, :48]
    config = only(shift=0.25)
    draws = torch.full((6, 1), 0.5, dtype=torch.float64)
    draws[4], draws[5] = 1.0, 0.0  # a quarter of the width to the right, of the height up
    found = warp(images, inverse_maps(draws, config, extent((32, 48))), (32, 48))
    expected = torch.zeros((1, 3, 32, 48))
    expected[:, :, :24, 12:] = channels_first(images)[:, :, 8:, :36]
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_all_of_it_on_images_that_are_not_square() -> None:
    images = noise(5)[:, :40, :60].contiguous()
    off = Augment(OFF, Geometry((40, 60), (32, 48)))(images, seeded())
    assert torch.equal(off, channels_first(images)[:, :, 4:36, 6:54])
    geometry = Geometry((40, 60), (32, 48), (24, 40))
    found = Augment(AugmentationConfig(), geometry)(images, seeded())
    assert found.shape == (5, 3, 24, 40)
    assert found.std() > 5
