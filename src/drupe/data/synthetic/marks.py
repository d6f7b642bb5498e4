"""Further types of defects on synthetic crops, and a camera that is out of focus.

Marks are painted on a rendered clean fruit. A stem is a bar across the fruit's edge, bright in both
lights, a split a dark crack over its middle; as with pits, some are faint. Lengths are shares of
the fruit's radius, light is in grey levels, S is the side of a crop in pixels.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Crop = NDArray[np.uint8]

FAINT_SHARE = 0.08
"""Marks that are hard to see."""

STEM_LIGHT = (210.0, 0.0, 250.0)
FRUIT_LIGHT = 24
"""Grey levels from which a pixel belongs to the fruit."""

BLUR_SHARE = 0.015
"""Of the crop's side: standard deviation of what a camera out of focus makes of a point."""

BAD_CONTRAST = 0.6


def add_stem(crop: Crop, rng: np.random.Generator) -> Crop:
    """Return ``crop`` (uint8 [S, S, 3]) with a stem that leaves the fruit."""
    middle, radius = _fruit(crop)
    angle = rng.uniform(0, 2 * math.pi)
    bend = rng.uniform(-0.5, 0.5)
    reach = np.array([0.45, 0.8, rng.uniform(1.05, 1.35)])
    turn = angle + bend * (reach - reach[0])
    points = middle + radius * reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    alpha = _strength(rng) * _stroke(len(crop), points, 0.1 * radius)[..., None]
    return _as_pixels(crop * (1 - alpha) + np.array(STEM_LIGHT) * alpha)


def add_split(crop: Crop, rng: np.random.Generator) -> Crop:
    """Return ``crop`` (uint8 [S, S, 3]) with a crack over the middle of the fruit."""
    middle, radius = _fruit(crop)
    angle = rng.uniform(0, math.pi)
    along = np.linspace(-1, 1, 7) * rng.uniform(0.45, 0.75)
    across = rng.uniform(-0.09, 0.09, len(along)) + rng.uniform(-0.2, 0.2)
    turned = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    points = middle + radius * np.stack([along, across], axis=1) @ turned
    alpha = _strength(rng) * _stroke(len(crop), points, 0.06 * radius)[..., None]
    return _as_pixels(crop * (1 - alpha))


MARKS = {"stem": add_stem, "split": add_split}


def out_of_focus(crop: Crop) -> Crop:
    """Return ``crop`` (uint8 [S, S, 3]) as a camera out of focus and with dirty glass sees it."""
    deviation = BLUR_SHARE * len(crop)
    reach = max(1, round(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    light = np.pad(crop.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)))
    side = len(crop)
    # Sums of elements in a fixed order: a convolution routine may round by the processor.
    rows = sum(weight * light[k : k + side] for k, weight in enumerate(weights))
    blurred = sum(weight * rows[:, k : k + side] for k, weight in enumerate(weights))
    return _as_pixels(BAD_CONTRAST * blurred)


def _fruit(crop: Crop) -> tuple[NDArray[np.float64], float]:
    """Return the fruit's middle (x, y) and the radius of a circle of its area, in pixels."""
    rows, columns = np.nonzero(crop.max(axis=2) >= FRUIT_LIGHT)
    if not len(rows):
        return np.full(2, (len(crop) - 1) / 2), len(crop) / 4
    return np.array([columns.mean(), rows.mean()]), math.sqrt(len(rows) / math.pi)


def _strength(rng: np.random.Generator) -> float:
    is_faint = rng.random() < FAINT_SHARE
    return float(rng.uniform(0.05, 0.4) if is_faint else rng.uniform(0.6, 1.0))


def _stroke(side: int, points: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return float64 [S, S] in [0, 1]: a line through the ``points`` (x, y), soft at its edge."""
    rows, columns = np.mgrid[:side, :side].astype(np.float64)
    distance = np.full((side, side), np.inf)
    for (x, y), (next_x, next_y) in pairwise(points):
        long_x, long_y = next_x - x, next_y - y
        share = ((columns - x) * long_x + (rows - y) * long_y) / (long_x**2 + long_y**2)
        share = np.clip(share, 0, 1)
        found = np.hypot(columns - x - share * long_x, rows - y - share * long_y)
        distance = np.minimum(distance, found)
    edge = max(0.5, 0.5 * width)
    return np.clip((width + edge - distance) / (2 * edge), 0, 1)


def _as_pixels(light: NDArray[np.float64]) -> Crop:
    pixels: Crop = np.clip(np.rint(light), 0, 254).astype(np.uint8)
    return pixels
