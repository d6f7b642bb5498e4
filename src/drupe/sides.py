"""The size of images: one number where they are square, (height, width) where they aren't."""

from __future__ import annotations

from collections.abc import Sequence

Size = int | tuple[int, int]
"""Pixels: the side of a square, or (height, width)."""


def height_and_width(size: Size) -> tuple[int, int]:
    """Return (height, width) in pixels."""
    return (size, size) if isinstance(size, int) else size


def simplest(sides: Sequence[int]) -> Size:
    """Return (height, width) as one number where the two are equal."""
    height, width = sides
    return height if height == width else (height, width)


def in_words(size: Size) -> str:
    """Return ``128 x 128``, or ``300 x 200 (width x height)``."""
    height, width = height_and_width(size)
    return f"{width} x {height}" + ("" if height == width else " (width x height)")
