"""Lay one window on another at a known angle and measure how well they agree, pixel by pixel.

:attr:`Agreement.confirmed` decides whether a pair that the search has proposed is a near duplicate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.patches import (
    ANGLES,
    TEXTURE_FLOOR,
    WINDOW,
    bilinear_taps,
    silhouettes,
    textures,
)

SHIFT = 2
"""Pixels by which the centres of the two contents may be off, in each direction."""

CORRELATION = 0.92
"""Correlation of fine texture that a copy needs.

Measured: copies that were turned by quarters, flipped, shifted by 2 pixels, relit by 4 % and given
noise of 1.5 grey levels reach 0.97 or more, most of those turned by other angles (resampled) 0.94.
Among 3,676 real fruit no two different photographs pass 0.90, second photographs of one fruit
included (0.65 to 0.85).
"""

OVERLAP = 0.93
"""Intersection over union of the silhouettes that a copy needs."""

EVIDENCE = 32.0
"""Evidence that a copy needs: atanh(r) · √n, r the correlation and n its pixels.

By Fisher's transformation atanh(r) of unrelated pixels spreads by about 1/√n, so this asks more
of a small object than of a large one: on crops of 48 pixels different fruit reach r = 0.93, but
no more than 28 here, and copies 36.
"""

ALIKE_EVIDENCE = 28.0
"""Evidence from which two different photographs look so alike that a person may want to see them:
on real fruit nearly all such pairs are second photographs of one fruit."""

ALIKE_OVERLAP = 0.88

HALF_STEP_EVIDENCE = 14.0
"""Evidence from which an alignment is tried half a step further: below, none gets to
:data:`ALIKE_EVIDENCE`. Copies turned by half a step show at least seven tenths of
theirs without it (measured)."""

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Agreement:
    """Agreement of M pairs once aligned.

    correlation: of fine texture over the common content, mean of the two channels, float32 [M];
    overlap: intersection over union of the silhouettes, float32 [M]; evidence: float32 [M], see
    :data:`EVIDENCE`; degrees: float32 [M], the turn that aligned them.
    """

    correlation: Floats
    overlap: Floats
    evidence: Floats
    degrees: Floats

    @property
    def confirmed(self) -> NDArray[np.bool_]:
        """True where a pair is one photograph and its altered copy: bool [M]."""
        return (
            (self.correlation >= CORRELATION)
            & (self.overlap >= OVERLAP)
            & (self.evidence >= EVIDENCE)
        )

    @property
    def alike(self) -> NDArray[np.bool_]:
        """True where a pair is worth a person's look though not confirmed: bool [M]."""
        close = (self.evidence >= ALIKE_EVIDENCE) & (self.overlap >= ALIKE_OVERLAP)
        return close & ~self.confirmed


def compare(
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
    steps: Indices,
    flipped: NDArray[np.bool_],
) -> Agreement:
    """Compare windows ``first`` and ``second``, both uint8 [M, W, W, 2].

    ``steps`` and ``flipped`` [M] say how ``second`` is turned, as circular correlation of the
    polar grids gives it: content of ``first`` at angle α lies in ``second`` at α − step, or at
    step − α where flipped, in units of 360° / ANGLES. :data:`SHIFT` pixels to either side are
    tried, and half a step where the pair has at least :data:`HALF_STEP_EVIDENCE`.
    """
    one, other = _maps(first), _maps(second)
    inner = np.ascontiguousarray(one[:, :, SHIFT:-SHIFT, SHIFT:-SHIFT])
    turned = _turned(other, steps.astype(np.float64), flipped)
    down, right = _best_shifts(one[:, :2], turned[:, :2])
    correlation, overlap, evidence = _agreement(inner, _shifted(turned, down, right))
    degrees = (steps * (360.0 / ANGLES)).astype(np.float32)
    near = np.flatnonzero(evidence >= HALF_STEP_EVIDENCE)
    for offset in (-0.5, 0.5):
        turned = _turned(other[near], steps[near] + offset, flipped[near])
        found = _agreement(inner[near], _shifted(turned, down[near], right[near]))
        better = found[0] > correlation[near]
        rows = near[better]
        for column, values in zip((correlation, overlap, evidence), found, strict=True):
            column[rows] = values[better]
        degrees[rows] = (steps[rows] + offset) * (360.0 / ANGLES)
    return Agreement(correlation, overlap, evidence, degrees % 360.0)


def _maps(windows: NDArray[np.uint8]) -> Floats:
    """Texture (2), where it counts (1) and silhouette (1): float32 [M, 4, W, W]."""
    texture, inside = textures(windows)
    masks = np.stack([inside, silhouettes(windows)], axis=1).astype(np.float32)
    return np.concatenate([texture, masks], axis=1)


def _turned(maps: Floats, steps: NDArray[np.floating], flipped: NDArray[np.bool_]) -> Floats:
    # The four maps of a pixel side by side: they are fetched together.
    pixels = np.ascontiguousarray(maps.transpose(0, 2, 3, 1)).reshape(-1, WINDOW * WINDOW, 4)
    turned = np.zeros_like(pixels)
    for image, out, step, flip in zip(
        pixels, turned, steps.tolist(), flipped.tolist(), strict=True
    ):
        for index, weight in zip(*_turn_taps(step, flip), strict=True):
            out += image.take(index, axis=0) * weight
    return np.ascontiguousarray(turned.reshape(-1, WINDOW, WINDOW, 4).transpose(0, 3, 1, 2))


@lru_cache(maxsize=256)  # the 192 turns that the search finds, and some half a step off: 50 MB
def _turn_taps(step: float, flipped: bool) -> tuple[Indices, Floats]:
    """Indices [4, W · W] into a flat window and weights [4, W · W, 1] that turn it."""
    centre = (WINDOW - 1) / 2
    grid = np.arange(WINDOW) - centre
    y, x = grid[:, None], grid[None, :]
    angle = step * (2 * np.pi / ANGLES)
    sign = -1.0 if flipped else 1.0
    # Turned by the angle: (x, y) at α comes from α − angle; mirrored: from angle − α.
    from_x = np.cos(angle) * x + np.sin(angle) * y
    from_y = sign * (np.cos(angle) * y - np.sin(angle) * x)
    index, weight = bilinear_taps(centre + from_y, centre + from_x)
    weight *= np.maximum(np.abs(from_y), np.abs(from_x)) <= centre + 0.5  # no pixel outside
    return index.reshape(4, -1), weight.reshape(4, -1, 1)


def _best_shifts(one: Floats, turned: Floats) -> tuple[Indices, Indices]:
    """Shifts (down, right) [M] of ``turned`` within :data:`SHIFT` that fit ``one`` best."""
    spectrum = np.fft.rfft2(turned) * np.conj(np.fft.rfft2(one))
    fit = np.fft.irfft2(spectrum.sum(axis=1), s=(WINDOW, WINDOW))
    near = np.arange(-SHIFT, SHIFT + 1)
    found = fit[:, near[:, None], near[None, :]].reshape(len(one), -1).argmax(axis=1)
    return near[found // len(near)], near[found % len(near)]


def _shifted(maps: Floats, down: Indices, right: Indices) -> Floats:
    """Interior of each image's maps moved by its own shift: [M, 4, W - 2 SHIFT, W - 2 SHIFT]."""
    inner = np.arange(SHIFT, WINDOW - SHIFT)
    rows = (inner[None, :] + down[:, None])[:, None, :, None]
    columns = (inner[None, :] + right[:, None])[:, None, None, :]
    item = np.arange(len(maps))[:, None, None, None]
    moved: Floats = maps[item, np.arange(4)[None, :, None, None], rows, columns]
    return moved


def _agreement(one: Floats, moved: Floats) -> tuple[Floats, Floats, Floats]:
    """Correlation, silhouette overlap and evidence, float32 [M] each."""
    common = (one[:, 2] > 0.5) & (moved[:, 2] > 0.5)
    a, b = one[:, :2] * common[:, None], moved[:, :2]
    product = np.einsum("nchw,nchw->nc", a, b)
    own = np.einsum("nchw,nchw->nc", a, a)
    others = np.einsum("nchw,nchw,nhw->nc", b, b, common.astype(np.float32))
    energy = np.sqrt(own * others)
    # A channel without light or texture says nothing: the other one then speaks alone.
    speaks = energy > TEXTURE_FLOOR**2 * np.maximum(common.sum(axis=(1, 2)), 1)[:, None]
    channels = np.where(speaks, product / np.maximum(energy, 1e-3), 0.0).sum(axis=1)
    correlation = channels / np.maximum(speaks.sum(axis=1), 1)
    both = np.minimum(one[:, 3], moved[:, 3]).sum(axis=(1, 2))
    either = np.maximum(one[:, 3], moved[:, 3]).sum(axis=(1, 2))
    overlap = both / np.maximum(either, 1e-3)
    # Float32 can't tell 1 - 1e-8 from 1, whose evidence would be infinite.
    evidence = np.arctanh(np.clip(correlation, 0, 0.9999)) * np.sqrt(common.sum(axis=(1, 2)))
    return (
        correlation.astype(np.float32),
        overlap.astype(np.float32),
        evidence.astype(np.float32),
    )
