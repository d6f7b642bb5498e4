from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from drupe.reporting.pictures import Pictures


def test_a_deep_picture_is_shown_with_its_brightest_pixel_white(tmp_path) -> None:
    deep = np.linspace(0, 1000, 40 * 30).reshape(30, 40).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    shown = Pictures(tmp_path).of("deep.tif")
    assert shown is not None
    content = base64.b64decode(shown.partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(float)
    assert pixels.shape == (30, 40)
    assert np.abs(pixels - deep * (255 / 1000)).mean() < 6


def test_what_a_person_judges_keeps_every_pixel(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 120, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "crop.png")
    shown = Pictures(tmp_path).whole("crop.png")
    assert shown is not None
    content = io.BytesIO(base64.b64decode(shown.partition(",")[2]))
    np.testing.assert_array_equal(np.asarray(Image.open(content).convert("RGB")), pixels)
    Image.fromarray(pixels).resize((512, 512)).save(tmp_path / "large.png")
    large = Pictures(tmp_path).whole("large.png")
    assert large is not None
    assert Image.open(io.BytesIO(base64.b64decode(large.partition(",")[2]))).size == (256, 256)
    (tmp_path / "torn.png").write_bytes(b"no picture")
    assert Pictures(tmp_path).whole("torn.png") is None
    assert Pictures(None).whole("crop.png") is None
