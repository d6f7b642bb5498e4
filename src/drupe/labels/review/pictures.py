"""The pictures of a review: the drawn files' pixels alone, never their bytes or names."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from drupe.data.decode import UnreadableImageError, open_image, read_file
from drupe.data.fixes import is_inside, outside
from drupe.data.joined import is_joined
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.table import folder_of, is_table
from drupe.labels.review.queue import ReviewItem

LARGEST_SIDE = 2048
"""Pixels: larger pictures are shrunk for the page."""


@dataclass(frozen=True)
class ReviewPictures:
    """The files of a dataset: below ``root``, and those ``elsewhere`` that a table names."""

    root: Path
    elsewhere: frozenset[str] = frozenset()

    @classmethod
    def of(cls, dataset: Path, naming: Naming) -> ReviewPictures:
        """Return those of a folder, of a table, or of several of them."""
        if is_table(dataset) or is_joined(dataset):
            return cls(folder_of(dataset), outside(list_dataset(dataset, naming).paths))
        return cls(dataset)

    def read(self, path: str) -> bytes:
        """Return the bytes of the file at ``path`` (POSIX, relative to ``root``).

        Raises:
            UnreadableImageError: it can't be read, or is none of the dataset's.
        """
        if not is_inside(path) and path not in self.elsewhere:
            raise UnreadableImageError("not inside the dataset folder")
        return read_file(self.root / path)

    def read_drawn(self, item: ReviewItem) -> bytes:
        """Return the bytes of the item's file.

        Raises:
            UnreadableImageError: it can't be read, or holds another picture than when it was drawn.
        """
        content = self.read(item.path)
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
