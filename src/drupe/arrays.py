"""Arrays in ``.npz`` files that anybody may have written: read whole, or refused in words."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 1 << 30
"""Of all arrays of a file together: a few bytes of a compressed file can stand for many more."""


def read_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays in the bytes of an ``.npz`` file by their names; pickles are never read.

    Raises:
        ValueError: why it is no such file: a bare array, a member that is no array, encrypted or
            compressed in another way, damage, more than ``MOST_BYTES``.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > MOST_BYTES:
                raise ValueError(f"{size:,} bytes, at most {MOST_BYTES:,}")
            return {
                member.filename.removesuffix(".npy"): _array(archive.read(member))
                for member in archive.infolist()
            }
    except Exception as error:  # zipfile, its decompressors and NumPy raise a dozen types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(reason) from None


def _array(content: bytes) -> NDArray[Any]:
    found: NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return found
