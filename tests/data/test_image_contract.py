"""The one path from a file or an array to a network's pixels: sizes, order, and golden pixels."""

from __future__ import annotations

import hashlib
import io
import struct

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


def tiff(image: np.ndarray, kind: str = "TIFF", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **options)
    return stream.getvalue()


def deep_ramp(height: int, width: int, white: int = 4095) -> np.ndarray:
    """Return a grey image uint16 whose lowest bits differ from pixel to pixel."""
    rows, columns = np.mgrid[:height, :width]
    return ((37 * rows + 1013 * columns + rows * columns) % (white + 1)).astype(np.uint16)


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_deep_grey_files_keep_every_bit(kind) -> None:
    image = deep_ramp(32, 48)
    contract = ImageContract((32, 48), channels="mono", white_level=4095)
    assert (contract.shape, contract.dtype) == ((32, 48, 1), np.uint16)
    pixels = contract.of_bytes(tiff(image, kind))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[..., 0], image)
    assert np.array_equal(pixels, contract.of_array(image[..., None]))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_deep_tiffs_keep_every_bit(compression) -> None:
    contract = ImageContract(32, channels="mono", white_level=65_535)
    image = deep_ramp(32, 32, 65_535)
    found = contract.of_bytes(tiff(image, compression=compression))
    assert np.array_equal(found[..., 0], image)


def raw_tiff(image: np.ndarray, order: str, photometric: int = 1, sample: int = 1) -> bytes:
    """Return an uncompressed grey TIFF of 16 bits in either byte order, as TIFF 6.0 has it."""
    height, width = image.shape
    data = image.astype(f"{order}u2").tobytes()
    tags = ((256, width), (257, height), (258, 16), (259, 1), (262, photometric), (273, 8))
    tags += ((277, 1), (278, height), (279, len(data)), (339, sample))
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(data))
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def test_either_byte_order_of_a_tiff() -> None:
    contract = ImageContract(32, channels="mono", white_level=4095)
    image = deep_ramp(32, 32)
    for order in "<>":
        assert np.array_equal(contract.of_bytes(raw_tiff(image, order))[..., 0], image)


def test_tiffs_whose_numbers_mean_something_else_are_refused() -> None:
    """Pillow would read white as black, and signed numbers as 32 bits."""
    contract = ImageContract(32, channels="mono", white_level=4095)
    with pytest.raises(UnreadableImageError, match="white is stored as 0, black must be"):
        contract.of_bytes(raw_tiff(deep_ramp(32, 32), "<", photometric=0))
    with pytest.raises(UnreadableImageError, match="must be opaque grey of 9 to 16 bits, unsigned"):
        contract.of_bytes(raw_tiff(deep_ramp(32, 32), "<", sample=2))


def test_a_deep_picture_may_not_exceed_white() -> None:
    contract = ImageContract(32, "resize", "mono", 1023)
    image = deep_ramp(64, 64, 1023)
    image[10, 10] = 1024  # resizing would hide it
    with pytest.raises(UnreadableImageError, match="value 1,024, must be at most the white level"):
        contract.of_bytes(tiff(image))
    assert contract.too_bright(image) == 1024
    assert contract.too_bright(np.minimum(image, 1023)) is None


def test_mono_takes_grey_files_alone() -> None:
    grey, contract = ramp(32, 32)[..., 0], ImageContract(32, channels="mono")
    for data in (tiff(grey), tiff(grey, "PNG"), tiff(grey, "BMP")):
        assert np.array_equal(contract.of_bytes(data)[..., 0], grey)
    bilevel = contract.of_bytes(tiff(grey > 99, "PNG"))
    assert np.array_equal(bilevel[..., 0], 255 * (grey > 99))
    opaque = np.stack([grey, np.full_like(grey, 255)], -1)
    assert np.array_equal(contract.of_bytes(tiff(opaque, "PNG"))[..., 0], grey)
    see_through = np.stack([grey, np.full_like(grey, 254)], -1)
    with pytest.raises(UnreadableImageError, match="transparency"):
        contract.of_bytes(tiff(see_through, "PNG"))
    for colour in (png(ramp(32, 32)), tiff(ramp(32, 32), "JPEG")):
        with pytest.raises(UnreadableImageError, match="colour mode RGB, must be grey"):
            contract.of_bytes(colour)


@pytest.mark.parametrize("sizes", ["resize", "pad"])
@pytest.mark.parametrize("shape", [(24, 40), (200, 300), (48, 20), (1, 500)])
def test_images_that_are_not_square(sizes, shape) -> None:
    """``resize`` is Pillow's own; ``pad`` keeps the aspect ratio, and all is in the middle."""
    contract, image = ImageContract((24, 36), sizes), ramp(*shape)
    pixels = contract.of_bytes(png(image))
    assert pixels.shape == (24, 36, 3)
    assert np.array_equal(pixels, contract.of_array(image))
    if sizes == "resize":
        expected = Image.fromarray(image).resize((36, 24), Image.Resampling.BILINEAR)
        assert np.array_equal(pixels, np.asarray(expected))


def test_padding_to_an_image_that_is_not_square() -> None:
    white = np.full((200, 300, 3), 255, np.uint8)
    padded = ImageContract((40, 30), "pad").of_array(white)  # 300 x 200 becomes 30 x 20
    assert (padded[10:30] == 255).all()
    assert not padded[:10].any()
    assert not padded[30:].any()
    with pytest.raises(
        OtherSizeError, match=r"must be 30 x 40 \(width x height\) pixels, got 40 x 30"
    ):
        ImageContract((40, 30)).of_array(ramp(30, 40))


GOLDEN_DEEP = {
    ((64, 64), "resize"): "63292d8305c09f31",
    ((30, 200), "resize"): "c9be38bd4c9ec732",
    ((300, 200), "pad"): "047475a0b0e17ea2",
}


@pytest.mark.parametrize(("shape", "sizes"), GOLDEN_DEEP)
def test_deep_golden_pixels(shape, sizes) -> None:
    """The same on every platform: sums of whole numbers that floats hold exactly."""
    contract = ImageContract(32, sizes, "mono", 65_535)
    pixels = contract.of_array(deep_ramp(*shape, 65_535)[..., None])
    digest = hashlib.sha256(pixels.astype("<u2").tobytes()).hexdigest()[:16]
    assert digest == GOLDEN_DEEP[shape, sizes]


@pytest.mark.parametrize("shape", [(64, 64), (50, 91), (20, 17), (7, 200)])
def test_deep_resizing_is_pillows_filter(shape) -> None:
    """Against Pillow's own floats: rounded, at most half a level and the weights' rounding off."""
    image = deep_ramp(*shape, 65_535)
    found = ImageContract((32, 24), "resize", "mono", 65_535).of_array(image[..., None])[..., 0]
    floats = Image.fromarray(image.astype(np.float32)).resize((24, 32), Image.Resampling.BILINEAR)
    assert np.abs(found - np.asarray(floats, dtype=np.float64)).max() < 2.5
    white = np.full(shape, 65_535, np.uint16)
    fitted = ImageContract((32, 24), "resize", "mono", 65_535).of_array(white[..., None])
    assert (fitted == 65_535).all(), "white stays white"
