from __future__ import annotations

import numpy as np
import pytest

from drupe.deployment.certify.options import parse_scale
from drupe.errors import InputError

PIXELS = np.array([[[[0, 51, 255]]]], np.uint8)


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        ("0..1", [0, 0.2, 1], "pixel / 255"),
        ("0..255", [0, 51, 255], "pixel"),
        ("-1..1", [-1, -0.6, 1], "(pixel / 127.5 - 1)"),
        ("0.5/0.25", [-2, -1.2, 2], "(pixel / 255 - 0.5) / 0.25"),
        ("0..1:0.5/0.25", [-2, -1.2, 2], "(pixel / 255 - 0.5) / 0.25"),
        ("0..255:51/2", [-25.5, 0, 102], "(pixel - 51) / 2"),
        ("0,0.2,1/1,1,0.5", [0, 0, 0], "(pixel / 255 - [0, 0.2, 1]) / [1, 1, 0.5]"),
    ],
)
def test_a_scale_is_what_it_says(text, expected, words) -> None:
    scale = parse_scale(text, "rgb")
    np.testing.assert_allclose(scale.applied(PIXELS)[0, 0, 0], expected, atol=1e-6)
    assert scale.words == words


def test_imagenet_is_turned_with_the_channels() -> None:
    rgb, bgr = parse_scale("imagenet", "rgb"), parse_scale("imagenet", "bgr")
    assert rgb.mean == (0.485, 0.456, 0.406)
    assert bgr.mean == rgb.mean[::-1]
    assert bgr.std == rgb.std[::-1]
    np.testing.assert_array_equal(rgb.applied(PIXELS), bgr.applied(PIXELS[..., ::-1])[..., ::-1])


@pytest.mark.parametrize(
    ("text", "channels", "message"),
    [
        ("0..2", "rgb", r"--scale: must be 0\.\.1, 0\.\.255, .* got '0\.\.2'"),
        ("a/b", "rgb", "--scale: must be .* got 'a/b'"),
        ("imagenet", "mono", "has numbers for three channels, and the graph takes one"),
        ("1,2/1", "rgb", "must have one number or 3 .* got 2 and 1"),
        ("0.5/0.2,0.2,0.2", "mono", "must have one number or 1 .* got 1 and 3"),
        (
            "123.7/58.4",
            "rgb",
            r"mean must be at most 1 .*; of bytes: --scale 0\.\.255:123\.7/58\.4",
        ),
        ("0..255:300/1", "rgb", "a mean must be at most 255"),
        ("0.5/0", "rgb", "a deviation above 0"),
        ("0.5/nan", "rgb", "a deviation above 0"),
    ],
)
def test_a_wrong_scale_is_refused(text, channels, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_scale(text, channels)
