"""The pictures of a review: the drawn files' pixels alone, never their bytes or names."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from PIL import Image

from drupe.data.decode import UnreadableImageError, open_image, read_file
from drupe.data.fixes import is_inside
from drupe.labels.review.queue import ReviewItem

LARGEST_SIDE = 2048
"""Pixels: larger pictures are shrunk for the page."""


def read_inside(root: Path, path: str) -> bytes:
    """Return the bytes of the file at ``path`` (POSIX, relative to ``root``).

    Raises:
        UnreadableImageError: it can't be read, or lies outside.
    """
    if not is_inside(path):
        raise UnreadableImageError("not inside the dataset folder")
    return read_file(root / path)


def read_drawn(root: Path, item: ReviewItem) -> bytes:
    """Return the bytes of the item's file.

    Raises:
        UnreadableImageError: it can't be read, or holds another picture than when it was drawn.
    """
    content = read_inside(root, item.path)
    if hashlib.sha256(content).hexdigest() != item.sha256:
        raise UnreadableImageError("another picture than the one that was drawn")
    return content


def picture_png(content: bytes) -> bytes:
    """Return the picture in ``content``, an image file, as PNG with nothing but its pixels.

    Raises:
        UnreadableImageError: it doesn't decode.
    """
    picture = open_image(content)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    picture.info.clear()
    png = io.BytesIO()
    picture.save(png, "PNG", compress_level=1)
    return png.getvalue()
