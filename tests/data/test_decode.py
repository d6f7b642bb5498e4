from __future__ import annotations

import errno
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from drupe.data import decode as decode_module
from drupe.data.bounds import MAX_PIXELS
from drupe.data.decode import UnreadableImageError, decode, decode_bytes
from drupe.data.synthetic.rendering import render_crops

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        decode_bytes(data)
    return caught.value.reason


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_give_their_pixels(kind: str) -> None:
    pixels = decode_bytes(encode(Image.fromarray(RGB), kind))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, RGB)


def test_jpeg(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), (200, 30, 90), np.uint8)
    (tmp_path / "a.jpg").write_bytes(encode(Image.fromarray(flat), "JPEG", quality=95))
    assert np.abs(decode(tmp_path / "a.jpg").astype(int) - flat).max() < 4


def test_grey_bilevel_and_palette_become_rgb() -> None:
    three = np.repeat(GREY[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_bytes(encode(Image.fromarray(GREY))), three)
    bilevel = Image.fromarray(GREY > 99)
    expected = np.repeat(((GREY > 99) * 255)[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode_bytes(encode(bilevel)), expected)
    palette = Image.fromarray(RGB // 64 * 64).quantize(64)
    np.testing.assert_array_equal(decode_bytes(encode(palette)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_is_dropped(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode_bytes(encode(image)), expected)


def test_transparency_is_refused() -> None:
    image = Image.fromarray(RGB).convert("RGBA")
    image.putpixel((3, 4), (1, 2, 3, 254))
    assert reason(encode(image)) == "transparency (alpha down to 254), must be opaque"


def test_a_transparent_colour_counts_only_where_it_occurs() -> None:
    image = Image.fromarray(np.where(RGB == 7, 8, RGB).astype(np.uint8))
    decode_bytes(encode(image, transparency=(7, 7, 7)))
    image.putpixel((0, 0), (7, 7, 7))
    assert "transparency" in reason(encode(image, transparency=(7, 7, 7)))


def test_sixteen_bits_are_refused_even_where_pillow_would_reduce_them() -> None:
    deep = GREY.astype(np.uint16) * 257
    assert reason(encode(Image.fromarray(deep))) == (
        "16 bits per channel, must be 8 or fewer (input.channels=mono with input.white_level above "
        "255 takes grey files of 16)"
    )
    assert "16 bits" in reason(encode(Image.fromarray(deep), "TIFF"))
    assert "32 bits" in reason(encode(Image.fromarray(GREY.astype(np.float32)), "TIFF"))
    assert "32 bits" in reason(encode(Image.fromarray(GREY.astype(np.int32)), "TIFF"))
    rgb16 = png(2, 2, 16, 2, (b"\0" + bytes(12)) * 2)
    assert Image.open(io.BytesIO(rgb16)).mode == "RGB"
    assert "16 bits" in reason(rgb16)
    assert decode_bytes(png(2, 2, 8, 2, (b"\0" + bytes(6)) * 2)).shape == (2, 2, 3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_refused(kind: str) -> None:
    data = encode(Image.fromarray(RGB).convert("CMYK"), kind)
    assert reason(data) == "colour mode CMYK, must be grey, palette or RGB"


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_several_frames_are_refused(kind: str) -> None:
    frames = [Image.fromarray(np.roll(RGB, shift, 0)) for shift in range(3)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    assert reason(data) == "several frames or pages, must be 1"


def test_other_content_under_an_image_name() -> None:
    wrong = "not a PNG, JPEG, BMP, TIFF or WebP image"
    frames = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]
    assert reason(encode(frames[0], "GIF", save_all=True, append_images=frames[1:])) == wrong
    assert reason(b"these are notes, not pixels") == wrong
    assert reason(b"") == "empty file (0 bytes)"


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (100_000, 100_000)])
def test_huge_images_are_refused_from_their_header(width: int, height: int) -> None:
    assert width * height > MAX_PIXELS
    text = reason(png(width, height, 8, 2, b"\0"))
    assert text.endswith("at most 64 megapixels allowed")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files(kind: str, share: float) -> None:
    data = encode(Image.fromarray(np.repeat(np.repeat(RGB, 8, 0), 8, 1)), kind)
    assert reason(data[: int(len(data) * share)])


def test_a_truncated_png_says_so() -> None:
    data = encode(Image.fromarray(RGB))
    assert reason(data[: len(data) // 2]) == "truncated file"
    assert reason(data[:-6]) == "truncated file"


def test_a_flipped_bit_in_a_png_is_found_wherever_it_is() -> None:
    data = encode(Image.fromarray(RGB))
    random = np.random.default_rng(1)
    for place in random.integers(8, len(data) - 12, 60):
        wrong = bytearray(data)
        wrong[place] ^= 1 << random.integers(8)
        with pytest.raises(UnreadableImageError):
            decode_bytes(bytes(wrong))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged TIFF tags
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_damage_never_gives_another_exception(kind: str) -> None:
    data = encode(Image.fromarray(RGB), kind)
    random = np.random.default_rng(2)
    for _ in range(150):
        wrong = bytearray(data)
        for place in random.integers(0, len(data), 4):
            wrong[place] = random.integers(256)
        reason = ""
        pixels = None
        try:
            pixels = decode_bytes(bytes(wrong))
        except UnreadableImageError as error:
            reason = error.reason
        assert (pixels is None) == (0 < len(reason) < 150)
        assert pixels is None or (pixels.dtype == np.uint8 and pixels.shape[2:] == (3,))


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    for kind in ("PNG", "TIFF"):
        pixels = decode_bytes(encode(Image.fromarray(RGB), kind, exif=exif))
        np.testing.assert_array_equal(pixels, np.rot90(RGB, -1))


def test_files_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnreadableImageError, match="no such file"):
        decode(tmp_path / "none.png")
    with pytest.raises(UnreadableImageError, match="is a directory"):
        decode(tmp_path)
    path = tmp_path / "a.png"
    path.write_bytes(encode(Image.fromarray(RGB)))
    monkeypatch.setattr(decode_module, "MAX_BYTES", 100)
    with pytest.raises(UnreadableImageError, match=r"file of .* MB, at most"):
        decode(path)

    def refuse(*_: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(decode_module, "open", refuse, raising=False)
    with pytest.raises(UnreadableImageError, match=r"^permission denied$"):
        decode(path)


def test_webp_is_read_and_an_animated_one_refused() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", lossless=True, exact=True)
    assert np.array_equal(decode_bytes(stream.getvalue()), image)
    frames = [Image.fromarray(image), Image.fromarray(255 - image)]
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(UnreadableImageError, match="several frames or pages"):
        decode_bytes(stream.getvalue())


def crop_jpeg(**options: Any) -> bytes:
    crop = render_crops(np.array([True]), 96, np.random.default_rng(2))[0]
    return encode(Image.fromarray(crop), "JPEG", **{"quality": 90, **options})


def scan_of(jpeg: bytes) -> tuple[int, int]:
    """Return where the entropy-coded data of a JPEG with one scan begins and ends."""
    start = jpeg.index(b"\xff\xda")
    return start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big"), jpeg.rindex(b"\xff\xd9")


def test_a_jpeg_that_ends_early_or_lacks_its_end_is_truncated() -> None:
    data = crop_jpeg()
    _, end = scan_of(data)
    assert reason(data[:end]) == "truncated file"
    for missing in (1, 40):
        early = data[: end - missing] + data[end:]
        found = reason(early)
        assert found == "damaged file (corrupt JPEG data: premature end of data segment)"


def test_a_jpeg_with_bytes_between_its_last_block_and_its_end() -> None:
    data = crop_jpeg()
    _, end = scan_of(data)
    found = reason(data[:end] + bytes(50) + data[end:])
    assert found.startswith("damaged file (corrupt JPEG data: ")
    assert "extraneous bytes before marker 0xd9" in found


def test_a_wrong_restart_marker_in_a_jpeg() -> None:
    data = crop_jpeg(restart_marker_blocks=4)
    start, _ = scan_of(data)
    place = data.index(b"\xff\xd2", start)
    wrong = data[:place] + b"\xff\xd4" + data[place + 2 :]
    assert reason(wrong) == "damaged file (corrupt JPEG data: found marker 0xd4 instead of RST2)"
    missing = data[:place] + data[place + 2 :]
    assert reason(missing).startswith("damaged file (corrupt JPEG data: ")


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 50}]
)
def test_sound_jpegs_of_every_kind_pass(options) -> None:
    data = crop_jpeg(**options)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decode_bytes(data), np.asarray(image))
        grey = encode(image.convert("L"), "JPEG", **options)
    assert decode_bytes(grey).shape == (96, 96, 3)
    decode_bytes(data + bytes(100))  # some cameras fill their files up


@pytest.mark.parametrize("kind", ["zeros", "random", "dropped"])
def test_most_holes_in_a_jpeg_are_refused(kind: str) -> None:
    """Of those that change a pixel: the rest is for the check of frames, see docs/data.md."""
    random, refused, changed = np.random.default_rng(3), 0, 0
    for seed in range(60):
        crop = render_crops(np.array([seed % 2 == 0]), 96, np.random.default_rng(seed))[0]
        data = encode(Image.fromarray(crop), "JPEG", quality=75)
        start, end = scan_of(data)
        length = int(random.integers(20, 100))
        place = int(random.integers(start, end - length))
        filling = {"zeros": bytes(length), "random": random.bytes(length), "dropped": b""}[kind]
        wrong = data[:place] + filling + data[place + length :]
        try:
            changed += not np.array_equal(decode_bytes(wrong), decode_bytes(data))
        except UnreadableImageError:
            refused, changed = refused + 1, changed + 1
    assert changed > 55
    assert refused > 0.75 * changed


def test_metadata_that_cannot_be_read_is_no_damage() -> None:
    data = crop_jpeg()
    exif = b"Exif\0\0II*\0" + b"\xff" * 40
    broken = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    np.testing.assert_array_equal(decode_bytes(broken), decode_bytes(data))
    newer = data.replace(b"JFIF\0\1\1", b"JFIF\0\3\1")  # of which libjpeg warns
    assert newer != data
    np.testing.assert_array_equal(decode_bytes(newer), decode_bytes(data))


def test_a_multi_picture_jpeg_gives_its_first_picture() -> None:
    first, second = (Image.fromarray(np.repeat(np.repeat(a, 4, 0), 4, 1)) for a in (RGB, RGB[::-1]))
    stream = io.BytesIO()
    first.save(stream, "MPO", save_all=True, append_images=[second], quality=90)
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    alone = decode_bytes(encode(first, "JPEG", quality=90))
    np.testing.assert_array_equal(decode_bytes(stream.getvalue()), alone)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(io.BytesIO(encode(Image.fromarray(RGB), exif=exif))) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(decode_bytes(encode(Image.fromarray(RGB), exif=exif)), upright)


def strips(compression: str) -> tuple[bytes, list[tuple[int, int]]]:
    """Return a TIFF of four strips and where each lies: (start, length)."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((16, 16)).resize((64, 64))  # smooth: Deflate packs it
    data = encode(image, "TIFF", compression=compression, tiffinfo={278: 16})
    with Image.open(io.BytesIO(data)) as opened:
        tags = opened.tag_v2
        return data, list(zip(tags[273], tags[279], strict=True))


def loads(data: bytes) -> bool:
    """Whether Pillow finds nothing wrong."""
    try:
        Image.open(io.BytesIO(data)).load()
    except OSError:
        return False
    return True


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "jpeg"])
def test_a_damaged_strip_of_a_tiff_is_refused(compression: str) -> None:
    data, places = strips(compression)
    assert len(places) == 4
    assert decode_bytes(data).shape == (64, 64, 3)
    start, length = places[2]
    changed = (
        one
        for place in range(start + 10, start + length - 40)
        for size in (1, 8, 30)
        if loads(one := data[:place] + bytes(size) + data[place + size :]) and one != data
    )
    wrong = next(changed)
    if compression == "jpeg":  # libjpeg doesn't warn of every changed byte, but of a missing end
        wrong = data[: start + length - 6] + bytes(6) + data[start + length :]
        assert loads(wrong)
    assert reason(wrong).startswith("damaged file (strip 3 of 4: ")


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_a_missing_strip_of_a_tiff_is_refused(compression: str) -> None:
    data, places = strips(compression)
    offsets = b"".join(struct.pack("<I", start) for start, _ in places)
    assert data.count(offsets) == 1
    gone = data.replace(offsets, offsets[:8] + bytes(4) + offsets[12:])
    assert reason(gone) == "damaged file (strip 3 of 4 is missing)"
    tag = next(t for t in (3, 4) if struct.pack("<HHI", 278, t, 1) in data)
    at = data.index(struct.pack("<HHI", 278, tag, 1)) + 8
    fewer = data[:at] + struct.pack("<I", 8) + data[at + 4 :]
    assert reason(fewer) == "damaged file (4 of 8 strips are missing)"
