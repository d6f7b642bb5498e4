"""Which items look most like each one: those with its label, and those with the other.

Letters: N items, q of them looked at, F features, k neighbours of each label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PER_LABEL = 2
"""k: neighbours of each label."""

NONE = -1
"""In the place of a neighbour that there isn't."""

CHUNK = 256
"""Items compared with all others at a time: bounds memory."""


@dataclass(frozen=True)
class NearItems:
    """Paths of the items that look most like one: with its own label, and with the other class's.

    The nearest stand first; none is a copy of it.
    """

    own: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


def nearest(
    features: NDArray[np.float32],
    items: NDArray[np.intp],
    is_defect: NDArray[np.bool_],
    groups: NDArray[np.integer],
    candidates: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """Return the k nearest of the own and of the other label, int [q, 2, k], of ``items`` [q].

    Args:
        features: unit rows, [N, F]: their products are the cosines.
        items: whose neighbours are looked for, [q].
        is_defect: labels, [N].
        groups: equal numbers for copies, which are no neighbours, [N].
        candidates: which items may be neighbours, [N].
    """
    found = np.full((len(items), 2, PER_LABEL), NONE, np.intp)
    for start, cosines in _cosines(features, items):
        some = items[start : start + CHUNK]
        allowed = candidates & (groups[some][:, None] != groups)
        same = is_defect[some][:, None] == is_defect
        for side, chosen in enumerate((allowed & same, allowed & ~same)):
            near = np.where(chosen, cosines, -np.inf)
            order = _largest(near)
            there = np.isfinite(np.take_along_axis(near, order, axis=1))
            found[start : start + CHUNK, side, : order.shape[1]] = np.where(there, order, NONE)
    return found


def _largest(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the places of the k largest of each row, the largest first: int [q, k] of [q, N]."""
    count = values.shape[1]
    if count > PER_LABEL:
        chosen = np.argpartition(values, count - PER_LABEL, axis=1)[:, count - PER_LABEL :]
    else:
        chosen = np.broadcast_to(np.arange(count), values.shape)
    order = np.argsort(-np.take_along_axis(values, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def _cosines(
    features: NDArray[np.float32], items: NDArray[np.intp]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield a place in ``items``, and the cosines of those from there on with all items."""
    for start in range(0, len(items), CHUNK):
        yield start, features[items[start : start + CHUNK]] @ features.T
