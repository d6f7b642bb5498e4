"""Small pictures of crops for a page that stands alone: WebP in data URIs, bounded in bytes."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from drupe.data.copies.patches import as_rgb
from drupe.data.decode import DEEPEST, UnreadableImageError, open_image, read_file
from drupe.data.fixes import is_inside

SIDE = 112
"""Pixels of a picture's longer side; smaller crops stay as they are."""

QUALITY = 72
"""Of WebP: a defect a few pixels wide is still to be seen."""

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

    def digest(self, path: str) -> str:
        """Return the SHA-256 (hex) of the file that :meth:`of` made a picture of, else nothing."""
        return self._digests.get(path, "")

    def _make(self, path: str) -> str | None:
        if self.root is None or self.room <= 0:
            return None
        if not is_inside(path) and path not in self.elsewhere:
            return None
        try:
            file = read_file(self.root / path)
            picture = _picture(file)
        except UnreadableImageError:
            return None
        self._digests[path] = hashlib.sha256(file).hexdigest()
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        content = io.BytesIO()
        picture.save(content, "WEBP", quality=QUALITY, method=4)
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
