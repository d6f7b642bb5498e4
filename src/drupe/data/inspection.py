"""Read every file of a dataset once and keep what an audit needs of it, never the pixels."""

from __future__ import annotations

import hashlib
import io
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.content import ContentMap, content_masks, is_blank
from drupe.data.copies.copy_rule import pixel_key
from drupe.data.copies.patches import WINDOW, as_rgb, window
from drupe.data.copies.sketches import Sketches
from drupe.data.decode import BYTE, FORMATS, UnreadableImageError, open_image, read_file
from drupe.parallel import in_order
from drupe.progress import Progress

CHUNK = 32
"""Files per task."""

MAPPED_SIDE = 1024
"""Content is mapped for square images up to this side in pixels."""

MAPPED_SIZES = 16
"""Sizes whose content is mapped; 16 of 1,024 pixels take 128 MB."""

Size = tuple[int, int]


@dataclass
class Inspection:
    """Contents of N files, in the order asked for.

    digests: SHA-256 (hex) of the bytes, empty where the file can't be read; keys: of the pixels
    (:func:`drupe.data.copies.copy_rule.pixel_key`), empty where it gives no image; sizes: (width,
    height) in pixels, or None; modes: file format and colour mode such as "PNG RGB", empty where
    the file has none;
    unreadable: index → reason; blank: indices of images that show next to nothing; content: side
    of square images → where their content lies.
    """

    digests: list[str] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    sizes: list[Size | None] = field(default_factory=list)
    modes: list[str] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)
    blank: list[int] = field(default_factory=list)
    content: dict[int, ContentMap] = field(default_factory=dict)
    _known_sizes: dict[Size, Size] = field(default_factory=dict, repr=False, compare=False)

    def record(self, file: _File) -> None:
        """Add what was found in the next file."""
        index = len(self.digests)
        self.digests.append(file.digest)
        self.keys.append(file.key)
        # One tuple for all images of a size, and one text for all files of a mode.
        self.sizes.append(file.size and self._known_sizes.setdefault(file.size, file.size))
        self.modes.append(sys.intern(file.mode))
        if file.reason:
            self.unreadable[index] = file.reason
        if file.blank:
            self.blank.append(index)
        elif file.content is not None:
            side = len(file.content)
            if side not in self.content and len(self.content) < MAPPED_SIZES:
                self.content[side] = ContentMap(side)
            if side in self.content:
                self.content[side].add(file.content[None])

    def size_counts(self) -> Counter[Size]:
        """Return how many readable images have each size."""
        return Counter(size for size in self.sizes if size is not None)

    def mode_counts(self) -> Counter[str]:
        """Return how many files have each format and colour mode."""
        return Counter(mode for mode in self.modes if mode)

    def content_box(self) -> dict[str, Any] | None:
        """Return the content box of the commonest square size; None where there is none."""
        if not self.content:
            return None
        return max(self.content.values(), key=lambda found: (found.images, found.side)).to_json()


@dataclass(frozen=True)
class _File:
    digest: str = ""
    key: bytes = b""
    size: Size | None = None
    mode: str = ""
    reason: str = ""
    blank: bool = False
    content: NDArray[np.bool_] | None = None


def inspect_files(
    root: Path,
    paths: Sequence[str],
    sketches: Sketches,
    *,
    workers: int | None,
    progress: Progress,
    white_level: int = BYTE,
) -> Inspection:
    """Read and decode the files ``root / path`` in threads; fill ``sketches`` as well.

    ``white_level``: the value of a white pixel; above 255, grey files of 9 to 16 bits are wanted. A
    file that gives no image is a finding, not an error. Memory doesn't grow with the number of
    images but for about 200 bytes each.
    """
    found = Inspection()

    def inspect_chunk(indices: Sequence[int]) -> list[_File]:
        files = []
        windows = np.zeros((len(indices), WINDOW, WINDOW, 2), dtype=np.uint8)
        for row, index in enumerate(indices):
            file, cut = _inspect(root / paths[index], white_level)
            files.append(file)
            if cut is not None and not file.blank:
                windows[row] = cut
        sketches.draw(indices[0], windows)
        return files

    with progress("inspect", len(paths), "images") as tracker:
        for files in in_order(inspect_chunk, range(len(paths)), CHUNK, workers):
            for file in files:
                found.record(file)
            tracker.advance(len(files))
    return found


def fetch_window(path: Path, white_level: int = BYTE) -> NDArray[np.uint8]:
    """Read the window of an image again; black if the file has become unreadable meanwhile."""
    try:
        return window(as_rgb(_pixels(read_file(path), white_level), white_level))
    except UnreadableImageError:
        return np.zeros((WINDOW, WINDOW, 2), dtype=np.uint8)


def _pixels(data: bytes, white_level: int) -> NDArray[np.uint8 | np.uint16]:
    """Return uint8 [H, W, 3], or uint16 [H, W, 1] where white lies above 255."""
    is_deep = white_level > BYTE
    pixels = np.asarray(open_image(data, mono=is_deep, white_level=white_level))
    return pixels[..., np.newaxis] if is_deep else pixels


def _inspect(path: Path, white_level: int) -> tuple[_File, NDArray[np.uint8] | None]:
    digest = mode = ""
    try:
        data = read_file(path)
        digest = hashlib.sha256(data).hexdigest()
        mode = _mode(data)
        pixels = _pixels(data, white_level)
    except UnreadableImageError as error:
        return _File(digest, mode=mode, reason=error.reason), None
    image = as_rgb(pixels, white_level)
    height, width = image.shape[:2]
    content = content_masks(image)
    mapped = height == width <= MAPPED_SIDE
    file = _File(
        digest=digest,
        key=pixel_key(pixels),
        size=(width, height),
        mode=mode,
        blank=is_blank(image, content),
        content=content if mapped else None,
    )
    return file, window(image)


def _mode(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return f"{image.format} {image.mode}"
    except Exception:  # Pillow's parsers raise a dozen types; decoding will say what is wrong
        return ""
