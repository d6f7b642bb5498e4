"""The rule that makes two crops copies of one another, and the groups that follow from it.

Copies are images with the same bytes, with the same pixels after a quarter turn or a flip, and
images altered a little (near duplicates) that a comparison of pixels has confirmed
(:attr:`drupe.data.copies.alignment.Agreement.confirmed`). Near duplicates share a group only where
all pairs in it are confirmed.

N images; a group is named by the smallest index in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.near_duplicates import find_near_duplicates
from drupe.data.copies.patches import as_rgb, window
from drupe.data.copies.sketches import Sketches
from drupe.progress import Progress, silent

CHUNK = 256
"""Images read at a time."""

_CELLS = 7

Labels = NDArray[np.int32]
Indices = NDArray[np.intp]


def duplicate_groups(
    images: NDArray[np.uint8 | np.uint16],
    digests: Sequence[str],
    progress: Progress = silent,
    white_level: int = 255,
) -> Labels:
    """Give images that must stay on one side of a split the same number: int32 [N].

    Images with equal digests, or with equal pixels after a quarter turn or a flip, always share a
    group. Those groups are then joined by complete linkage: the most evident near-duplicate
    pairs first, and two groups only where every pair between them is confirmed. So a chain in
    which A is like B and B like C doesn't join A with C.

    images: [N, H, W, C], C = 3 or 1, read in chunks; digests: of the files' bytes; white_level: the
    value of a white pixel.
    """

    def seen(image: NDArray[np.uint8 | np.uint16]) -> NDArray[np.uint8]:
        return window(as_rgb(image, white_level))

    with Sketches(len(images)) as sketches:
        keys: list[bytes] = []
        with progress("sketch", len(images), "images") as tracker:
            for start in range(0, len(images), CHUNK):
                chunk = np.asarray(images[start : start + CHUNK])
                keys += [pixel_key(image) for image in chunk]
                sketches.draw(start, np.stack([seen(image) for image in chunk]))
                tracker.advance(len(chunk))
        identical = join(identical_groups(digests), identical_groups(keys))
        pairs = find_near_duplicates(
            sketches,
            lambda indices: np.stack([seen(images[index]) for index in indices]),
            np.unique(identical).astype(np.intp),
            progress,
        )
    return complete_linkage(identical, pairs.copies.first, pairs.copies.second)


def pixel_key(image: NDArray[np.uint8 | np.uint16]) -> bytes:
    """Digest of an image [H, W, C] that quarter turns and flips don't change.

    The image is brought into one of its eight positions by comparing coarse sums, the smallest
    in dictionary order; positions with equal sums are decided by the digest itself.
    """
    coarse = _coarse(image)
    positions = [_position(coarse, turns, flip).tobytes() for turns, flip in _POSITIONS]
    first = min(positions)
    return min(
        _digest(_position(image, turns, flip))
        for (turns, flip), found in zip(_POSITIONS, positions, strict=True)
        if found == first
    )


_POSITIONS = tuple(product(range(4), (False, True)))


def _position(image: NDArray[np.generic], turns: int, flip: bool) -> NDArray[np.generic]:
    return np.rot90(image[:, ::-1] if flip else image, turns)


def _coarse(image: NDArray[np.uint8 | np.uint16]) -> NDArray[np.int64]:
    """Sums over a grid whose cuts lie symmetrically, so that it turns with the image."""
    sums: NDArray[np.integer] = image
    for axis in (0, 1):
        side = image.shape[axis]
        if side >= _CELLS:
            half = [cell * side // _CELLS for cell in range(1, _CELLS // 2 + 1)]
            cuts = [0, *half, *(side - cut for cut in reversed(half))]
            sums = np.add.reduceat(sums, cuts, axis=axis, dtype=np.int64)
    return sums.astype(np.int64)


def _digest(image: NDArray[np.generic]) -> bytes:
    head = repr(image.shape).encode()
    return hashlib.blake2b(image.tobytes(), digest_size=16, key=head).digest()


def identical_groups(keys: Sequence[Hashable]) -> Labels:
    """Label equal keys by the index of the first of them: int32 [N]."""
    first: dict[Hashable, int] = {}
    return np.fromiter(
        (first.setdefault(key, index) for index, key in enumerate(keys)), np.int32, len(keys)
    )


def join(one: Labels, other: Labels) -> Labels:
    """Finest grouping in which whoever shares a group in ``one`` or in ``other`` shares one."""
    labels = np.arange(len(one), dtype=np.int32)
    while True:
        before = labels
        for groups in (one, other):
            smallest = np.arange(len(labels), dtype=np.int32)
            np.minimum.at(smallest, groups, labels)
            labels = smallest[groups]
        if np.array_equal(labels, before):
            return labels


def complete_linkage(identical: Labels, first: Indices, second: Indices) -> Labels:
    """Join groups of identical images by confirmed pairs, most evident first: int32 [N].

    ``identical`` labels groups by their smallest index; ``first`` and ``second`` hold such
    labels. Two groups join only where all pairs between them are confirmed.
    """
    confirmed = set(zip(first.tolist(), second.tolist(), strict=True))
    confirmed |= {(two, one) for one, two in confirmed}
    members = {label: [label] for pair in confirmed for label in pair}
    group = {label: label for label in members}
    for pair in zip(first.tolist(), second.tolist(), strict=True):
        one, two = sorted(group[label] for label in pair)
        if one != two and all(link in confirmed for link in product(members[one], members[two])):
            members[one] += members.pop(two)
            group |= dict.fromkeys(members[one], one)
    joined = np.arange(len(identical), dtype=np.int32)
    for label, name in group.items():
        joined[label] = min(members[name])
    return joined[identical]
