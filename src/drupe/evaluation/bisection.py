"""The place at which a monotone condition begins to hold, by bisection."""

from __future__ import annotations

from collections.abc import Callable

HALVINGS = 60
"""Steps after which an interval of floats within [−1, 1] has no float64 left inside."""


def smallest_above(start: int, holds: Callable[[int], bool], most: int | None = None) -> int | None:
    """Return the smallest whole number above ``start`` (≥ 0) at which ``holds`` is true.

    ``holds`` stays true once it is. None where the search, which doubles, gets beyond ``most``.
    """
    high = start + 1
    while not holds(high):
        high *= 2
        if most is not None and high > most:
            return None
    low = max(start, high // 2)  # doesn't hold, or is ``start``
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return the largest known x in [``low``, ``high``] below which ``holds`` is false.

    ``holds`` is true at ``high`` and stays true once it is.
    """
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return low
