"""Small pictures of crops for a page that stands alone: WebP in data URIs, bounded in bytes."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.copies.patches import as_rgb
from drupe.data.decode import DEEPEST, UnreadableImageError, open_image, read_file
from drupe.data.fixes import is_inside

SIDE = 112
"""Pixels of a picture's longer side; smaller crops stay as they are."""

QUALITY = 72
"""Of WebP: a defect a few pixels wide is still to be seen."""

WHOLE_SIDE = 256
"""Pixels of the longer side of a picture that a person is to judge: kept without loss."""

MOST_BYTES = 4_000_000
"""All pictures of a page together, before base64 adds a third."""


@dataclass
class Pictures:
    """Makes pictures of a dataset's files until the page has enough; ``root`` None: makes none.

    elsewhere: paths out of the folder that the dataset's table names; no others are read there.
    """

    root: Path | None
    room: int = MOST_BYTES
    elsewhere: Container[str] = ()
    _made: dict[str, str | None] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def of(self, path: str) -> str | None:
        """Return a data URI of the crop at ``path`` (POSIX, relative to the root).

        None where the file is gone or damaged, or where the page is full.
        """
        if path not in self._made:
            self._made[path] = self._make(path)
        return self._made[path]

    def whole(self, path: str) -> str | None:
        """Return a data URI as :meth:`of` does, with every pixel as it is in the file.

        Only crops longer than :data:`WHOLE_SIDE` are shrunk to it.
        """
        file = self.file(path)
        if file is None or self.room <= 0:
            return None
        try:
            picture = _picture(read_file(file))
        except UnreadableImageError:
            return None
        return self._encoded(picture, WHOLE_SIDE, lossless=True)

    def digest(self, path: str) -> str:
        """Return the SHA-256 (hex) of the file that :meth:`of` made a picture of, else nothing."""
        return self._digests.get(path, "")

    def file(self, path: str) -> Path | None:
        """Return the file that ``path`` means; None where it may not be read here."""
        if self.root is None or not (is_inside(path) or path in self.elsewhere):
            return None
        return self.root / path

    def draw(self, pixels: NDArray[np.uint8]) -> str | None:
        """Return a data URI of RGB ``pixels`` [H, W, 3], None where the page is full."""
        return self._encoded(Image.fromarray(pixels)) if self.room > 0 else None

    def _make(self, path: str) -> str | None:
        file = self.file(path)
        if file is None or self.room <= 0:
            return None
        try:
            content = read_file(file)
            picture = _picture(content)
        except UnreadableImageError:
            return None
        self._digests[path] = hashlib.sha256(content).hexdigest()
        return self._encoded(picture)

    def _encoded(self, picture: Image.Image, side: int = SIDE, *, lossless: bool = False) -> str:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        picture.save(content, "WEBP", quality=QUALITY, method=4, lossless=lossless)
        data = content.getvalue()
        self.room -= len(data)
        return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def _picture(data: bytes) -> Image.Image:
    """Decode an image file for people: of more than 8 bits, its brightest pixel becomes white."""
    try:
        return open_image(data)
    except UnreadableImageError as error:
        try:
            deep = np.asarray(open_image(data, mono=True, white_level=DEEPEST))[..., np.newaxis]
        except UnreadableImageError:
            raise error from None
    return Image.fromarray(as_rgb(deep, max(1, int(deep.max()))))
