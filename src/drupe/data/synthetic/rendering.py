"""The pixels of synthetic crops: cherries under two infrared lights, red and blue on black.

A fruit is a rounded polygon in polar form with a blue rim, value noise of three grain sizes,
creases, dimples and red specks; a pit is a compact red spot. The classes overlap on purpose:
some pits are fainter than the texture around them and some clean fruits carry a spot that looks
like one, so that no classifier gets everything right (:data:`SPOT_STRENGTHS`).

Lengths are in reference pixels, those of a 128×128 crop, and scale with the crop's side; light is
in grey levels, 0 to 255. N crops, F fruits, S side of a crop and W side of the painted window in
pixels, A samples of an outline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

PAIR_SHARE = 0.09  # crops that show two touching fruits
CUT_SHARE = 0.10  # single fruits that the detector's box cuts off well inside their outline

SPOT_STRENGTHS: dict[bool, tuple[tuple[float, float, float], ...]] = {
    True: ((0.91, 0.45, 1.00), (0.09, 0.00, 0.45)),
    False: ((0.08, 0.00, 0.50), (0.92, 0.00, 0.00)),
}
"""By class (is it a pit?): (share, lowest, highest) strength of the red spot, where 0 is
invisible and 1 pure red."""

LOOKALIKE_PART = {True: 1, False: 0}
"""By class: which of its parts of :data:`SPOT_STRENGTHS` looks like the other class."""

DIMPLE_SHARES = {True: 0.3, False: 0.5}
"""By class: fruits with a bluish or dark dimple. The strengths' overlap and these shares bound what
any classifier can reach from a single fruit: 96.4 % at 46 % pits."""

_REFERENCE_SIDE = 128.0
_ANGLES = 256
_CHUNK = 16  # crops painted at a time, so that their arrays stay in the processor's cache


def render_crops(
    is_defect: Bools,
    size: int,
    rng: np.random.Generator,
    is_lookalike: Bools | None = None,
) -> NDArray[np.uint8]:
    """Render one crop for each entry of ``is_defect``.

    Args:
        is_defect: bool[N], whether the crop shows a pit.
        size: side S of the crops in pixels, at least 32.
        rng: the only source of chance; the same state gives the same pixels.
        is_lookalike: bool[N], whether it looks like the other class: a faint pit, or a clean fruit
            with a spot. None: left to chance.

    Returns:
        uint8[N, S, S, 3], RGB: background 0, green channel empty.
    """
    crops = np.zeros((len(is_defect), size, size, 3), dtype=np.uint8)
    is_pair = rng.random(len(is_defect)) < PAIR_SHARE
    if is_lookalike is None:
        is_lookalike = np.zeros(len(is_defect), np.bool_)
    for draw, members in ((_draw_singles, ~is_pair), (_draw_pairs, is_pair)):
        indices = np.flatnonzero(members)
        scenes = draw(is_defect[indices], is_lookalike[indices], rng)
        # Crops of like extent are painted together, in a window no wider than they need.
        by_extent = np.argsort(scenes.half.max(axis=1, initial=0), kind="stable")
        for start in range(0, len(indices), _CHUNK):
            chunk = by_extent[start : start + _CHUNK]
            light = _paint(scenes.take(chunk), size, rng)
            border = (size - light.shape[-1]) // 2
            inside = slice(border, size - border)
            grey = np.clip(light + 0.5, 0, 254).astype(np.uint8)
            crops[indices[chunk], inside, inside, 0] = grey[0]
            crops[indices[chunk], inside, inside, 2] = grey[1]
    return crops


def render_blanks(count: int, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render ``count`` crops without a fruit, black but for sensor noise of at most 2 levels.

    Returns:
        uint8[count, S, S, 3] with an empty green channel; no two are alike.
    """
    crops = np.zeros((count, size, size, 3), dtype=np.uint8)
    crops[..., ::2] = rng.choice(3, size=(count, size, size, 2), p=(0.97, 0.02, 0.01))
    return crops


# --- Scenes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scenes:
    """Shapes in N crops, before any light: the detector's box and the fruits, front to back."""

    half: Floats  # [N, 2]: half the box's width and height; its middle is the crop's
    outlines: tuple[Floats, ...]  # of each layer of fruits, [N, A]
    centres: tuple[Floats, ...]  # [N, 2]: (x, y) from the crop's middle
    has_pit: tuple[Bools, ...]  # [N]
    is_lookalike: Bools  # [N]

    def take(self, chunk: NDArray[np.intp]) -> _Scenes:
        return _Scenes(
            self.half[chunk],
            tuple(outline[chunk] for outline in self.outlines),
            tuple(centre[chunk] for centre in self.centres),
            tuple(pit[chunk] for pit in self.has_pit),
            self.is_lookalike[chunk],
        )


def _draw_singles(has_pit: Bools, is_lookalike: Bools, rng: np.random.Generator) -> _Scenes:
    count = len(has_pit)
    outline = _draw_outlines(count, rng)
    low, high = _extent(outline)
    # The detector's box is a little loose or tight on each side; some boxes cut the fruit off.
    margins = rng.uniform(-4.0, 1.0, (2, count, 2))
    low, high = low - margins[0], high + margins[1]
    cut = rng.uniform(0.10, 0.30, count) * (rng.random(count) < CUT_SHARE)
    side = rng.integers(4, size=count)
    depth = cut[:, None] * (high - low)
    low = low + depth * (side[:, None] == (0, 1))
    high = high - depth * (side[:, None] == (2, 3))
    middle = _floats((low + high) / 2)
    half = _floats((high - low) / 2)
    return _Scenes(half, (outline,), (-middle,), (has_pit,), is_lookalike)


def _draw_pairs(has_pit: Bools, is_lookalike: Bools, rng: np.random.Generator) -> _Scenes:
    count = len(has_pit)
    outline, other = _draw_outlines(count, rng), _draw_outlines(count, rng)
    offset = _touching_offset(outline, other, rng)
    low, high = _extent(outline)
    other_low, other_high = _extent(other)
    # Half of the boxes hold both fruits, the others a part of the neighbour only.
    seen = np.where(rng.random(count) < 0.5, 1.0, rng.uniform(0.15, 0.8, count))[:, None]
    low = low + seen * (np.minimum(low, other_low + offset) - low)
    high = high + seen * (np.maximum(high, other_high + offset) - high)
    middle = _floats((low + high) / 2)
    has_pits = (has_pit, has_pit & (rng.random(count) < 0.4))
    half, centres = _floats((high - low) / 2), (-middle, offset - middle)
    return _Scenes(half, (outline, other), centres, has_pits, is_lookalike)


def _touching_offset(outline: Floats, other: Floats, rng: np.random.Generator) -> Floats:
    """Return where the second fruit lies (x, y) when it touches or overlaps the first a little."""
    rows = np.arange(len(outline))
    towards = rng.integers(_ANGLES, size=len(outline))
    back = (towards + _ANGLES // 2) % _ANGLES
    reach = (outline[rows, towards] + other[rows, back]) * rng.uniform(0.85, 1.0, len(outline))
    angle = towards * (2 * math.pi / _ANGLES)
    return _floats(reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))


# --- Outlines ----------------------------------------------------------------------------------


def _draw_outlines(count: int, rng: np.random.Generator) -> Floats:
    """Return float32[F, A]: the radius at each angle of rounded polygons, some with a notch.

    A polygon's radius is the soft minimum of h / cos(angle - normal) over its edges.
    """
    edges = 8
    angle = _angles()
    normal = (np.arange(edges) + rng.uniform(-0.3, 0.3, (count, edges))) * (2 * math.pi / edges)
    normal += rng.uniform(0, 2 * math.pi, (count, 1))
    lengthwise = np.cos(2 * (normal - rng.uniform(0, math.pi, (count, 1))))
    stretch = 1 + rng.beta(1.2, 8, (count, 1)) * lengthwise
    radius = np.clip(rng.normal(28.0, 3.4, (count, 1)), 18, 37)
    height = radius * stretch * rng.uniform(0.91, 1.09, (count, edges))
    facing = np.cos(angle - normal[..., None].astype(np.float32)) / height[..., None]
    sharpness = rng.uniform(6, 12, (count, 1)).astype(np.float32)
    facing = np.maximum(facing, 0, dtype=np.float32) * 20  # near 1: powers stay within float32
    outline = 20 * np.sum(facing ** sharpness[..., None], axis=1) ** (-1 / sharpness)
    apart = np.cos(angle - rng.uniform(0, 2 * math.pi, (count, 1)))
    notch = rng.uniform(0.05, 0.3, (count, 1)) * (rng.random((count, 1)) < 0.15)
    outline *= 1 - notch * np.exp((apart - 1) * rng.uniform(6, 20, (count, 1)))
    return _floats(np.minimum(outline, 41))


def _angles() -> Floats:
    return np.linspace(0, 2 * math.pi, _ANGLES, endpoint=False, dtype=np.float32)


def _extent(outline: Floats) -> tuple[Floats, Floats]:
    """Return the lowest and the highest (x, y) of each outline, float32[F, 2] each."""
    angle = _angles()
    points = np.stack([outline * np.cos(angle), outline * np.sin(angle)], axis=1)
    return points.min(axis=2), points.max(axis=2)


# --- Light -------------------------------------------------------------------------------------


def _paint(scenes: _Scenes, size: int, rng: np.random.Generator) -> Floats:
    """Return red and blue light, float32[2, N, W, W], where W is what the widest box needs."""
    scale = size / _REFERENCE_SIDE
    border = max(0, math.floor(size / 2 - scale * float(scenes.half.max())))
    side = size - 2 * border
    axis = _floats((np.arange(side) + 0.5 - side / 2) / scale)
    within = np.abs(axis) <= scenes.half[:, :, None]
    free = _floats(within[:, 1, :, None] & within[:, 0, None, :])
    light = np.zeros((2, *free.shape), dtype=np.float32)
    for outline, centre, has_pit in zip(
        scenes.outlines, scenes.centres, scenes.has_pit, strict=True
    ):
        red, blue, cover = _paint_fruits(outline, centre, has_pit, scenes.is_lookalike, axis, rng)
        cover *= free
        light[0] += red * cover
        light[1] += blue * cover
        free -= cover
    return light


def _paint_fruits(
    outline: Floats,
    centre: Floats,
    has_pit: Bools,
    is_lookalike: Bools,
    axis: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    """Return red and blue light and the cover (0 outside the fruit, 1 inside), float32[F, W, W]."""
    chance = _Chance(len(outline), rng)
    x = axis - centre[:, 0, None, None]  # [F, 1, W]
    y = axis[:, None] - centre[:, 1, None, None]  # [F, W, 1]
    depth, share = _depth(x, y, outline)
    coarse, middle, fine = (_noise(len(outline), axis, grain, rng) for grain in (15, 6, 2.4))

    exposure = chance.normal(1.0, 0.12, 0.65, 1.3)
    redness = chance.normal(0.0, 1.0, -2, 2)
    core = _smooth_step(share / chance.uniform(0.4, 1.0))
    rim = _smooth_step(depth / 8)
    tilt = x * chance.uniform(-0.005, 0.005) + y * chance.uniform(-0.005, 0.005)
    grain = chance.uniform(0.4, 1.6)
    red = exposure * (118 + 15 * redness) * (1 + chance.normal(0.0, 0.10, -0.3, 0.3) * core)
    red *= (0.6 + 0.4 * rim) * (1 + tilt + grain * (0.05 * coarse + 0.04 * middle + 0.05 * fine))
    blue = exposure * (184 - 24 * redness) * (1 - 0.75 * chance.beta(1.1, 2.6) * core)
    blue *= 1 - 1.5 * tilt + grain * (0.03 * middle + 0.025 * fine - 0.07 * coarse)

    red += chance.beta(1, 3) * 70 * np.clip(fine - 1.2 + 0.4 * middle, 0, 1.2)  # specks

    dimpled = np.where(has_pit, DIMPLE_SHARES[True], DIMPLE_SHARES[False])
    some = np.flatnonzero(rng.random(len(outline)) < dimpled)
    dimple = _spots(x[some], y[some], middle[some], rng, offset=4, axes=(2, 6))
    dimple *= _Chance(len(some), rng).uniform(0, 1)
    red[some] -= 50 * dimple
    blue[some] += _Chance(len(some), rng).uniform(-45, 50) * dimple

    some = np.flatnonzero(rng.random(len(outline)) < 0.3)
    crease = _spots(x[some], y[some], middle[some], rng, offset=9, axes=(4, 11), ratio=0.2)
    crease = 1 - crease * _Chance(len(some), rng).uniform(0, 0.45)
    red[some] *= crease
    blue[some] *= crease

    strength = draw_spot_strengths(has_pit, is_lookalike, rng)
    some = np.flatnonzero(strength)
    spot = _spots(x[some], y[some], middle[some], rng, offset=6, axes=(7, 12.5))
    spot *= strength[some, None, None]
    red[some] += spot * (_Chance(len(some), rng).normal(222, 18, 170, 254) - red[some])
    blue[some] *= 1 - spot * _Chance(len(some), rng).uniform(0.65, 1.0)
    return red, blue, _smooth_step((depth + 2) / chance.uniform(4, 8))


def draw_spot_strengths(has_pit: Bools, is_lookalike: Bools, rng: np.random.Generator) -> Floats:
    """Draw float32[F] from :data:`SPOT_STRENGTHS`, of lookalikes from that part of it."""
    strength = np.empty(len(has_pit), dtype=np.float32)
    for pit, parts in SPOT_STRENGTHS.items():
        shares, low, high = (np.array(column) for column in zip(*parts, strict=True))
        part = rng.choice(len(parts), p=shares, size=len(has_pit))
        part[is_lookalike] = LOOKALIKE_PART[pit]
        drawn = rng.uniform(low[part], high[part])
        strength[has_pit == pit] = drawn[has_pit == pit]
    return strength


def _spots(
    x: Floats,
    y: Floats,
    texture: Floats,
    rng: np.random.Generator,
    *,
    offset: float,
    axes: tuple[float, float],
    ratio: float = 0.65,
) -> Floats:
    """Return float32[F, W, W] in [0, 1]: an ellipse at most ``offset`` off the middle in x and y.

    Its long half axis lies in ``axes``, the short one is at least ``ratio`` of that; ``texture``
    frays its edge.
    """
    chance = _Chance(len(x), rng)
    x, y = (side - offset * chance.normal(0, 0.5, -1, 1) for side in (x, y))
    angle = chance.uniform(0, math.pi)
    long = chance.uniform(*axes)
    short = long * chance.uniform(ratio, min(1.0, 2 * ratio))
    distance = np.square(x * (np.cos(angle) / long) + y * (np.sin(angle) / long))
    distance += np.square(y * (np.cos(angle) / short) - x * (np.sin(angle) / short))
    plateau = chance.uniform(0.0, 0.6)
    return _smooth_step((1.3 - np.sqrt(distance) - 0.12 * texture) / (1.3 - plateau))


def _depth(x: Floats, y: Floats, outline: Floats) -> tuple[Floats, Floats]:
    """Return how far inside the outline each pixel lies: in pixels and as a share of the radius."""
    distance = np.sqrt(x * x + y * y)
    index = (np.arctan2(y, x) * np.float32(_ANGLES / (2 * math.pi))).astype(np.int32) % _ANGLES
    index += (np.arange(len(outline), dtype=np.int32) * _ANGLES)[:, None, None]
    radius = np.take(outline.ravel(), index)
    return radius - distance, np.clip(1 - distance / radius, 0, 1)


def _noise(count: int, axis: Floats, grain: float, rng: np.random.Generator) -> Floats:
    """Return float32[count, W, W] of smooth value noise whose features are ``grain`` long."""
    position = _floats((axis - axis[0]) / grain)
    cell = position.astype(np.intp)
    weight = _smooth_step(position - cell)
    lattice = rng.standard_normal((count, cell[-1] + 2, cell[-1] + 2), dtype=np.float32)
    # Products and sums of elements only: a matrix product may round by the number of threads.
    rows = lattice[:, cell] * (1 - weight)[:, None] + lattice[:, cell + 1] * weight[:, None]
    return _floats(rows[..., cell] * (1 - weight) + rows[..., cell + 1] * weight)


def _smooth_step(value: NDArray[np.floating]) -> Floats:
    clipped = np.clip(value, 0, 1, dtype=np.float32)
    smooth: Floats = 3 - 2 * clipped
    smooth *= clipped
    smooth *= clipped
    return smooth


def _floats(values: NDArray[Any]) -> Floats:
    return values.astype(np.float32, copy=False)


class _Chance:
    """Draws one float32 for each of F fruits, shaped [F, 1, 1] to meet its pixels."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self._shape = (count, 1, 1)
        self._rng = rng

    def uniform(self, low: float, high: float) -> Floats:
        return _floats(self._rng.uniform(low, high, self._shape))

    def normal(self, mean: float, deviation: float, low: float, high: float) -> Floats:
        drawn = self._rng.normal(mean, deviation, self._shape)
        return _floats(np.clip(drawn, low, high))

    def beta(self, a: float, b: float) -> Floats:
        return _floats(self._rng.beta(a, b, self._shape))
