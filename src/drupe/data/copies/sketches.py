"""Polar textures of all images in a scratch file, of which a bounded part is in memory."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from numpy.typing import NDArray

from drupe.closing import Closing
from drupe.data.copies.patches import ANGLES, CHUNK, RINGS, TEXTURE_FLOOR, polar, textures

MAPPED = 1024
"""Sketches read or written before the pages that hold them leave the process's memory again: about
64 MB, for the system maps 64 KB around each that is read."""

_POLAR_STEP = 1 / 40  # texture per unit of the stored int8

Indices = NDArray[np.intp]


class Sketches(Closing):
    """Polar textures of N images in a scratch file: int8 [N, R, A, 2].

    ``folder`` is where the scratch file lies (None: the system's folder for temporary files); it
    has no name there and vanishes with the process. A full disk is an :class:`OSError` at once.
    Threads may draw and read at the same time.
    """

    def __init__(self, images: int, folder: Path | None = None) -> None:
        self.images = images
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (see close)
        shape = (images, RINGS, ANGLES, 2)
        try:
            _reserve(self._file, max(1, int(np.prod(shape))))
        except OSError as error:
            self._file.close()
            error.filename = str(folder or tempfile.gettempdir())
            raise
        self._map = mmap.mmap(self._file.fileno(), 0)
        self._mapped, self._lock = 0, Lock()
        self.polar: NDArray[np.int8] | None = None
        if images:
            self.polar = np.frombuffer(self._map, np.int8).reshape(shape)
        self.has_texture = np.zeros(images, dtype=bool)

    def close(self) -> None:
        """Give the scratch file's disk back."""
        self.polar = None
        self._file.close()

    def draw(self, start: int, windows: NDArray[np.uint8]) -> None:
        """Sketch images ``start``, ``start + 1``, … from their windows uint8 [n, W, W, 2]."""
        if self.polar is None:  # no images
            return
        for offset in range(0, len(windows), CHUNK):
            part = slice(start + offset, start + min(offset + CHUNK, len(windows)))
            texture, inside = textures(windows[offset : offset + CHUNK])
            rings = polar(texture) / _POLAR_STEP
            self.polar[part] = np.clip(np.rint(rings), -127, 127)
            pixels = np.maximum(inside.sum(axis=(1, 2)), 1)[:, None]
            power = np.square(texture).sum(axis=(2, 3)) / pixels
            self.has_texture[part] = power.max(axis=1) > TEXTURE_FLOOR**2
        self._bound(len(windows))

    def spectra(self, indices: Indices) -> NDArray[np.complex64]:
        """Fourier coefficients along the angle, unit length: complex64 [n, A/2+1, R*2]."""
        assert self.polar is not None
        rings = self.polar[indices].astype(np.float32)
        self._bound(len(indices))
        norm = np.sqrt(np.square(rings).sum(axis=(1, 2, 3), keepdims=True)) + 1e-6
        found = np.fft.rfft(rings / norm, axis=2).transpose(0, 2, 1, 3)
        return found.reshape(len(indices), ANGLES // 2 + 1, 2 * RINGS).astype(np.complex64)

    def _bound(self, rows: int) -> None:
        """Count sketches just used, and unmap all after so many; the file keeps what they hold."""
        with self._lock:
            self._mapped += rows
            is_full = self._mapped >= MAPPED
            if is_full:
                self._mapped = 0
        if is_full and hasattr(mmap, "MADV_DONTNEED"):  # Windows lacks it
            self._map.madvise(mmap.MADV_DONTNEED)


def _reserve(file: IO[bytes], size: int) -> None:
    """Claim ``size`` bytes of disk: a memory map that meets a full disk kills the process."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except AttributeError:  # macOS and Windows lack it
        _write_zeros(file, size)
    except OSError as error:  # some file systems do as well
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        _write_zeros(file, size)


def _write_zeros(file: IO[bytes], size: int) -> None:
    block = bytes(1 << 20)
    for start in range(0, size, len(block)):
        file.write(block[: size - start])
    file.flush()
