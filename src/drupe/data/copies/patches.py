"""Parts of an image that near-duplicate search sees: a window on its content, its fine texture.

Letters: N images, W the window's side in pixels, two channels (max of red and green, max of green
and blue), R rings by A angles of a polar grid around the window's centre.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FRAME = 128
"""Longer images are first shrunk to this longest side, in pixels; shorter ones stay as they are."""

WINDOW = 64
"""Side W of the window in pixels of the frame."""

CONTENT_LEVEL = 16
"""A pixel is content where its brightest channel is above this grey level."""

TEXTURE_FLOOR = 0.1
"""Root mean square of :func:`textures` below which there is no texture, only rounding."""

RINGS, ANGLES = 16, 96
CHUNK = 128
"""Windows worked on at a time: about 100 MB of temporary arrays."""

_RADIUS = 31.0  # pixels, of the outermost ring
_TEXTURE_SIGMA = 2.0  # pixels; what is smoother than this is shape and light, not texture
_GAIN_SIGMA = 4.0  # pixels, over which the texture's strength is evened out
_FINE_SIGMA = 0.7  # pixels, against sensor noise
_EDGE_SIGMA = 1.2  # pixels, how far texture stays away from the silhouette
_SENSOR_NOISE = 2.0  # grey levels

Floats = NDArray[np.float32]


def as_rgb(images: NDArray[np.uint8 | np.uint16], white_level: int) -> NDArray[np.uint8]:
    """Return images [..., C] of one or three channels in 8 bits and three channels.

    uint8 [..., 3], white at 255: what the search for copies, and people, look at.
    """
    if images.dtype != np.uint8:
        scaled = np.minimum(images, white_level).astype(np.float32) * np.float32(255 / white_level)
        images = np.rint(scaled).astype(np.uint8)
    if images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    return images.astype(np.uint8, copy=False)


def window(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut the window around the content's centre of mass out of one image uint8 [H, W, 3].

    Returns uint8 [WINDOW, WINDOW, 2], black outside the image.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest > FRAME:
        shape = (max(1, width * FRAME // longest), max(1, height * FRAME // longest))
        shrunk = Image.fromarray(image).resize(shape, Image.Resampling.BOX)
        image, (width, height) = np.asarray(shrunk), shape
    channels = np.maximum(image[..., [0, 2]], image[..., 1:2])
    # Each content pixel counts by its light up to 64 levels: a soft edge then moves the centre
    # by fractions of a pixel only, and a bright spot doesn't pull it.
    mass = (
        np.clip(np.maximum(channels[..., 0], channels[..., 1]), CONTENT_LEVEL, 64).astype(
            np.float64
        )
        - CONTENT_LEVEL
    )
    total = mass.sum()
    row, column = (height - 1) / 2, (width - 1) / 2
    if total > 0:
        row = float(mass.sum(axis=1) @ np.arange(height)) / total
        column = float(mass.sum(axis=0) @ np.arange(width)) / total
    top, left = round(row - (WINDOW - 1) / 2), round(column - (WINDOW - 1) / 2)
    out = np.zeros((WINDOW, WINDOW, 2), dtype=np.uint8)
    rows = slice(max(0, top), max(0, min(height, top + WINDOW)))
    columns = slice(max(0, left), max(0, min(width, left + WINDOW)))
    part = channels[rows, columns]
    down, right = max(0, -top), max(0, -left)
    out[down : down + part.shape[0], right : right + part.shape[1]] = part
    return out


def silhouettes(windows: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Content of windows uint8 [N, W, W, 2]: bool [N, W, W]."""
    # Ten times as fast as the maximum along so short an axis.
    content: NDArray[np.bool_] = np.maximum(windows[..., 0], windows[..., 1]) > CONTENT_LEVEL
    return content


def textures(windows: NDArray[np.uint8]) -> tuple[Floats, NDArray[np.bool_]]:
    """Fine texture of windows uint8 [N, W, W, 2], with light, shape and strength taken out.

    Returns the texture float32 [N, 2, W, W], about 1 in size and 0 outside the content, and
    where it counts, bool [N, W, W]: inside the content, away from its edge.
    """
    light = np.ascontiguousarray(windows.transpose(0, 3, 1, 2), dtype=np.float32)
    content = silhouettes(windows)[:, None].astype(np.float32)
    inside = _blur(content, _EDGE_SIGMA) > 0.95
    smooth = _blur(light * content, _TEXTURE_SIGMA) / (_blur(content, _TEXTURE_SIGMA) + 1e-3)
    fine = _blur((light - smooth) * content, _FINE_SIGMA)
    power = np.square(fine).sum(axis=1, keepdims=True) * inside
    strength = _blur(power, _GAIN_SIGMA) / (_blur(inside.astype(np.float32), _GAIN_SIGMA) + 1e-3)
    texture = np.where(inside, fine / (np.sqrt(strength) + _SENSOR_NOISE), np.float32(0))
    return texture.astype(np.float32), inside[:, 0]


def _blur(images: Floats, sigma: float) -> Floats:
    matrix = _gaussian(sigma)
    blurred: Floats = np.matmul(np.matmul(matrix, images), matrix.T)
    return blurred


@cache
def _gaussian(sigma: float) -> Floats:
    """Banded matrix [W, W] that blurs by a Gaussian cut at 3 sigma; black beyond the borders."""
    distance = np.abs(np.arange(WINDOW)[:, None] - np.arange(WINDOW)[None, :])
    kernel = np.where(distance <= 3 * sigma, np.exp(-np.square(distance / sigma) / 2), 0.0)
    matrix: Floats = (kernel / kernel[WINDOW // 2].sum()).astype(np.float32)
    return matrix


def polar(images: Floats) -> Floats:
    """Resample images float32 [N, 2, W, W] to a polar grid: float32 [N, R, A, 2].

    Bilinear, and each ring weighted by the root of its radius, so that sums over the grid are
    sums over the disc. Turning the image shifts the grid along A; flipping it reverses A.
    """
    index, weight = _polar_taps()
    flat = images.reshape(len(images), 2, WINDOW * WINDOW).transpose(0, 2, 1)
    rings = np.zeros((len(images), RINGS, ANGLES, 2), dtype=np.float32)
    for tap in range(4):
        rings += flat[:, index[tap]] * weight[tap][..., None]
    return rings


@cache
def _polar_taps() -> tuple[NDArray[np.intp], Floats]:
    radius = (np.arange(RINGS) + 0.5) / RINGS * _RADIUS
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    centre = (WINDOW - 1) / 2
    y = centre + radius[:, None] * np.sin(angle)
    x = centre + radius[:, None] * np.cos(angle)
    index, weight = bilinear_taps(y, x)
    return index, (weight * np.sqrt(radius / _RADIUS)[:, None]).astype(np.float32)


def bilinear_taps(
    y: NDArray[np.floating], x: NDArray[np.floating]
) -> tuple[NDArray[np.intp], Floats]:
    """Indices into a flat window and weights [4, ...] that interpolate it at (y, x)."""
    row = np.clip(np.floor(y).astype(np.intp), 0, WINDOW - 2)
    column = np.clip(np.floor(x).astype(np.intp), 0, WINDOW - 2)
    down = np.clip(y - row, 0, 1).astype(np.float32)
    right = np.clip(x - column, 0, 1).astype(np.float32)
    corner = row * WINDOW + column
    index = np.stack([corner, corner + 1, corner + WINDOW, corner + WINDOW + 1])
    weight = np.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    )
    return index, weight
