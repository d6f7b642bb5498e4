"""SHA-256 of every file of a dataset, computed in parallel and kept.

Digests are kept in ``STORE/manifests/`` with size, times and inode of each file, so that a file
is read again only when one of these has changed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.configuration import Tree
from drupe.data.store_errors import writing_to
from drupe.derived import read_arrays, write_arrays
from drupe.parallel import in_order
from drupe.progress import Progress, silent

CHUNK = 64
"""Files per task: enough to make the hand-over between threads cheap."""

RACY_NS = 2_000_000_000
"""A file changed less than this before it was hashed is hashed again next time.

A second change within one tick of the file system's clock (2 s on FAT) would leave no trace.
"""

MANIFEST_VERSION = 1
"""Raised when what is kept of a file means something else."""

DTYPES = {name: np.dtype(of) for name, of in (("paths", "u1"), ("rows", "i8"), ("digests", "u1"))}

Row = tuple[int, int, int, int]
"""Size, mtime and ctime in nanoseconds, and inode of a file."""

Rows = NDArray[np.int64]

ABSENT: Row = (-1, -1, -1, -1)
"""The row of a file that isn't there."""


@dataclass(frozen=True)
class Digests:
    """SHA-256 (hex) of each file's bytes, in the order asked for.

    unreadable: index → reason, for files that couldn't be read; their digest is empty.
    """

    digests: tuple[str, ...]
    unreadable: dict[int, str]


def file_digests(
    root: Path,
    paths: Sequence[str],
    *,
    store: Path,
    workers: int | None = None,
    progress: Progress = silent,
) -> Digests:
    """Hash the files ``root / path`` in parallel, or look them up where they haven't changed.

    Raises :class:`InputError` where the store can't be written to.
    """
    started_ns = time.time_ns()
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    cache = store / "manifests" / f"{key}.npz"
    with writing_to(store):
        cache.parent.mkdir(parents=True, exist_ok=True)
    made_from = {"version": MANIFEST_VERSION, "root": key}
    base = os.fspath(root)
    rows = _rows(base, paths, workers)
    digests, kept = _load(cache, made_from, paths, rows)
    new = [index for index, digest in enumerate(digests) if not digest]
    unreadable: dict[int, str] = {}
    if new:
        with progress("hash", len(new), "files") as tracker:
            for results in in_order(
                lambda some: [(index, *_digest(base, paths[index])) for index in some],
                new,
                CHUNK,
                workers,
            ):
                for index, digest, reason in results:
                    digests[index] = digest
                    if reason:
                        unreadable[index] = reason
                tracker.advance(len(results))
    has_digest = np.fromiter(map(bool, digests), bool, len(digests))
    changed_ns = np.maximum(rows[:, 1], rows[:, 2])
    settled = has_digest & (rows[:, 0] >= 0) & (changed_ns < started_ns - RACY_NS)
    if np.count_nonzero(settled) != kept or any(digests[index] for index in new):
        with writing_to(store):
            _save(cache, made_from, np.flatnonzero(settled), paths, rows, digests)
    return Digests(tuple(digests), unreadable)


def _rows(base: str, paths: Sequence[str], workers: int | None) -> Rows:
    rows = np.empty((len(paths), len(ABSENT)), np.int64)

    def look(some: Sequence[str]) -> Rows:
        return np.array([_row(base, path) for path in some], np.int64)

    start = 0
    for found in in_order(look, paths, 1024, workers):
        rows[start : start + len(found)] = found
        start += len(found)
    return rows


def _row(base: str, path: str) -> Row:
    try:
        found = os.stat(os.path.join(base, path))  # noqa: PTH116, PTH118 (a million times)
    except OSError:
        return ABSENT
    # ctime as well: a copy that keeps times (cp -p) can't set it back.
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & (2**63 - 1))


def _digest(base: str, path: str) -> tuple[str, str]:
    """Return (digest, "") or ("", reason)."""
    try:
        with open(os.path.join(base, path), "rb") as file:  # noqa: PTH118, PTH123 (the same)
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", (error.strerror or str(error)).lower()


def _load(cache: Path, made_from: Tree, paths: Sequence[str], rows: Rows) -> tuple[list[str], int]:
    """Return the digest of each file, '' where none is kept of such a row, and how many are kept.

    A missing or damaged cache is an empty one.
    """
    known = read_arrays(cache, made_from, DTYPES)
    if known is None:
        return [""] * len(paths), 0
    places = _places(known["paths"], paths)
    is_same = places >= 0
    is_same[is_same] = (known["rows"][places[is_same]] == rows[is_same]).all(axis=1)
    digests = known["digests"].reshape(-1, 32)
    found = [
        digests[place].tobytes().hex() if same else ""
        for place, same in zip(places, is_same, strict=True)
    ]
    return found, len(digests)


def _places(kept: NDArray[np.uint8], paths: Sequence[str]) -> NDArray[np.intp]:
    """Return where each path stands among the ``kept`` ones, -1 where it doesn't."""
    if kept.tobytes() == "\0".join(paths).encode():  # as usual, and a quarter of the memory
        return np.arange(len(paths))
    place = {path: index for index, path in enumerate(kept.tobytes().decode().split("\0"))}
    return np.fromiter((place.get(path, -1) for path in paths), np.intp, len(paths))


def _save(
    cache: Path,
    made_from: Tree,
    settled: NDArray[np.intp],
    paths: Sequence[str],
    rows: Rows,
    digests: Sequence[str],
) -> None:
    if len(settled) == 0:
        cache.unlink(missing_ok=True)
        return
    names = "\0".join(paths[index] for index in settled)
    joined = "".join(digests[index] for index in settled)
    arrays: dict[str, NDArray[Any]] = {
        "paths": np.frombuffer(names.encode(), np.uint8),
        "rows": rows[settled],
        "digests": np.frombuffer(bytes.fromhex(joined), np.uint8),
    }
    write_arrays(cache, made_from, arrays)
