"""The one path from a file or an array to a network's pixels: sizes, order, and golden pixels."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from drupe.data.decode import UnreadableImageError
from drupe.data.image_contract import ImageContract, OtherSizeError, read_images
from drupe.errors import InputError

UPRIGHT_BY_ORIENTATION_6 = 6
"""EXIF: the camera lay on its side; shown upright, the picture is turned by a quarter."""


def ramp(height: int, width: int) -> np.ndarray:
    """Return an image that is different in every row, column and channel."""
    rows, columns = np.mgrid[:height, :width]
    channels = (5 * rows + columns, 3 * columns + rows, rows * columns)
    return np.stack(channels, -1).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def test_other_sizes_are_refused_and_named() -> None:
    with pytest.raises(OtherSizeError, match="must be 32 x 32 pixels, got 40 x 24") as caught:
        ImageContract(32).of_bytes(png(ramp(24, 40)))
    assert caught.value.size == (40, 24)


@pytest.mark.parametrize("sizes", ["resize", "pad"])
@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (64, 64), (8, 9), (300, 200), (1, 500)])
def test_file_and_array_give_the_same_pixels(sizes, shape) -> None:
    contract = ImageContract(32, sizes)
    image = ramp(*shape)
    pixels = contract.of_bytes(png(image))
    assert pixels.shape == (32, 32, 3)
    assert np.array_equal(pixels, contract.of_array(image))


def test_padding_keeps_pixels_and_aspect() -> None:
    image = ramp(20, 10)
    padded = ImageContract(32, "pad").of_array(image)
    assert np.array_equal(padded[6:26, 11:21], image)
    assert padded.astype(int).sum() == image.astype(int).sum()  # all else is black
    white = np.full((200, 300, 3), 255, np.uint8)
    shrunk = ImageContract(30, "pad").of_array(white)
    assert (shrunk[5:25] == 255).all()
    assert not shrunk[:5].any()
    assert not shrunk[25:].any()


def test_bgr_turns_files_and_leaves_arrays() -> None:
    image = ramp(32, 32)
    contract = ImageContract(32, channels="bgr")
    assert np.array_equal(contract.of_bytes(png(image)), image[..., ::-1])
    assert np.array_equal(contract.of_array(image), image)
    assert np.array_equal(contract.ordered(contract.ordered(image)), image)


def test_orientation_is_applied_before_the_size_is_looked_at() -> None:
    image = ramp(24, 40)
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT_BY_ORIENTATION_6
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", exif=exif)
    upright = ImageContract(40, "pad").of_bytes(stream.getvalue())
    assert np.array_equal(upright[:, 8:32], np.rot90(image, -1))


GOLDEN = {
    ("resize", (300, 200)): "536d7bbb62b45a70",
    ("pad", (300, 200)): "b78fa61dfb35a854",
    ("resize", (24, 40)): "67372f8757ba2434",
    ("pad", (24, 40)): "68af0cb9bcb4dd66",
}
"""SHA-256 of the pixels of a ramp at 32 × 32: the same on every platform."""


@pytest.mark.parametrize(("sizes", "shape"), GOLDEN)
def test_golden_pixels(sizes, shape) -> None:
    pixels = ImageContract(32, sizes).of_array(ramp(*shape))
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == GOLDEN[sizes, shape]


@pytest.mark.parametrize("shape", [(48, 80), (20, 24)])
def test_resizing_is_the_filter_that_it_says(shape) -> None:
    """Against a triangle filter by matrices, within Pillow's rounding of two passes."""
    from drupe.models.geometry import resize_matrix

    image = ramp(*shape)
    rows, columns = (resize_matrix(side, 32).numpy() for side in shape)
    expected = np.einsum("ih,hwc,jw->ijc", rows, image.astype(np.float64), columns)
    found = ImageContract(32, "resize").of_array(image).astype(np.float64)
    assert np.abs(found - expected).max() <= 1.5


def test_many_files_in_order(tmp_path) -> None:
    images = [ramp(32, 32) + np.uint8(step) for step in range(150)]
    for step, image in enumerate(images):
        (tmp_path / f"{step}.png").write_bytes(png(image))
    read = read_images(tmp_path, [f"{step}.png" for step in range(150)], ImageContract(32))
    assert np.array_equal(read, np.stack(images))


def test_a_file_that_gives_no_image_is_named(tmp_path) -> None:
    (tmp_path / "torn.png").write_bytes(png(ramp(32, 32))[:80])
    with pytest.raises(InputError, match=r"torn\.png: can't be read"):
        read_images(tmp_path, ["torn.png"], ImageContract(32))
    with pytest.raises(UnreadableImageError):
        ImageContract(32).of_file(tmp_path / "missing.png")
