"""One image file becomes uint8 [H, W, 3], or a short reason why it doesn't.

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
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from drupe.data.bounds import MAX_PIXELS, has_more_frames, too_costly, upright_size

MAX_BYTES = 1 << 29
"""Larger files are refused unread: no image of ``MAX_PIXELS`` with 8 bits a channel needs more."""

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
OPAQUE_MODES = frozenset({"1", "L", "P", "RGB"})
ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})


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
    dropped, and the EXIF orientation is applied.

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
    most: int = MAX_PIXELS,
    look: Callable[[tuple[int, int]], None] = lambda size: None,
) -> Image.Image:
    """Decode the bytes of an image file to a Pillow image in mode RGB; see :func:`decode`.

    ``most``: pixels that it may have. ``look`` is given its upright width and height before it is
    decoded, and may raise.
    """
    if not data:
        raise UnreadableImageError("empty file (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_header(image, data, most)
            look(upright_size(image))
            _check_png(image, data)
            return _to_rgb(ImageOps.exif_transpose(image))
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
    bits = _bits_per_channel(image, data)
    if bits > 8:
        raise UnreadableImageError(f"{bits} bits per channel, must be 8 or fewer")
    if has_more_frames(image):
        raise UnreadableImageError("several frames or pages, must be 1")
    if image.mode not in OPAQUE_MODES | ALPHA_MODES:
        raise UnreadableImageError(f"colour mode {image.mode}, must be grey, palette or RGB")


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


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        image = image.convert("RGBA")
        lowest = int(np.asarray(image.getchannel("A")).min())
        if lowest < 255:
            raise UnreadableImageError(f"transparency (alpha down to {lowest}), must be opaque")
    return image if image.mode == "RGB" else image.convert("RGB")
