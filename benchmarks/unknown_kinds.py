"""Pictures that no crop of a line is, made of its crops: what ``unknowns.py`` shows a bundle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Crops = NDArray[np.uint8]

FINGER, PALM = 0.09, 0.20
"""Radii, as a share of the side."""


def unknown_kinds(crops: Crops, random: np.random.Generator) -> dict[str, Crops]:
    """Return the pictures of each kind, as many as there are RGB ``crops`` [N, S, S, 3]."""
    count, side = crops.shape[:2]
    floats = crops.astype(np.float32)
    lit = floats.max(axis=(0, 1, 2)) > 0  # a camera without green light has an empty channel
    grey = random.uniform(20, 120, (count, 1, 1, 1)) + random.normal(0, 4, crops.shape)
    blur = ImageFilter.GaussianBlur(side / 24)
    return {
        "dark belt": (random.choice(3, crops.shape, p=(0.97, 0.02, 0.01)) * lit).astype(np.uint8),
        "grey belt": _bytes(grey * lit),
        "hand": np.stack([hand(side, lit, random) for _ in range(count)]),
        "other colours": crops[..., [1, 0, 2]],
        "tinted": _bytes(floats * np.array([0.5, 1, 1.6])),
        "swapped channels": np.ascontiguousarray(crops[..., ::-1]),
        "noise": random.integers(0, 256, crops.shape, dtype=np.uint8),
        "noisy": _bytes(floats + random.normal(0, 30, crops.shape)),
        "upper or lower half": _halves(crops),
        "left or right half": _halves(crops.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
        "overexposed": _bytes(3 * floats),
        "blurred": np.stack([np.asarray(Image.fromarray(one).filter(blur)) for one in crops]),
    }


def hand(side: int, lit: NDArray[np.bool_], random: np.random.Generator) -> Crops:
    """Draw a palm with two to five fingers, softly shaded, in the channels that the line lights."""
    down, across = np.mgrid[:side, :side] / side
    x, y = random.uniform(0.3, 0.7, 2)
    depth = 1 - ((across - x) ** 2 + (down - y) ** 2) / PALM**2
    towards = random.uniform(0, 2 * np.pi)
    for finger in range(random.integers(2, 6)):
        angle = towards + 0.35 * (finger - 2)
        for along in np.linspace(0, 0.6, 14):
            away = (across - x - along * np.cos(angle)) ** 2
            away += (down - y - along * np.sin(angle)) ** 2
            depth = np.maximum(depth, 1 - away / FINGER**2)
    shade = np.sqrt(np.clip(depth, 0, 1))[..., None]
    light = shade * random.uniform(80, 200, 3) + random.normal(0, 3, (side, side, 3)) * (shade > 0)
    return _bytes(light * lit)


def _halves(crops: Crops) -> Crops:
    """Return crops of which the upper half is black, or the lower, in turns."""
    cut, middle = crops.copy(), crops.shape[1] // 2
    cut[::2, :middle], cut[1::2, middle:] = 0, 0
    return cut


def _bytes(values: NDArray[np.floating]) -> Crops:
    return np.clip(values, 0, 255).astype(np.uint8)
