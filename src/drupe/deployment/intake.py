"""What a caller hands in as images, brought to what the graph takes: one path for all of it.

Letters: N images; H × W pixels and C channels of an image, as ``bundle.json`` states them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.decode import UnreadableImageError
from drupe.data.image_contract import Channels, ImageContract, RawPixel
from drupe.errors import InputError


class ChannelOrderWarning(UserWarning):
    """Nobody said in which order the channels of arrays are, and a wrong one accepts defects."""


class Intake:
    """Takes arrays, paths and sequences of them by ``contract``.

    ``order``: of the channels of arrays; None where nobody said it, which is warned of once.
    """

    def __init__(self, contract: ImageContract, order: Channels | None) -> None:
        self._contract = contract
        self._shape, self._type = contract.shape, contract.dtype
        self._is_mono = contract.is_mono
        self._must_ask = order is None and not self._is_mono
        self._is_turned = order not in (None, contract.channels)

    def batch(self, images: Any) -> tuple[bool, NDArray[RawPixel]]:
        """Return whether one image was given, and all as the graph takes them: [N, H, W, C]."""
        if isinstance(images, np.ndarray):
            if self._is_mono:
                images = _with_channel(images)
            if images.dtype == self._type:
                if images.shape == self._shape:
                    return True, self._turned(images[np.newaxis], "image")
                if images.ndim == 4 and images.shape[1:] == self._shape and len(images):
                    return False, self._turned(images)
        if isinstance(images, (str, Path)):
            return True, self._read(images)[np.newaxis]
        if isinstance(images, np.ndarray) and images.ndim != 4:
            return True, self._checked(images)[np.newaxis]
        if not isinstance(images, (np.ndarray, Sequence)):
            raise InputError(
                f"images: must be a path, a {self._type} array or a sequence of them, got "
                f"{type(images).__name__}"
            )
        if len(images) == 0:
            raise InputError("images: must hold at least one, got none")
        named = ((image, f"image {place}") for place, image in enumerate(images))
        return False, np.stack([self._checked(image, where) for image, where in named])

    def _checked(self, image: Any, where: str = "image") -> NDArray[RawPixel]:
        """Return one image as the graph takes it, [H, W, C]; ``where`` names it."""
        if isinstance(image, (str, Path)):
            return self._read(image)
        if not isinstance(image, np.ndarray):
            got = type(image).__name__
            raise InputError(f"{where}: must be a path or a {self._type} array, got {got}")
        given, takes_any = image.shape, self._contract.sizes != "refuse"
        if self._is_mono and image.ndim == 2:
            image = image[..., np.newaxis]
        height, width, channels = self._shape
        shaped = image.ndim == 3 and image.shape[2] == channels and 0 not in image.shape
        if image.dtype != self._type or not (shaped if takes_any else image.shape == self._shape):
            sides = "H, W" if takes_any else f"{height}, {width}"
            wanted = f"[{sides}]" if self._is_mono else f"[{sides}, {channels}]"
            raise InputError(
                f"{where}: must be {self._type} {wanted}, got {image.dtype} {list(given)}"
            )
        return self._contract.of_array(self._turned(image, where))

    def _read(self, path: str | Path) -> NDArray[RawPixel]:
        try:
            return self._contract.of_file(path)
        except UnreadableImageError as error:
            raise InputError(f"{path}: can't be read ({error.reason})") from None

    def _turned(self, images: NDArray[RawPixel], where: str = "") -> NDArray[RawPixel]:
        """Return the caller's array(s) [..., C] with channels in the order of the graph.

        ``where``: the name of one image; left out, several are named by their place.

        Raises:
            InputError: a pixel of them lies above the white level.
        """
        if (highest := self._contract.too_bright(images)) is not None:
            brightest = images.reshape(len(images), -1).max(1).argmax()
            where = where or f"image {brightest}"
            raise InputError(
                f"{where}: pixel value {highest:,}, must be at most the white level "
                f"{self._contract.white_level:,}"
            )
        if self._must_ask:
            self._must_ask = False
            order = self._contract.channels
            warnings.warn(
                f"arrays are taken as {order.upper()}, because load() wasn't told their order: say "
                f'order="{order}", or order="{"bgr" if order == "rgb" else "rgb"}" (OpenCV reads '
                "BGR)",
                ChannelOrderWarning,
                stacklevel=4,
            )
        return np.ascontiguousarray(images[..., ::-1]) if self._is_turned else images


def _with_channel(images: NDArray[RawPixel]) -> NDArray[RawPixel]:
    """Return mono arrays [H, W] or [N, H, W] with the axis that channels have in the graph."""
    lacks_it = images.ndim == 2 or (images.ndim == 3 and images.shape[2] != 1)
    return images[..., np.newaxis] if lacks_it else images
