from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from drupe.models.geometry import Geometry, Resize, mean_over_views, resize_matrix, views_of

SIDES = [(88, 128), (96, 64), (64, 64), (50, 33), (33, 50), (128, 32)]


def picture(side: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(side)
    return torch.randint(0, 256, (2, 3, side, side), generator=random).float()


@pytest.mark.parametrize(("source", "target"), SIDES)
def test_resizing_is_torchs_antialiased_bilinear(source: int, target: int) -> None:
    pixels = picture(source)
    expected = F.interpolate(pixels, (target, target), mode="bilinear", antialias=True)
    torch.testing.assert_close(Resize(source, target)(pixels), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("source", "target"), SIDES)
def test_resizing_is_pillows_bilinear(source: int, target: int) -> None:
    grey = picture(source)[0, 0].to(torch.uint8).numpy()
    pillow = Image.fromarray(grey).convert("F").resize((target, target), Image.Resampling.BILINEAR)
    ours = Resize(source, target)(torch.from_numpy(grey).float()[None, None])[0, 0]
    np.testing.assert_allclose(ours.numpy(), np.asarray(pillow), atol=2e-3)


def test_a_resized_plain_picture_keeps_its_level() -> None:
    for source, target in SIDES:
        sums = resize_matrix(source, target).sum(1)
        torch.testing.assert_close(sums, torch.ones(target), atol=1e-6, rtol=0)


def test_the_window_and_the_side_that_the_network_gets() -> None:
    assert (Geometry(128).window, Geometry(128).side) == (128, 128)
    assert (Geometry(128, 88).window, Geometry(128, 88).side) == (88, 88)
    assert (Geometry(128, 88, 128).window, Geometry(128, 88, 128).side) == (88, 128)
    assert Geometry(128, None, 64).side == 64


def test_the_crop_is_the_centre() -> None:
    images = torch.arange(36).view(1, 6, 6, 1).expand(-1, -1, -1, 3)
    assert Geometry(6, 2).centre(images)[0, :, :, 0].tolist() == [[14, 15], [20, 21]]
    assert Geometry(6).centre(images) is images


def test_each_number_of_views_holds_the_smaller_ones() -> None:
    pixels = picture(8)
    sets = [views_of(pixels, views).unflatten(0, (views, -1)) for views in (1, 2, 4, 8)]
    for fewer, more in pairwise(sets):
        assert torch.equal(more[: len(fewer)], fewer)


def test_eight_views_are_all_quarter_turns_and_their_mirrors() -> None:
    pixels = picture(8)[:1]
    turned = [
        TF.rotate(one, angle)
        for one in (pixels, v2.RandomHorizontalFlip(1.0)(pixels))
        for angle in (0, 90, 180, 270)
    ]
    ours = views_of(pixels, 8)
    assert len({tuple(one.flatten().tolist()) for one in ours}) == 8
    for expected in turned:
        assert any(torch.equal(expected[0], one) for one in ours)
    assert torch.equal(views_of(pixels, 2)[1:], v2.RandomHorizontalFlip(1.0)(pixels))


@pytest.mark.parametrize("views", [1, 2, 4, 8])
def test_the_mean_is_over_the_views_of_each_image(views: int) -> None:
    pixels = picture(8)
    logits = views_of(pixels, views).flatten(1)[:, :2]
    expected = torch.stack([views_of(one[None], views).flatten(1)[:, :2].mean(0) for one in pixels])
    torch.testing.assert_close(mean_over_views(logits, views), expected)
