"""Find pairs of images of which one is the other's copy: turned, flipped, shifted, relit, noisier.

Three stages, each far narrower than the one before; N images, M pairs:

1. *Nominate.* The texture around the content's centre, on a polar grid, keeps the size of its
   Fourier coefficients along the angle when the object is turned or flipped. Principal components
   of these sizes (128 bytes an image) propose each image's nearest :data:`NEIGHBOURS`: exhaustive
   up to 2 · :data:`CELL` images, beyond that within the cells around random centres.
2. *Sift.* Circular correlation of the polar textures, all angles at once, forwards and flipped.
3. *Confirm.* The windows are laid on each other at the angle found, shifted by up to 2 pixels;
   silhouettes must overlap and the fine texture must correlate
   (:mod:`drupe.data.copies.alignment`).

3 KB an image lie in an unlinked scratch file (:class:`drupe.data.copies.sketches.Sketches`), and
about half a KB an image in memory: descriptors, then the nominated pairs as one number each.
Time for nominating grows with N · CELL, for the rest with N.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.alignment import compare
from drupe.data.copies.patches import ANGLES, CHUNK, RINGS
from drupe.data.copies.sketches import Sketches
from drupe.host import available_cores
from drupe.parallel import in_order
from drupe.progress import Progress, silent

NEIGHBOURS = 12
"""Pairs nominated per image and cell, at most."""

CELL = 4096
"""Images per cell, on average, when there are more than twice as many."""

PROBES = 3
"""Cells that an image belongs to, so that neighbours across a cell's border still meet."""

LARGEST_CELL = 4 * PROBES * CELL
"""A fuller cell is cut into pieces by likeness to its centre; the images in it are counted."""

SIFTED = 0.6
"""Polar texture correlation that a pair needs to be looked at pixel by pixel."""

SIFTED_PER_IMAGE = 1
"""Pairs looked at pixel by pixel, per image on average, at most: the most agreeing ones. More
arise only where images are so small or smooth that many look the same."""

ALIKE_SHOWN = 20
"""Pairs listed that aren't copies but look alike, most evident first."""

_FREQUENCIES = 17  # angular orders 0..16 nominate; higher ones vary with noise
_COMPONENTS = 64
_DESCRIBED = 256  # images at a time
_SAMPLE = 2048  # images that the principal components are found on
_JOINED = 1024  # chunks of compared pairs before all but the best are dropped
_PENDING = 1 << 22  # nominated pairs held before those found twice are left out: 32 MB

Indices = NDArray[np.intp]
Floats = NDArray[np.float32]
Fetch = Callable[[Indices], NDArray[np.uint8]]
"""Give the windows uint8 [n, W, W, 2] (:func:`drupe.data.copies.patches.window`) of some images."""


@dataclass(frozen=True)
class Pairs:
    """M pairs, most evident first.

    first < second: intp [M]; flipped: bool [M] and degrees: float32 [M], 0 to 360, by which
    ``second`` has to be turned, after a flip where ``flipped``; correlation, evidence and
    overlap: float32 [M], see :class:`drupe.data.copies.alignment.Agreement`.
    """

    first: Indices
    second: Indices
    flipped: NDArray[np.bool_]
    correlation: Floats
    evidence: Floats
    overlap: Floats
    degrees: Floats

    def __len__(self) -> int:
        """M."""
        return len(self.first)

    def rows(self, chosen: NDArray[Any]) -> Pairs:
        """Return the pairs that ``chosen``, a mask or indices, selects."""
        return Pairs(*(column[chosen] for column in vars(self).values()))


@dataclass(frozen=True)
class NearPairs:
    """Pairs that the search found, and how it went.

    copies: confirmed pairs; alike: at most :data:`ALIKE_SHOWN` pairs of different photographs
    that a person may want to look at; nominated and sifted: pairs that got so far; dropped: pairs
    beyond :data:`SIFTED_PER_IMAGE`; crowded: images in cells too full to be searched whole, whose
    copies may have been missed.
    """

    copies: Pairs
    alike: Pairs
    nominated: int
    sifted: int
    dropped: int
    crowded: int


def find_near_duplicates(
    sketches: Sketches,
    fetch: Fetch,
    candidates: Indices | None = None,
    progress: Progress = silent,
) -> NearPairs:
    """Find the pairs of copies among ``candidates`` (sorted indices; None: all images).

    Leave all but one of identical images out of ``candidates``: copies crowd out neighbours.
    Images without texture inside their content are never paired.
    """
    chosen = np.arange(sketches.images) if candidates is None else candidates
    chosen = chosen[sketches.has_texture[chosen]]
    codes, crowded = _nominate(_descriptors(sketches, chosen, progress), progress)
    sifted, dropped = _sift(sketches, chosen, codes, progress)
    copies, alike = _confirm(sifted, fetch, sketches.images, progress)
    return NearPairs(
        copies=copies,
        alike=alike.rows(np.arange(len(alike)) < ALIKE_SHOWN),
        nominated=len(codes),
        sifted=len(sifted.first),
        dropped=dropped,
        crowded=crowded,
    )


# --- Nominate ----------------------------------------------------------------------------------


def _descriptors(sketches: Sketches, chosen: Indices, progress: Progress) -> NDArray[np.float16]:
    """Unit vectors float16 [n, 64]: principal components of the spectra's magnitudes."""
    out = np.zeros((len(chosen), _COMPONENTS), dtype=np.float16)
    if len(chosen) == 0:
        return out
    rng = np.random.default_rng(0)
    sample = np.sort(rng.permutation(len(chosen))[:_SAMPLE])
    parts = np.array_split(chosen[sample], -(-len(sample) // _DESCRIBED))
    known = np.concatenate([_magnitudes(sketches, part) for part in parts])
    mean = known.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(known - mean, rowvar=False, ddof=0))
    axes = axes[:, ::-1][:, :_COMPONENTS].astype(np.float32)
    with progress("describe", len(chosen), "images") as tracker:
        for start in range(0, len(chosen), _DESCRIBED):
            part = chosen[start : start + _DESCRIBED]
            vectors = (_magnitudes(sketches, part) - mean) @ axes
            norm = np.linalg.norm(vectors, axis=1, keepdims=True)
            out[start : start + _DESCRIBED] = vectors / np.maximum(norm, 1e-6)
            tracker.advance(len(part))
    return out


def _magnitudes(sketches: Sketches, indices: Indices) -> Floats:
    sizes = np.abs(sketches.spectra(indices)[:, :_FREQUENCIES])
    # Two rings make one, which takes an eighth of the time for the principal axes.
    power = np.square(sizes).reshape(len(indices), _FREQUENCIES, RINGS // 2, 2, 2).sum(axis=3)
    pooled: Floats = np.sqrt(power).reshape(len(indices), -1)
    return pooled


def _nominate(vectors: NDArray[np.float16], progress: Progress) -> tuple[NDArray[np.int64], int]:
    """Return pairs int64 [M], sorted, and how many images lay in cells that were cut.

    A pair is coded as first * len(vectors) + second, first < second.
    """
    count = len(vectors)
    distinct, pending = np.zeros(0, dtype=np.int64), [np.zeros(0, dtype=np.int64)]
    crowded = 0
    cells, pieces = _cells(vectors), []
    for members in cells:
        parts = max(1, -(-len(members) // LARGEST_CELL))
        crowded += len(members) if parts > 1 else 0
        pieces += np.array_split(members, parts)
    with progress("nominate", sum(map(len, pieces)), "images") as tracker:
        for members in pieces:
            inside = vectors[members].astype(np.float32)
            block = max(1, (1 << 24) // max(1, len(members)))  # 64 MB of similarities
            for start in range(0, len(members), block):
                pending.append(_nearest(members, inside, slice(start, start + block), count))
                tracker.advance(min(block, len(members) - start))
            if sum(map(len, pending)) > _PENDING:
                distinct, pending = _distinct([distinct, *pending]), []
    return _distinct([distinct, *pending]), crowded


def _distinct(codes: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Sort and leave out repetitions, in a third of the memory of numpy.unique's hash table."""
    ordered = np.concatenate(codes)
    ordered.sort()
    is_new = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    return ordered[is_new]


def _nearest(members: Indices, inside: Floats, rows: slice, count: int) -> NDArray[np.int64]:
    """Code first * count + second of each row's nearest members, without the row itself."""
    likeness = inside[rows] @ inside.T
    own = np.arange(len(members))[rows]
    likeness[np.arange(len(own)), own] = -2
    nearest = min(NEIGHBOURS, len(members) - 1)
    if nearest < 1:
        return np.zeros(0, dtype=np.int64)
    columns = np.argpartition(-likeness, nearest - 1, axis=1)[:, :nearest]
    one, other = np.repeat(members[own], nearest), members[columns.ravel()]
    codes: NDArray[np.int64] = np.minimum(one, other) * count + np.maximum(one, other)
    return np.unique(codes)


def _cells(vectors: NDArray[np.float16]) -> list[Indices]:
    """Split the images into overlapping cells of like ones, most alike to the centre first."""
    count = len(vectors)
    if count <= 2 * CELL:
        return [np.arange(count)]
    rng = np.random.default_rng(0)
    centres = vectors[rng.permutation(count)[: count // CELL + PROBES]].astype(np.float32)
    cell = np.empty((count, PROBES), dtype=np.int32)
    near = np.empty((count, PROBES), dtype=np.float32)
    for start in range(0, count, CELL):
        part = slice(start, start + CELL)
        likeness = vectors[part].astype(np.float32) @ centres.T
        cell[part] = np.argpartition(-likeness, PROBES - 1, axis=1)[:, :PROBES]
        near[part] = np.take_along_axis(likeness, cell[part].astype(np.intp), axis=1)
    order = np.lexsort((-near.ravel(), cell.ravel()))
    bounds = np.searchsorted(cell.ravel()[order], np.arange(1, len(centres)))
    return np.split(order // PROBES, bounds)


# --- Sift --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sifted:
    """Pairs that agree, one or both ways: first and second, whether flipped, angle, agreement."""

    first: Indices
    second: Indices
    flipped: NDArray[np.bool_]
    step: Indices
    height: Floats

    @classmethod
    def joined(cls, parts: Sequence[_Sifted]) -> _Sifted:
        """Return the pairs of all ``parts``, in order."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def rows(self, chosen: NDArray[Any]) -> _Sifted:
        return _Sifted(*(column[chosen] for column in vars(self).values()))

    def strongest(self, most: int) -> _Sifted:
        """Keep the ``most`` that agree best, in order; of equals the first ones."""
        if len(self.height) <= most:
            return self
        least = np.partition(self.height, -most)[-most]
        kept = self.height > least
        equal = np.flatnonzero(self.height == least)
        kept[equal[: most - np.count_nonzero(kept)]] = True
        return self.rows(kept)


def _sift(
    sketches: Sketches, chosen: Indices, codes: NDArray[np.int64], progress: Progress
) -> tuple[_Sifted, int]:
    """Keep pairs whose polar textures agree at some angle, forwards or flipped, and that angle.

    ``codes`` are of pairs of ``chosen`` images. Returns at most :data:`SIFTED_PER_IMAGE` · N of
    them, in order, and how many were dropped.
    """
    most, agreed = SIFTED_PER_IMAGE * sketches.images, 0
    none = np.zeros(0, dtype=np.intp)
    kept = _Sifted(none, none, none.astype(bool), none, none.astype(np.float32))
    pending: list[_Sifted] = []

    def agreeing(some: Sequence[int]) -> _Sifted:
        pairs = codes[some[0] : some[-1] + 1]
        one, other = chosen[pairs // len(chosen)], chosen[pairs % len(chosen)]
        # Each image comes up often: transform it once per chunk.
        unique, place = np.unique(np.concatenate([one, other]), return_inverse=True)
        spectra = sketches.spectra(unique)
        a, b = spectra[place[: len(one)]], spectra[place[len(one) :]]
        found = []
        for flipped in (False, True):
            product = np.einsum("nkr,nkr->nk", a, b if flipped else b.conj())
            agreement = np.fft.irfft(product, n=ANGLES, axis=1)
            step, height = agreement.argmax(axis=1), agreement.max(axis=1).astype(np.float32)
            way = np.full(len(one), flipped)
            found.append(_Sifted(one, other, way, step, height).rows(height >= SIFTED))
        return _Sifted.joined(found)

    with progress("compare", len(codes), "pairs") as tracker:
        starts = range(0, len(codes), CHUNK)
        parts = in_order(agreeing, range(len(codes)), CHUNK, available_cores())
        for start, found in zip(starts, parts, strict=True):
            pending.append(found)
            agreed += len(found.height)
            if len(pending) == _JOINED:
                kept, pending = _Sifted.joined([kept, *pending]).strongest(most), []
            tracker.advance(min(CHUNK, len(codes) - start))
    kept = _Sifted.joined([kept, *pending]).strongest(most)
    return kept, agreed - len(kept.height)


# --- Confirm -----------------------------------------------------------------------------------


def _confirm(sifted: _Sifted, fetch: Fetch, images: int, progress: Progress) -> tuple[Pairs, Pairs]:
    """Return the pairs that agree pixel by pixel, and those that merely look alike."""
    none = np.zeros(0, dtype=np.float32)
    start_with = (sifted.first[:0], sifted.second[:0], sifted.flipped[:0], none, none, none, none)
    kept: tuple[list[tuple[NDArray[Any], ...]], ...] = ([start_with], [start_with])
    total = len(sifted.first)

    def agreement(some: Sequence[int]) -> list[tuple[NDArray[Any], ...]]:
        part = slice(some[0], some[-1] + 1)
        one, other, flipped = sifted.first[part], sifted.second[part], sifted.flipped[part]
        unique, place = np.unique(np.concatenate([one, other]), return_inverse=True)
        windows = fetch(unique)
        a, b = windows[place[: len(one)]], windows[place[len(one) :]]
        found = compare(a, b, sifted.step[part], flipped)
        measured = (found.correlation, found.evidence, found.overlap, found.degrees)
        columns = (one, other, flipped, *measured)
        return [
            tuple(column[good] for column in columns) for good in (found.confirmed, found.alike)
        ]

    with progress("confirm", total, "pairs") as tracker:
        parts = in_order(agreement, range(total), CHUNK, available_cores())
        for start, found in zip(range(0, total, CHUNK), parts, strict=True):
            for rows, more in zip(kept, found, strict=True):
                rows.append(more)
            tracker.advance(min(CHUNK, total - start))
    copies, alike = (
        _once(Pairs(*(np.concatenate(column) for column in zip(*rows, strict=True))), images)
        for rows in kept
    )
    # A copy's other, poorer alignment may look alike as well.
    codes = copies.first * images + copies.second
    return copies, alike.rows(~np.isin(alike.first * images + alike.second, codes))


def _once(pairs: Pairs, images: int) -> Pairs:
    """Sort by evidence; of a pair found both as it is and flipped keep the better alignment."""
    ordered = pairs.rows(np.lexsort((pairs.second, pairs.first, -pairs.evidence)))
    _, earliest = np.unique(ordered.first * images + ordered.second, return_index=True)
    return ordered.rows(np.sort(earliest))
