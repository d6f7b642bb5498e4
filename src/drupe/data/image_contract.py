"""The one path from a file, or a camera's array, to the pixels that a network is given.

Packing (and so training and evaluation), the export's gate, ``drupe predict`` and the line's
``decide`` all go through :class:`ImageContract`: what is certified is what the line runs.

Letters: H and W, height and width of an image in pixels; S the side that the network takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.bounds import BYTES_PER_PIXEL, most_pixels
from drupe.data.decode import UnreadableImageError, open_image, read_file, require_length
from drupe.data.parallel import in_order
from drupe.errors import InputError
from drupe.progress import Progress, silent

Sizes = Literal["refuse", "resize", "pad"]
Channels = Literal["rgb", "bgr"]

FILTER = "bilinear, antialiased (Pillow)"
"""How ``resize`` and ``pad`` scale: fixed-point arithmetic, the same pixels on every platform."""

CHUNK = 64

Pixels = TypeVar("Pixels", bound=np.generic)


class OtherSizeError(UnreadableImageError):
    """An image of another size, where none but S × S is taken; ``size`` is (width, height)."""

    def __init__(self, size: tuple[int, int], side: int) -> None:
        self.size = size
        super().__init__(f"must be {side} x {side} pixels, got {size[0]} x {size[1]}")


@dataclass(frozen=True)
class ImageContract:
    """How an image becomes uint8 [S, S, 3].

    side: S; sizes: what is done with an image of another size. ``refuse``: nothing; ``resize``:
    scaled to S × S, its aspect ratio lost; ``pad``: put into the middle of a black square, first
    shrunk to fit it where it is larger, its aspect ratio kept. channels: the order that the
    network's input has. Files are always decoded upright and to the right order.
    """

    side: int
    sizes: Sizes = "refuse"
    channels: Channels = "rgb"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(S, S, 3)."""
        return (self.side, self.side, 3)

    def of_file(self, path: Path | str) -> NDArray[np.uint8]:
        """Return the pixels of an image file, uint8 [S, S, 3].

        Raises:
            UnreadableImageError: what :func:`drupe.data.decode.decode` raises, or more pixels or
                bytes than :mod:`drupe.data.bounds` allows for a network that takes S × S.
            OtherSizeError: another size, where ``sizes`` is ``refuse``.
        """
        return self.of_bytes(read_file(path, self._most_bytes))

    def of_bytes(self, data: bytes) -> NDArray[np.uint8]:
        """Return the pixels of a file's bytes, uint8 [S, S, 3]; see :meth:`of_file`."""
        require_length(data, self._most_bytes)
        image = open_image(data, most_pixels(self.side), self._look)
        return self.ordered(np.asarray(self._fitted(image)))

    def of_array(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Fit an array uint8 [H, W, 3], whose channels are in the right order already.

        Raises:
            OtherSizeError: another size, where ``sizes`` is ``refuse``.
        """
        if image.shape == self.shape:
            return image
        return np.asarray(self._fitted(Image.fromarray(image)))

    def ordered(self, images: NDArray[Pixels]) -> NDArray[Pixels]:
        """Return RGB arrays [..., 3] in the order of the network's input; it undoes itself."""
        return images if self.channels == "rgb" else np.ascontiguousarray(images[..., ::-1])

    @property
    def _most_bytes(self) -> int:
        return BYTES_PER_PIXEL * most_pixels(self.side)

    def _look(self, size: tuple[int, int]) -> None:
        """Refuse an image of another size before it is decoded, where ``sizes`` says so."""
        if self.sizes == "refuse" and size != (self.side, self.side):
            raise OtherSizeError(size, self.side)

    def _fitted(self, image: Image.Image) -> Image.Image:
        side = self.side
        if image.size == (side, side):
            return image
        if self.sizes == "refuse":
            raise OtherSizeError(image.size, side)
        if self.sizes == "resize":
            return image.resize((side, side), Image.Resampling.BILINEAR)
        shrink = side / max(image.size)
        if shrink < 1:
            width, height = (max(1, round(shrink * pixels)) for pixels in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        canvas = Image.new("RGB", (side, side))
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return canvas


def read_images(
    root: Path,
    paths: Sequence[str],
    contract: ImageContract,
    progress: Progress = silent,
    what: str = "decode",
) -> NDArray[np.uint8]:
    """Return the pixels of the files ``root / path``, uint8 [N, S, S, 3], decoded in threads.

    Raises:
        InputError: the first file that gives no image.
    """

    def read(indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        return [_read(root / paths[index], contract) for index in indices]

    images = np.empty((len(paths), *contract.shape), np.uint8)
    done = 0
    with progress(what, len(paths), "images") as tracker:
        for part in in_order(read, range(len(paths)), CHUNK, None):
            images[done : done + len(part)] = part
            done += len(part)
            tracker.advance(len(part))
    return images


def _read(path: Path, contract: ImageContract) -> NDArray[np.uint8]:
    try:
        return contract.of_file(path)
    except UnreadableImageError as error:
        raise InputError(f"{path}: can't be read ({error.reason})") from None
