from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from drupe.data import decode as decode_module
from drupe.data.bounds import MAX_PIXELS, most_pixels
from drupe.data.decode import UnreadableImageError, decode_bytes
from drupe.data.image_contract import ImageContract, OtherSizeError


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """Return a grey PNG of that size in its header, with ``pixels`` (compressed)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg(width: int, height: int, **options) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (90, 20, 20)).save(stream, "JPEG", **options)
    return stream.getvalue()


def with_scans(content: bytes, scans: int) -> bytes:
    """Return a progressive JPEG whose last scan is there as often as makes ``scans`` of them."""
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    return content[:-2] + scan * (scans - content.count(b"\xff\xda")) + content[-2:]


def tiff_of(pages: int) -> bytes:
    """Return a grey TIFF of 4 × 4 pixels with so many pages."""
    entries = [(256, 3, 1, 4), (257, 3, 1, 4), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 4), (279, 4, 1, 16)]
    directory = 2 + 12 * len(entries) + 4
    content = [struct.pack("<2sHI", b"II", 42, 24), bytes(16)]
    for page in range(pages):
        following = 0 if page == pages - 1 else 24 + directory * (page + 1)
        fields = b"".join(struct.pack("<HHII", *one) for one in entries)
        content.append(struct.pack("<H", len(entries)) + fields + struct.pack("<I", following))
    return b"".join(content)


def reason(data: bytes, contract: ImageContract) -> str:
    with pytest.raises(UnreadableImageError) as refused:
        contract.of_bytes(data)
    return refused.value.reason


@pytest.mark.parametrize(
    ("side", "pixels"), [(1, 16_000_000), (48, 16_000_000), (128, 4096**2), (224, 7168**2)]
)
def test_the_pixels_that_an_image_may_have(side: int, pixels: int) -> None:
    assert most_pixels(side) == pixels


def test_nobody_takes_more_than_64_megapixels() -> None:
    assert most_pixels(1024) == MAX_PIXELS == 64_000_000


@pytest.mark.parametrize("sizes", ["resize", "pad"])
def test_a_large_image_is_refused_by_its_header(sizes) -> None:
    """There isn't a pixel in the file: whoever decodes it says so."""
    large = ImageContract(48, sizes)
    assert reason(png(8000, 8000), large) == "8000x8000 pixels, at most 16 megapixels allowed"
    assert reason(png(4001, 4000), large) == "4001x4000 pixels, at most 16 megapixels allowed"
    assert "megapixels" not in reason(png(4000, 4000), large)
    assert "megapixels" not in reason(png(8000, 8000), ImageContract(256, sizes))


def test_another_size_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(OtherSizeError) as refused:
        ImageContract(48).of_bytes(png(3000, 2000))
    assert refused.value.size == (3000, 2000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_its_size_is_said_as_it_stands_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (20, 10)).save(stream, kind, exif=exif)
    with pytest.raises(OtherSizeError) as refused:
        ImageContract(48).of_bytes(stream.getvalue())
    assert refused.value.size == decode_bytes(stream.getvalue()).shape[1::-1] == (10, 20)


def test_scans_count_with_the_pixels_that_each_goes_over() -> None:
    contract = ImageContract(48, "resize")
    usual = jpeg(2000, 2000, progressive=True)
    assert contract.of_bytes(usual).shape == (48, 48, 3)
    assert "scans" not in reason(with_scans(usual, 64), contract)  # damaged, as libjpeg says
    found = reason(with_scans(usual, 65), contract)
    assert found == "65 scans over 2000x2000 pixels, which no camera writes"


def test_a_small_jpeg_of_many_scans() -> None:
    assert "scans over 48x48" in reason(
        with_scans(jpeg(48, 48, progressive=True), 1025), ImageContract(48)
    )


@pytest.mark.parametrize("pages", [2, 60_000])
def test_a_second_page_suffices(pages: int) -> None:
    started = time.perf_counter()
    assert reason(tiff_of(pages), ImageContract(4)) == "several frames or pages, must be 1"
    assert time.perf_counter() - started < 2
    assert ImageContract(4).of_bytes(tiff_of(1)).shape == (4, 4, 3)


def test_a_long_file_is_not_read(tmp_path, monkeypatch) -> None:
    path = tmp_path / "long.png"
    with path.open("wb") as stream:
        stream.truncate(128_000_001)
    contract = ImageContract(48)
    with pytest.raises(UnreadableImageError, match="file of 128 MB, at most 128 MB allowed"):
        contract.of_file(path)
    monkeypatch.setattr(decode_module, "open_image", None)
    with pytest.raises(UnreadableImageError, match="at most 128 MB"):
        contract.of_bytes(bytes(128_000_001))


def test_within_the_bounds_the_pixels_are_those_of_before() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    expected = Image.fromarray(image).resize((48, 48), Image.Resampling.BILINEAR)
    assert np.array_equal(ImageContract(48, "resize").of_bytes(stream.getvalue()), expected)
