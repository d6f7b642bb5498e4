"""Why this decision: which places of an image the score comes from, by occlusion.

A soft patch of the image is replaced by what surrounds it, blurred, and the score asked for again,
from the very function that decides; patches of two sizes go over the whole image (Zeiler & Fergus
2014, "Visualizing and understanding convolutional networks", section 4.2). By how much the logit
falls is laid out over the patch. Nothing of the network is looked into, so it is the same for every
backend and precision, and needs no PyTorch.

It shows where, not what, and one place at a time: of two pits that each suffice, covering either
changes little.

Letters: H × W pixels and C channels of an image, P patches.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.image_contract import RawPixel

Heat = NDArray[np.float32]
Scorer = Callable[[NDArray[RawPixel]], NDArray[np.float32]]

PATCHES_A_SIDE = (10, 6)
"""Of each size so many patches would lie side by side; they overlap by two thirds."""

OVERLAP = 3
BATCH = 32
LEAST = 1e-6
"""Scores are kept so far from 0 and 1 before their logit is taken."""

STRONGEST = 0.65
"""Opacity of the overlay where the score comes from most."""


@dataclass(frozen=True)
class Explanation:
    """Where the score of an image comes from.

    ``image``: [H, W, C], as the graph takes it; ``heat``: float32 [H, W], by how much the logit
    falls without the place: positive speaks for a defect, negative against one.
    """

    image: NDArray[RawPixel]
    heat: Heat
    score: float

    @property
    def peak(self) -> tuple[int, int]:
        """Row and column of the place that speaks most for a defect."""
        row, column = np.unravel_index(int(self.heat.argmax()), self.heat.shape)
        return int(row), int(column)

    def overlay(self, is_bgr: bool = False) -> NDArray[np.uint8]:
        """Return the image in grey, uint8 [H, W, 3] RGB: orange for a defect, blue against one.

        ``is_bgr``: the order of the channels in ``image``.
        """
        pixels = self.image.astype(np.float32)
        if pixels.shape[2] == 3 and is_bgr:
            pixels = pixels[..., ::-1]
        white = max(float(pixels.max()), 1.0)
        grey = np.repeat(pixels.max(2, keepdims=True) * (220 / white), 3, 2)
        share = self.heat / max(float(np.abs(self.heat).max()), 1e-9)
        colour = np.where(share[..., None] > 0, (255, 140, 0), (40, 120, 255))
        opacity = STRONGEST * np.abs(share)[..., None]
        mixed: NDArray[np.uint8] = np.rint(grey * (1 - opacity) + colour * opacity).astype(np.uint8)
        return mixed

    def png(self, is_bgr: bool = False) -> bytes:
        """Return the overlay as a PNG file."""
        buffer = io.BytesIO()
        Image.fromarray(self.overlay(is_bgr)).save(buffer, "PNG")
        return buffer.getvalue()


def explain(scores: Scorer, image: NDArray[RawPixel]) -> Explanation:
    """Return where the score of ``image`` [H, W, C] comes from; ``scores`` takes [N, H, W, C].

    Takes about 900 scores, in batches of :data:`BATCH`.
    """
    whole = float(scores(image[None])[0])
    height, width = image.shape[:2]
    total, weight = np.zeros((2, height, width), np.float64)
    for patches, blurred in _patches(image):
        for start in range(0, len(patches), BATCH):
            masks = patches[start : start + BATCH]
            mixed = image + masks[..., None] * (blurred - image)
            falls = _logit(whole) - _logit(scores(np.rint(mixed).astype(image.dtype)))
            total += np.tensordot(falls.astype(np.float64), masks, 1)
            weight += masks.sum(0)
    return Explanation(image, (total / weight).astype(np.float32), whole)


def _patches(image: NDArray[RawPixel]) -> Iterator[tuple[Heat, Heat]]:
    """Yield, for each size, soft masks float32 [P, H, W] and what is put in their place."""
    height, width = image.shape[:2]
    for count in PATCHES_A_SIDE:
        side = max(2.0, min(height, width) / count)
        step = side / OVERLAP
        rows = _bells(height, side, step)
        columns = _bells(width, side, step)
        masks = rows[:, None, :, None] * columns[None, :, None, :]
        yield masks.reshape(-1, height, width), _blurred(image, round(side))


def _bells(length: int, side: float, step: float) -> Heat:
    """Return masks [·, length] along one axis: 1 in a patch's middle, falling to 0 outside it."""
    middles = np.arange(step / 2, length, step)
    away = np.abs(np.arange(length) + 0.5 - middles[:, None]) / side
    bells: Heat = np.clip(2 - 2.5 * away, 0, 1).astype(np.float32)
    return bells


def _blurred(image: NDArray[RawPixel], radius: int) -> Heat:
    """Return ``image`` float32 [H, W, C], each pixel a mean of those around it, thrice."""
    found = image.astype(np.float32)
    for axis in (0, 1) * 3:
        length = found.shape[axis]
        ends = [(0, 0)] * 3
        ends[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(found, ends, mode="edge"), axis=axis, dtype=np.float64)
        upper = np.take(sums, np.arange(2 * radius + 1, 2 * radius + 1 + length), axis)
        lower = np.take(sums, np.arange(length), axis)
        found = ((upper - lower) / (2 * radius + 1)).astype(np.float32)
    return found


def _logit(scores: NDArray[np.float32] | float) -> NDArray[np.float64]:
    inner = np.clip(np.asarray(scores, np.float64), LEAST, 1 - LEAST)
    return np.log(inner) - np.log1p(-inner)
