"""How much one picture may cost, told from its size, pages and scans before it is decoded.

A file of a few kilobytes can ask for minutes and gigabytes: 64 megapixels of one colour, a TIFF of
60,000 pages, a progressive JPEG that goes over all its pixels in hundreds of scans. Nothing is
decoded at reduced scale: other pixels than those that were learnt from would be judged.
"""

from __future__ import annotations

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

MAX_PIXELS = 64_000_000
"""Larger images are refused whoever asks, before memory is claimed."""

LEAST_LIMIT = 16_000_000
SHRINKING = 32
"""A network that takes S × S gets images of at most (32 · S)² pixels, or of 16 megapixels where
that is more: about a second to decode, 150 MB."""

BYTES_PER_PIXEL = 8
"""Of a file at most, at the most pixels: what four channels of 16 bits take uncompressed."""

SCANS = 16
"""Passes over the most pixels that a progressive JPEG may take; cameras and encoders write 10."""

ORIENTATION = 0x0112
TURNED = frozenset({5, 6, 7, 8})
"""Values of the EXIF orientation that swap width and height."""


def most_pixels(side: int) -> int:
    """Return the pixels that an image may have where ``side`` × ``side`` of them are wanted."""
    return min(MAX_PIXELS, max(LEAST_LIMIT, (SHRINKING * side) ** 2))


def has_more_frames(image: Image.Image) -> bool:
    """Return whether there is a second frame or page; nobody counts thousands of them.

    Of a multi-picture JPEG (MPO) the first picture is the image.
    """
    if image.format == "MPO":
        return False
    if isinstance(image, TiffImageFile):
        return bool(image.is_animated)
    return getattr(image, "n_frames", 1) > 1


def too_costly(image: Image.Image, data: bytes, most: int) -> str | None:
    """Say why an opened image of the file ``data`` isn't decoded, None where it is.

    ``most``: pixels.
    """
    width, height = image.size
    if width * height > most:
        return f"{width}x{height} pixels, at most {most / 1e6:,.0f} megapixels allowed"
    if image.format in ("JPEG", "MPO"):
        # Coded pixels never hold these two bytes, which begin a scan.
        scans = data.count(b"\xff\xda")
        if scans * width * height > SCANS * most or scans > SCANS * 64:
            return f"{scans:,} scans over {width}x{height} pixels, which no camera writes"
    return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height as they will be once the image is upright, without decoding it."""
    width, height = image.size
    # Of TIFF, Pillow says the upright size itself; of the others, only what comes before pixels.
    has_orientation = image.format != "TIFF" and "exif" in image.info
    is_turned = has_orientation and image.getexif().get(ORIENTATION) in TURNED
    return (height, width) if is_turned else (width, height)
