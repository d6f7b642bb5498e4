"""One image file becomes pixels, or a short reason why it doesn't.

Letters: H and W, height and width in pixels.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from drupe.data.bounds import MAX_PIXELS, has_more_frames, too_costly, upright_size
from drupe.data.damage import PREMATURE_END, jpeg_damage, tiff_damage

MAX_BYTES = 1 << 29
"""Larger files are refused unread: no image of ``MAX_PIXELS`` with 8 bits a channel needs more."""

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
OPAQUE_MODES = frozenset({"1", "L", "P", "RGB"})
ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
GREY_MODES = frozenset({"1", "L", "LA"})
SIXTEEN_BITS = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
DEEP_MODES = SIXTEEN_BITS | {"I", "F"}

BYTE, DEEPEST = 255, 65_535
"""Value of a white pixel in 8 and in 16 bits."""

TRUNCATED = "truncated file"


class UnreadableImageError(Exception):
    """A file that gives no image; ``reason`` says why in a few words."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def read_file(path: Path | str, most: int | None = None) -> bytes:
    """Return the bytes of ``path``; :class:`UnreadableImageError` where that isn't possible.

    ``most``: bytes that it may have, by default ``MAX_BYTES``.
    """
    most = MAX_BYTES if most is None else most
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (half the time of Path.open, a million times)
            size = os.fstat(file.fileno()).st_size
            if size > most:
                raise UnreadableImageError(_too_long(size, most))
            return file.read()
    except OSError as error:
        raise UnreadableImageError((error.strerror or str(error)).lower()) from None
    except ValueError as error:  # a NUL in the name
        raise UnreadableImageError(str(error)) from None


def require_length(data: bytes, most: int) -> None:
    """Raise an :class:`UnreadableImageError` where a file has more than ``most`` bytes."""
    if len(data) > most:
        raise UnreadableImageError(_too_long(len(data), most))


def _too_long(size: int, most: int) -> str:
    return f"file of {size / 1e6:,.0f} MB, at most {most / 1e6:,.0f} MB allowed"


def decode(path: Path | str) -> NDArray[np.uint8]:
    """Decode an image file.

    Grey, 1-bit and palette images become RGB, an alpha channel that is opaque everywhere is
    dropped, and the EXIF orientation is applied. Of a multi-picture JPEG (MPO) that is its first
    picture.

    Returns
    -------
    uint8 [H, W, 3], contiguous, RGB.

    Raises
    ------
    UnreadableImageError
        Not a PNG, JPEG, BMP, TIFF or WebP; damaged or truncated; more than 8 bits a channel;
        transparency; CMYK and other colour spaces; several frames; more than 64 megapixels;
        a file that can't be opened.
    """
    return decode_bytes(read_file(path))


def decode_bytes(data: bytes) -> NDArray[np.uint8]:
    """Decode the bytes of an image file; see :func:`decode`."""
    return np.array(open_image(data))


def open_image(
    data: bytes,
    mono: bool = False,
    white_level: int = BYTE,
    most: int = MAX_PIXELS,
    look: Callable[[tuple[int, int]], None] = lambda size: None,
) -> Image.Image:
    """Decode the bytes of an image file to a Pillow image; see :func:`decode`.

    ``mono``: only grey files are taken, in mode L. ``white_level``: the value of a white pixel;
    above 255, only grey files of more than 8 bits are taken, in mode I;16. RGB otherwise. ``most``:
    pixels that it may have. ``look`` is given its upright width and height before it is decoded,
    and may raise.

    Raises:
        UnreadableImageError: also a pixel above ``white_level``.
    """
    if not data:
        raise UnreadableImageError("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, data, most)
            bits = _bits_per_channel(image, data)
            if white_level > BYTE:
                _check_deep(image, bits)
            else:
                _check_bytes(image, bits, mono)
            look(upright_size(image))
            _check_png(image, data)
            _check_pixels(image, data)
            upright = _upright(image)
            if white_level > BYTE:
                return _native(upright, white_level)
            return _opaque(upright, "L" if mono else "RGB")
    except (UnreadableImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise UnreadableImageError("not a PNG, JPEG, BMP, TIFF or WebP image") from None
    except Image.DecompressionBombError:
        allowed = f"at most {most / 1e6:,.0f} megapixels allowed"
        raise UnreadableImageError(f"more than 150 megapixels, {allowed}") from None
    except Exception as error:  # Pillow's parsers raise a dozen types on damaged bytes
        raise UnreadableImageError(_damage(error)) from None


def _damage(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "truncated" in text.lower() or isinstance(error, EOFError | struct.error):
        return TRUNCATED
    return f"damaged file ({text or type(error).__name__})"[:120]


def _check_header(image: Image.Image, data: bytes, most: int) -> None:
    reason = too_costly(image, data, most)
    if reason is not None:
        raise UnreadableImageError(reason)
    if has_more_frames(image):
        raise UnreadableImageError("several frames or pages, must be 1")


def _check_bytes(image: Image.Image, bits: int, mono: bool) -> None:
    """Refuse what isn't an image of up to 8 bits a channel, or no grey one where ``mono``."""
    if bits > 8:
        way = ""
        if image.mode in SIXTEEN_BITS:
            way = " (input.channels=mono with input.white_level above 255 takes grey files of 16)"
        raise UnreadableImageError(f"{bits} bits per channel, must be 8 or fewer{way}")
    if image.mode not in OPAQUE_MODES | ALPHA_MODES:
        raise UnreadableImageError(f"colour mode {image.mode}, must be grey, palette or RGB")
    if mono and image.mode not in GREY_MODES:
        raise UnreadableImageError(
            f"colour mode {image.mode}, must be grey (input.channels=rgb takes colour)"
        )


def _check_deep(image: Image.Image, bits: int) -> None:
    """Refuse what isn't a grey image of 9 to 16 bits."""
    if bits <= 8:
        raise UnreadableImageError(
            f"{bits} bits per channel, must be 9 to 16 (input.white_level=255 takes 8)"
        )
    if image.mode not in SIXTEEN_BITS or "transparency" in image.info:
        what = f"{bits} bits per channel, colour mode {image.mode}"
        raise UnreadableImageError(f"{what}, must be opaque grey of 9 to 16 bits, unsigned")
    # Pillow turns such files of 8 bits over, and leaves those of 16 as they are.
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0:
        raise UnreadableImageError("white is stored as 0, black must be (TIFF tag 262 = 1)")


def _bits_per_channel(image: Image.Image, data: bytes) -> int:
    """Pillow quietly reads 16-bit RGB as 8-bit RGB, so the file itself has to be asked."""
    if image.mode in DEEP_MODES:
        return 16 if image.mode.startswith("I;16") else 32
    if image.format == "PNG":
        return data[24]  # the IHDR chunk is always first, and this is its bit depth
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(BITSPERSAMPLE, 1)
        return int(np.max(np.asarray(bits)))
    return 8


def _check_png(image: Image.Image, data: bytes) -> None:
    """Verify a PNG's checksums, which Pillow's loading skips for pixel data."""
    if image.format == "PNG":
        if b"IEND" not in data:
            raise UnreadableImageError(TRUNCATED)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as again:
            again.verify()


def _check_pixels(image: Image.Image, data: bytes) -> None:
    """Refuse damage to the pixels of a JPEG or TIFF that Pillow decodes without a word."""
    reason = None
    if image.format in ("JPEG", "MPO"):
        reason = jpeg_damage(data)
    elif isinstance(image, TiffImageFile):
        reason = tiff_damage(image, data)
    if reason is not None:
        whole = not reason.startswith(PREMATURE_END)
        raise UnreadableImageError(f"damaged file ({reason})" if whole else TRUNCATED)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image of each EXIF orientation upright (TIFF 6.0, tag 274)."""


def _upright(image: Image.Image) -> Image.Image:
    """Return the image as its EXIF orientation has it; nothing is written anew."""
    image.load()
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises a dozen types; metadata that can't be read turns nothing
        orientation = 1
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _native(image: Image.Image, white_level: int) -> Image.Image:
    """Return an image of 16 bits in this machine's byte order; none of its pixels is too bright."""
    pixels = np.asarray(image).astype(np.uint16)
    highest = int(pixels.max())
    if highest > white_level:
        raise UnreadableImageError(
            f"pixel value {highest:,}, must be at most the white level {white_level:,}"
        )
    return Image.fromarray(pixels)


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        lowest = int(np.asarray(alpha).min())
        if lowest < 255:
            raise UnreadableImageError(f"transparency (alpha down to {lowest}), must be opaque")
        if image.mode not in GREY_MODES:
            image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
