"""Scaling of deep grey images, exact on every platform.

Letters: H and W, height and width in pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ONE = 1 << 16
"""Weights are whole numbers that sum to this. Products of two of them with a pixel of 16 bits stay
below 2⁴⁸ and their sums too, so floats hold them exactly, in whatever order they are added."""


def resize_deep(image: NDArray[np.uint16], height: int, width: int) -> NDArray[np.uint16]:
    """Scale an image uint16 [H, W] to [height, width]: bilinear, antialiased, rounded once.

    The filter is Pillow's ``BILINEAR``; its own way for 16 bits rounds twice.
    """
    rows, columns = (
        _weights(source, target)
        for source, target in zip(image.shape, (height, width), strict=True)
    )
    sums = rows @ image.astype(np.float64) @ columns.T
    return np.floor(sums / (ONE * ONE) + 0.5).astype(np.uint16)


@lru_cache(maxsize=64)
def _weights(source: int, target: int) -> NDArray[np.float64]:
    """Return whole numbers float64 [target, source] whose rows sum to :data:`ONE`."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / max(scale, 1.0)
    shares = np.maximum(0, 1 - distance)
    weights: NDArray[np.float64] = np.rint(ONE * shares / shares.sum(1, keepdims=True))
    largest = weights.argmax(1)
    weights[np.arange(target), largest] += ONE - weights.sum(1)
    return weights
