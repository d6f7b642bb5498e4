"""Find pairs of images that show the same object again: turned, flipped, shifted, relit.

Three stages, each far narrower than the one before; N images, M pairs:

1. *Nominate.* The texture around the content's centre, on a polar grid, keeps the size of its
   Fourier coefficients along the angle when the object is turned or flipped. Principal components
   of these sizes (128 bytes an image) propose each image's nearest :data:`NEIGHBOURS`: exhaustive
   up to :data:`CELL` images, beyond that within the cells around random centres.
2. *Sift.* Circular correlation of the polar textures, all angles at once, forwards and flipped.
3. *Confirm.* The windows are laid on each other at the angle found, shifted by up to 2 pixels;
   silhouettes must overlap and the fine texture must correlate more than chance allows for that
   many pixels.

Memory is bounded: 3 KB an image lie in an unlinked scratch file, about 300 bytes an image in
memory. Time grows with N · CELL for nominating and with N for the rest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.alignment import compare
from drupe.data.patches import ANGLES, CHUNK, RINGS, polar, textures
from drupe.progress import Progress, silent

NEIGHBOURS = 16
"""Pairs nominated per image and cell, at most."""

CELL = 4096
"""Images per cell, on average, when there are more than twice as many."""

PROBES = 3
"""Cells that an image belongs to, so that neighbours across a cell's border still meet."""

LARGEST_CELL = 4 * PROBES * CELL
"""A fuller cell is cut into pieces by likeness to its centre; the images in it are counted."""

SIFTED = 0.55
"""Polar texture correlation that a pair needs to be looked at pixel by pixel."""

_FREQUENCIES = 17  # angular orders 0..16 nominate; higher ones vary with noise
_COMPONENTS = 64
_POLAR_STEP = 1 / 40  # texture per unit of the stored int8

Indices = NDArray[np.intp]
Floats = NDArray[np.float32]
Fetch = Callable[[Indices], NDArray[np.uint8]]
"""Give the windows uint8 [n, W, W, 2] (:func:`drupe.data.patches.window`) of some images."""


@dataclass(frozen=True)
class NearPairs:
    """M confirmed pairs, most evident first, and how they were found.

    first < second: intp [M]; correlation: of fine texture, float32 [M]; evidence: float32 [M];
    overlap: of the silhouettes, float32 [M]; degrees: float32 [M], 0 to 360, by which ``second``
    is turned, after a flip where ``flipped``; nominated, sifted: pairs that got so far;
    crowded: images in cells that were cut, whose neighbours may have been missed.
    """

    first: Indices
    second: Indices
    correlation: Floats
    evidence: Floats
    overlap: Floats
    degrees: Floats
    flipped: NDArray[np.bool_]
    nominated: int
    sifted: int
    crowded: int


class Sketches:
    """Polar textures of N images in a scratch file: int8 [N, R, A, 2].

    ``folder`` is where the scratch file lies (None: the system's folder for temporary files); it
    has no name there and vanishes with the process.
    """

    def __init__(self, images: int, folder: Path | None = None) -> None:
        self.images = images
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by __exit__)
        shape = (images, RINGS, ANGLES, 2)
        self._file.truncate(max(1, int(np.prod(shape))))
        self.polar = np.memmap(self._file, np.int8, mode="r+", shape=shape) if images else None
        self.has_texture = np.zeros(images, dtype=bool)

    def __enter__(self) -> Sketches:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.polar = None
        self._file.close()

    def draw(self, start: int, windows: NDArray[np.uint8]) -> None:
        """Sketch images ``start``, ``start + 1``, … from their windows uint8 [n, W, W, 2]."""
        assert self.polar is not None
        for offset in range(0, len(windows), CHUNK):
            part = slice(start + offset, start + min(offset + CHUNK, len(windows)))
            texture, inside = textures(windows[offset : offset + CHUNK])
            rings = polar(texture) / _POLAR_STEP
            self.polar[part] = np.clip(np.rint(rings), -127, 127)
            self.has_texture[part] = inside.any(axis=(1, 2)) & self.polar[part].any(axis=(1, 2, 3))

    def spectra(self, indices: Indices) -> NDArray[np.complex64]:
        """Fourier coefficients along the angle, unit length: complex64 [n, A/2+1, R*2]."""
        assert self.polar is not None
        rings = self.polar[indices].astype(np.float32)
        norm = np.sqrt(np.square(rings).sum(axis=(1, 2, 3), keepdims=True)) + 1e-6
        found = np.fft.rfft(rings / norm, axis=2).transpose(0, 2, 1, 3)
        return found.reshape(len(indices), ANGLES // 2 + 1, 2 * RINGS).astype(np.complex64)


def find_near_duplicates(
    sketches: Sketches,
    fetch: Fetch,
    candidates: Indices | None = None,
    progress: Progress = silent,
) -> NearPairs:
    """Find the pairs among ``candidates`` (sorted indices; None: all) that show the same object.

    Leave all but one of identical images out of ``candidates``: copies crowd out neighbours.
    Images without texture inside their content are never paired.
    """
    chosen = np.arange(sketches.images) if candidates is None else candidates
    chosen = chosen[sketches.has_texture[chosen]]
    pairs, crowded = _nominate(_descriptors(sketches, chosen, progress), progress)
    first, second = chosen[pairs[:, 0]], chosen[pairs[:, 1]]
    sifted = _sift(sketches, first, second, progress)
    found = _confirm(sifted, fetch, progress)
    # A pair may be confirmed both as it is and flipped: its better alignment counts.
    order = np.lexsort((found.second, found.first, -found.evidence))
    _, earliest = np.unique(
        found.first[order] * sketches.images + found.second[order], return_index=True
    )
    order = order[np.sort(earliest)]
    columns = {name: values[order] for name, values in vars(found).items()}
    return NearPairs(**columns, nominated=len(pairs), sifted=len(sifted.first), crowded=crowded)


# --- Nominate ----------------------------------------------------------------------------------


def _descriptors(sketches: Sketches, chosen: Indices, progress: Progress) -> NDArray[np.float16]:
    """Unit vectors float16 [n, 64]: principal components of the spectra's magnitudes."""
    out = np.zeros((len(chosen), _COMPONENTS), dtype=np.float16)
    if len(chosen) == 0:
        return out
    rng = np.random.default_rng(0)
    sample = np.sort(rng.permutation(len(chosen))[:8192])
    known = np.concatenate(
        [
            _magnitudes(sketches, chosen[part])
            for part in np.array_split(sample, len(sample) // 256 + 1)
        ]
    )
    mean = known.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(known - mean, rowvar=False, ddof=0))
    axes = axes[:, ::-1][:, :_COMPONENTS].astype(np.float32)
    with progress("describe", len(chosen), "images") as tracker:
        for start in range(0, len(chosen), 256):
            part = chosen[start : start + 256]
            vectors = (_magnitudes(sketches, part) - mean) @ axes
            norm = np.linalg.norm(vectors, axis=1, keepdims=True)
            out[start : start + 256] = vectors / np.maximum(norm, 1e-6)
            tracker.advance(len(part))
    return out


def _magnitudes(sketches: Sketches, indices: Indices) -> Floats:
    sizes: Floats = np.abs(sketches.spectra(indices)[:, :_FREQUENCIES])
    return sizes.reshape(len(indices), -1)


def _nominate(vectors: NDArray[np.float16], progress: Progress) -> tuple[NDArray[np.intp], int]:
    """Return pairs intp [M, 2] (first < second), and how many images lay in cells that were cut."""
    count = len(vectors)
    codes = [np.zeros(0, dtype=np.int64)]
    crowded = 0
    cells, pieces = _cells(vectors), []
    for members in cells:
        parts = -(-len(members) // LARGEST_CELL)
        crowded += len(members) if parts > 1 else 0
        pieces += np.array_split(members, parts)
    with progress("nominate", sum(map(len, pieces)), "images") as tracker:
        for members in pieces:
            inside = vectors[members].astype(np.float32)
            block = max(1, (1 << 24) // max(1, len(members)))  # 64 MB of similarities
            for start in range(0, len(members), block):
                codes.append(_nearest(members, inside, slice(start, start + block), count))
                tracker.advance(min(block, len(members) - start))
    found = np.unique(np.concatenate(codes))
    return np.stack([found // max(1, count), found % max(1, count)], axis=1).astype(
        np.intp
    ), crowded


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
    first: Indices
    second: Indices
    flipped: NDArray[np.bool_]
    step: Indices


def _sift(sketches: Sketches, first: Indices, second: Indices, progress: Progress) -> _Sifted:
    """Keep pairs whose polar textures agree at some angle, forwards or flipped, and that angle."""
    kept: list[tuple[NDArray[Any], ...]] = [(first[:0], first[:0], np.zeros(0, bool), first[:0])]
    with progress("compare", len(first), "pairs") as tracker:
        for start in range(0, len(first), CHUNK):
            one, other = first[start : start + CHUNK], second[start : start + CHUNK]
            # Each image comes up often: transform it once per chunk.
            unique, place = np.unique(np.concatenate([one, other]), return_inverse=True)
            spectra = sketches.spectra(unique)
            a, b = spectra[place[: len(one)]], spectra[place[len(one) :]]
            for flipped in (False, True):
                product = (a * (b if flipped else b.conj())).sum(axis=2)
                agreement = np.fft.irfft(product, n=ANGLES, axis=1)
                step = agreement.argmax(axis=1)
                good = agreement.max(axis=1) >= SIFTED
                kept.append((one[good], other[good], np.full(good.sum(), flipped), step[good]))
            tracker.advance(len(one))
    return _Sifted(*(np.concatenate(column) for column in zip(*kept, strict=True)))


# --- Confirm -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Confirmed:
    first: Indices
    second: Indices
    flipped: NDArray[np.bool_]
    correlation: Floats
    evidence: Floats
    overlap: Floats
    degrees: Floats


def _confirm(sifted: _Sifted, fetch: Fetch, progress: Progress) -> _Confirmed:
    """Keep pairs that agree pixel by pixel."""
    none = np.zeros(0, dtype=np.float32)
    kept: list[tuple[NDArray[Any], ...]] = [
        (sifted.first[:0], sifted.second[:0], sifted.flipped[:0], none, none, none, none)
    ]
    with progress("confirm", len(sifted.first), "pairs") as tracker:
        for start in range(0, len(sifted.first), CHUNK):
            part = slice(start, start + CHUNK)
            one, other, flipped = sifted.first[part], sifted.second[part], sifted.flipped[part]
            unique, place = np.unique(np.concatenate([one, other]), return_inverse=True)
            windows = fetch(unique)
            a, b = windows[place[: len(one)]], windows[place[len(one) :]]
            found = compare(a, b, sifted.step[part], flipped)
            measured = (found.correlation, found.evidence, found.overlap, found.degrees)
            good = found.confirmed
            kept.append(tuple(column[good] for column in (one, other, flipped, *measured)))
            tracker.advance(len(one))
    return _Confirmed(*(np.concatenate(column) for column in zip(*kept, strict=True)))
