"""The one path from a file, or a camera's array, to the pixels that a network is given.

Packing (and so training and evaluation), the export's gate, ``drupe predict`` and the line's
``decide`` all go through :class:`ImageContract`: what is certified is what the line runs.

Letters: h and w, height and width of an image in pixels; H and W those that the network takes; C
its channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.bounds import BYTES_PER_PIXEL, most_pixels
from drupe.data.decode import (
    BYTE,
    DEEPEST,
    UnreadableImageError,
    open_image,
    read_file,
    require_length,
)
from drupe.data.resizing import resize_deep
from drupe.errors import InputError
from drupe.parallel import in_order
from drupe.progress import Progress, silent
from drupe.sides import Size, height_and_width, in_words

Sizes = Literal["refuse", "resize", "pad"]
Order = Literal["rgb", "bgr"]
Channels = Literal["rgb", "bgr", "mono"]
RawPixel = np.uint8 | np.uint16

FILTER = "bilinear, antialiased (Pillow; above 8 bits exact, rounded once)"
"""How ``resize`` and ``pad`` scale: fixed-point arithmetic, the same pixels on every platform."""

CHUNK = 64

Pixels = TypeVar("Pixels", bound=np.generic)


class OtherSizeError(UnreadableImageError):
    """An image of another size, where none but H × W is taken; ``size`` is (width, height)."""

    def __init__(self, size: tuple[int, int], taken: Size) -> None:
        self.size = size
        super().__init__(f"must be {in_words(taken)} pixels, got {size[0]} x {size[1]}")


@dataclass(frozen=True)
class ImageContract:
    """How an image becomes uint8, or uint16, [H, W, C].

    size: H × W; sizes: what is done with an image of another size. ``refuse``: nothing; ``resize``:
    scaled to H × W, its aspect ratio lost; ``pad``: put into the middle of a black image, first
    shrunk to fit it where it is larger, its aspect ratio kept. channels: the order that the
    network's input has, or ``mono``: one channel, from grey files and arrays. Files are always
    decoded upright and to the right order. white_level: the value of a white pixel; above 255 that
    is mono in uint16, from files of 9 to 16 bits.
    """

    size: Size
    sizes: Sizes = "refuse"
    channels: Channels = "rgb"
    white_level: int = BYTE

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return (*height_and_width(self.size), 1 if self.is_mono else 3)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel: uint8, or uint16 where white lies above 255."""
        return np.dtype(np.uint8 if self.white_level == BYTE else np.uint16)

    @property
    def is_mono(self) -> bool:
        """True where there is one channel."""
        return self.channels == "mono"

    def of_file(self, path: Path | str) -> NDArray[RawPixel]:
        """Return the pixels of an image file, [H, W, C].

        Raises:
            UnreadableImageError: what :func:`drupe.data.decode.open_image` raises, or more pixels
                or bytes than :mod:`drupe.data.bounds` allows for a network that takes H × W.
            OtherSizeError: another size, where ``sizes`` is ``refuse``.
        """
        return self.of_bytes(read_file(path, self._most_bytes))

    def of_bytes(self, data: bytes) -> NDArray[RawPixel]:
        """Return the pixels of a file's bytes, [H, W, C]; see :meth:`of_file`."""
        require_length(data, self._most_bytes)
        image = open_image(data, self.is_mono, self.white_level, self._most_pixels, self._look)
        return self.ordered(self._fitted(image))

    def of_array(self, image: NDArray[RawPixel]) -> NDArray[RawPixel]:
        """Fit an array [h, w, C] of this type, whose channels are in the right order already.

        Raises:
            OtherSizeError: another size, where ``sizes`` is ``refuse``.
        """
        if image.shape == self.shape:
            return image
        return self._fitted(Image.fromarray(image[..., 0] if self.is_mono else image))

    def ordered(self, images: NDArray[Pixels]) -> NDArray[Pixels]:
        """Return RGB arrays [..., 3] in the order of the network's input; it undoes itself.

        Mono arrays stay as they are.
        """
        return np.ascontiguousarray(images[..., ::-1]) if self.channels == "bgr" else images

    def too_bright(self, images: NDArray[RawPixel]) -> int | None:
        """Return the largest pixel value of ``images`` where it lies above white, else None."""
        if self.white_level in (BYTE, DEEPEST):
            return None
        highest = int(images.max())
        return highest if highest > self.white_level else None

    @property
    def _most_pixels(self) -> int:
        return most_pixels(max(height_and_width(self.size)))

    @property
    def _most_bytes(self) -> int:
        return BYTES_PER_PIXEL * self._most_pixels

    def _look(self, size: tuple[int, int]) -> None:
        """Refuse an image of another size before it is decoded, where ``sizes`` says so."""
        height, width, _ = self.shape
        if self.sizes == "refuse" and size != (width, height):
            raise OtherSizeError(size, self.size)

    def _fitted(self, image: Image.Image) -> NDArray[RawPixel]:
        height, width, _ = self.shape
        if image.size == (width, height):
            return self._pixels(image)
        if self.sizes == "refuse":
            raise OtherSizeError(image.size, self.size)
        if self.sizes == "resize":
            return self._scaled(image, height, width)
        shrink = min(height / image.height, width / image.width)
        rows, columns = image.height, image.width
        if shrink < 1:
            rows, columns = (max(1, round(shrink * pixels)) for pixels in (rows, columns))
        canvas = np.zeros(self.shape, self.dtype)
        top, left = (height - rows) // 2, (width - columns) // 2
        fitted = self._scaled(image, rows, columns)
        canvas[top : top + rows, left : left + columns] = fitted
        return canvas

    def _scaled(self, image: Image.Image, height: int, width: int) -> NDArray[RawPixel]:
        if image.size == (width, height):
            return self._pixels(image)
        if self.dtype == np.uint16:
            return resize_deep(np.asarray(image), height, width)[..., np.newaxis]
        return self._pixels(image.resize((width, height), Image.Resampling.BILINEAR))

    def _pixels(self, image: Image.Image) -> NDArray[RawPixel]:
        pixels = np.asarray(image)
        return pixels[..., np.newaxis] if self.is_mono else pixels


def read_images(
    root: Path,
    paths: Sequence[str],
    contract: ImageContract,
    progress: Progress = silent,
    what: str = "decode",
) -> NDArray[RawPixel]:
    """Return the pixels of the files ``root / path``, [N, H, W, C], decoded in threads.

    Raises:
        InputError: the first file that gives no image.
    """

    def read(indices: Sequence[int]) -> list[NDArray[RawPixel]]:
        return [_read(root / paths[index], contract) for index in indices]

    images = np.empty((len(paths), *contract.shape), contract.dtype)
    done = 0
    with progress(what, len(paths), "images") as tracker:
        for part in in_order(read, range(len(paths)), CHUNK, None):
            images[done : done + len(part)] = part
            done += len(part)
            tracker.advance(len(part))
    return images


def _read(path: Path, contract: ImageContract) -> NDArray[RawPixel]:
    try:
        return contract.of_file(path)
    except UnreadableImageError as error:
        raise InputError(f"{path}: can't be read ({error.reason})") from None
