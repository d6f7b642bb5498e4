from __future__ import annotations

import numpy as np
import pytest

from drupe.data.content import ContentMap, content_crop, content_masks, is_blank


def square(side: int, inner: int, count: int = 3) -> np.ndarray:
    """Images with a bright centred square of ``inner`` pixels."""
    images = np.zeros((count, side, side, 3), dtype=np.uint8)
    first = (side - inner) // 2
    images[:, first : first + inner, first : first + inner, 2] = 200
    return images


@pytest.mark.parametrize(("inner", "expected"), [(40, 40), (41, 48), (48, 48), (2, 8), (64, 64)])
def test_crop_is_the_next_multiple_that_holds_the_square(inner: int, expected: int) -> None:
    assert content_crop(square(64, inner), keep=1.0) == expected


def test_crop_may_lose_what_keep_allows() -> None:
    images = square(64, 32)
    images[0, 0, 0] = 255  # 1 of 3,073 content pixels lies in the corner
    assert content_crop(images, keep=0.999) == 32
    assert content_crop(images, keep=1.0) == 64


def test_crop_of_a_set_without_content_is_the_whole() -> None:
    assert content_crop(np.zeros((2, 30, 30, 3), dtype=np.uint8)) == 30


def test_chunks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 40, (9, 32, 32, 3), dtype=np.uint8)
    whole = content_crop(images, keep=0.5)
    monkeypatch.setattr("drupe.data.content._CHUNK_BYTES", 2 * 32 * 32 * 3)
    assert content_crop(images, keep=0.5) == whole


def test_content_box_is_measured_in_pixels() -> None:
    images = np.zeros((2, 40, 40, 3), dtype=np.uint8)
    images[0, 10:20, 12:16, 0] = 17
    images[1, 30:34, 2:12, 1] = 17
    found = ContentMap(40)
    found.add(content_masks(images))
    box = found.to_json()
    assert (box["top"], box["bottom"], box["left"], box["right"]) == (10, 34, 2, 16)
    assert (box["mean_height"], box["mean_width"]) == (7.0, 7.0)


def test_blank_is_black_flat_or_next_to_nothing() -> None:
    image = np.zeros((100, 100, 3), dtype=np.uint8)
    image[:2, :9] = 200  # 18 of 10,000 pixels
    assert is_blank(image, content_masks(image))
    image[:3, :9] = 200  # 27 of 10,000
    assert not is_blank(image, content_masks(image))
    grey = np.full((100, 100, 3), 128, dtype=np.uint8)
    assert is_blank(grey, content_masks(grey))
