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
