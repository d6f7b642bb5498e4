"""Files derived from others, kept to save time: with what they were made from, and a digest.

One that is damaged, of another version or of other data must never steer a figure: who reads gets
it whole or not at all, and makes it anew. That is said, as a failing disk would be worth knowing.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from drupe.configuration import Tree, fingerprint
from drupe.errors import InputError
from drupe.files import replacing, write_json
from drupe.notices import notice

DIGEST, MADE_FROM = "digest", "made_from"
SEAL = "seal"
"""Member of an archive that says what its arrays are: JSON in UTF-8, as bytes."""

UNREADABLE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError),
    *(MemoryError, OverflowError, BadZipFile, zlib.error, struct.error),
)
"""What json, numpy and zipfile raise on content that nobody wrote."""


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON-like document with its ``digest``, whatever stood there before."""
    bare = {key: value for key, value in document.items() if key != DIGEST}
    return bare | {DIGEST: fingerprint(bare)}


def is_sealed(document: Mapping[str, Any]) -> bool:
    """Return whether a document still is what :func:`sealed` returned."""
    try:
        return bool(document.get(DIGEST) == sealed(document)[DIGEST])
    except UnicodeEncodeError:  # no text that Drupe writes
        return False


def write_document(path: Path, made_from: Tree, document: Tree) -> None:
    """Write a JSON document, ``made_from`` what it depends on, atomically and sealed."""
    write_json(path, sealed({MADE_FROM: made_from, **document}))


def read_document(path: Path, made_from: Tree) -> dict[str, Any] | None:
    """Return what :func:`write_document` wrote; None where there is none that fits ``made_from``.

    Documents of earlier versions have no digest. One made from something else is out of date, which
    is as usual and isn't said.
    """
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or (DIGEST in document and not is_sealed(document)):
            raise InputError("damaged")
    except (InputError, *UNREADABLE) as error:
        _say(path, error)
        return None
    return document if document.get(MADE_FROM) == made_from else None


def write_arrays(path: Path, made_from: Tree, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write ``arrays`` by name, ``made_from`` what they depend on, atomically and sealed."""
    described = {name: _described(array) for name, array in arrays.items()}
    seal = json.dumps(sealed({MADE_FROM: made_from, "arrays": described})).encode()
    buffer = io.BytesIO()
    np.savez(buffer, **{SEAL: np.frombuffer(seal, np.uint8)}, **arrays)  # type: ignore[arg-type]
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_arrays(
    path: Path, made_from: Tree, dtypes: Mapping[str, np.dtype[Any]]
) -> dict[str, NDArray[Any]] | None:
    """Return what :func:`write_arrays` wrote; None where there is nothing whole that fits.

    ``dtypes``: the arrays that there must be, no more and no less.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            seal = json.loads(archive[SEAL].tobytes())
            arrays = {name: archive[name] for name in archive.files if name != SEAL}
        _require_fit(seal, made_from)
        if seal["arrays"] != {name: _described(array) for name, array in arrays.items()}:
            raise InputError("damaged")
        if {name: array.dtype for name, array in arrays.items()} != dict(dtypes):
            raise InputError("of another form")
    except FileNotFoundError:
        return None
    except (InputError, *UNREADABLE) as error:
        _say(path, error)
        return None
    return arrays


def _require_fit(seal: Any, made_from: Tree) -> None:
    if not isinstance(seal, dict) or not is_sealed(seal):
        raise InputError("damaged, or of a version that gave no digest")
    if seal.get(MADE_FROM) != made_from:
        raise InputError("made from something else, or by another version")


def _described(array: NDArray[Any]) -> dict[str, Any]:
    content = np.ascontiguousarray(array)
    return {
        "dtype": content.dtype.str,
        "shape": list(content.shape),
        "sha256": hashlib.sha256(content.data).hexdigest(),
    }


def _say(path: Path, error: Exception) -> None:
    reason = str(error) if isinstance(error, InputError) else "damaged"
    if isinstance(error, OSError) and error.strerror:
        reason = f"can't be read ({error.strerror})"
    notice(f"{path}: {reason}: it counts as absent and is made anew")
