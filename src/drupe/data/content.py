"""Content of crops: the box that holds it, and crops that hold next to none.

A pixel is content where its brightest channel is above :data:`CONTENT_LEVEL`. Letters: N images,
S their side in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.patches import CONTENT_LEVEL, as_rgb

KEEP = 0.999
"""Share of all content pixels that ``input.crop: auto`` keeps at least."""

TINY = 0.002
"""A crop with less content than this share of its area is blank or tiny (33 pixels of 128×128)."""

FLAT = 8
"""A crop whose channels each span no more than this many grey levels shows nothing either."""

_CHUNK_BYTES = 32 << 20


@dataclass
class ContentMap:
    """Number of S×S images in which each pixel position is content.

    heat: int64 [S, S]; images, rows and columns: number of images and the summed heights and
    widths of their content boxes in pixels. Adding is exact and takes no more memory for more
    images.
    """

    side: int
    images: int = 0
    rows: int = 0
    columns: int = 0
    heat: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.heat = np.zeros((self.side, self.side), dtype=np.int64)

    def add(self, content: NDArray[np.bool_]) -> None:
        """Add the content masks of n images: bool [n, S, S]."""
        self.heat += content.sum(axis=0)
        self.images += len(content)
        self.rows += int(_spans(np.any(content, axis=2)).sum())
        self.columns += int(_spans(np.any(content, axis=1)).sum())

    def crop(self, keep: float = KEEP, multiple: int = 8) -> int:
        """Side of the smallest centre crop with at least ``keep`` of the content; see below."""
        total = int(self.heat.sum())
        for side in range(multiple, self.side, multiple):
            if total and self.share(side) >= keep:
                return side
        return self.side

    def share(self, side: int) -> float:
        """Share of the content pixels inside the centre crop of ``side`` pixels (1 if none)."""
        first = (self.side - side) // 2
        inside = slice(first, first + side)
        total = int(self.heat.sum())
        return int(self.heat[inside, inside].sum()) / total if total else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the audit's ``content_box``: pixels of images of ``image_side``."""
        rows, columns = (np.flatnonzero(self.heat.any(axis=axis)) for axis in (1, 0))
        found = len(rows) > 0
        crop = self.crop()
        return {
            "image_side": self.side,
            "images": self.images,
            "crop": crop,
            "kept": self.share(crop),
            "keep": KEEP,
            "top": int(rows[0]) if found else None,
            "bottom": int(rows[-1]) + 1 if found else None,
            "left": int(columns[0]) if found else None,
            "right": int(columns[-1]) + 1 if found else None,
            "mean_height": self.rows / self.images if self.images else None,
            "mean_width": self.columns / self.images if self.images else None,
        }


def _spans(lines: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Length from the first to the last True of each row of bool [n, S]; 0 where there is none."""
    first = lines.argmax(axis=1)
    last = lines.shape[1] - lines[:, ::-1].argmax(axis=1)
    return np.where(lines.any(axis=1), last - first, 0)


def content_masks(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the pixels of images uint8 [..., H, W, 3] that are content: bool [..., H, W]."""
    channels = np.maximum(np.maximum(images[..., 0], images[..., 1]), images[..., 2])
    mask: NDArray[np.bool_] = channels > CONTENT_LEVEL
    return mask


def content_crop(
    images: NDArray[np.uint8 | np.uint16],
    keep: float = KEEP,
    multiple: int = 8,
    white_level: int = 255,
) -> int:
    """Side in pixels of the smallest centre crop that holds at least ``keep`` of all content.

    images: [N, S, S, C], C = 3 or 1, white at ``white_level``; read in chunks, so a memory map is
    fine. The side is a multiple of ``multiple``, or S itself; S too where no image has content.
    """
    side = images.shape[1]
    content = ContentMap(side)
    chunk = max(1, _CHUNK_BYTES // (side * side * 3))
    for start in range(0, len(images), chunk):
        part = np.asarray(images[start : start + chunk])
        content.add(content_masks(as_rgb(part, white_level)))
    return content.crop(keep, multiple)


def is_blank(image: NDArray[np.uint8], content: NDArray[np.bool_]) -> bool:
    """Return whether an image uint8 [H, W, 3] with the given content mask shows next to nothing."""
    # One channel after the other: most images are done with the first.
    is_flat = all(np.ptp(image[..., channel]) <= FLAT for channel in range(image.shape[-1]))
    return is_flat or bool(np.count_nonzero(content) < TINY * content.size)
