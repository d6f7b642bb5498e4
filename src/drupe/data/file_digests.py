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
    known = _load(cache, made_from)
    base = os.fspath(root)
    rows: list[Row | None] = []
    for found in in_order(lambda some: [_row(base, path) for path in some], paths, 1024, workers):
        rows += found

    digests = [known.get((path, row), "") for path, row in zip(paths, rows, strict=True)]
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
    settled = [
        index
        for index, row in enumerate(rows)
        if row and digests[index] and max(row[1], row[2]) < started_ns - RACY_NS
    ]
    if len(settled) != len(known) or any(digests[index] for index in new):
        with writing_to(store):
            _save(cache, made_from, [(paths[i], rows[i], digests[i]) for i in settled])
    return Digests(tuple(digests), unreadable)


def _row(base: str, path: str) -> Row | None:
    try:
        found = os.stat(os.path.join(base, path))  # noqa: PTH116, PTH118 (a million times)
    except OSError:
        return None
    # ctime as well: a copy that keeps times (cp -p) can't set it back.
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & (2**63 - 1))


def _digest(base: str, path: str) -> tuple[str, str]:
    """Return (digest, "") or ("", reason)."""
    try:
        with open(os.path.join(base, path), "rb") as file:  # noqa: PTH118, PTH123 (the same)
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", (error.strerror or str(error)).lower()


def _load(cache: Path, made_from: Tree) -> dict[tuple[str, Row | None], str]:
    """Return (path, row) → digest; a missing or damaged cache is an empty one."""
    known = read_arrays(cache, made_from, DTYPES)
    if known is None:
        return {}
    paths = known["paths"].tobytes().decode().split("\0")
    joined = known["digests"].tobytes().hex()
    return {
        (path, tuple(row)): joined[64 * index : 64 * index + 64]
        for index, (path, row) in enumerate(zip(paths, known["rows"].tolist(), strict=True))
    }


def _save(cache: Path, made_from: Tree, entries: Sequence[tuple[str, Row | None, str]]) -> None:
    if not entries:
        cache.unlink(missing_ok=True)
        return
    arrays: dict[str, NDArray[Any]] = {
        "paths": np.frombuffer("\0".join(path for path, _, _ in entries).encode(), np.uint8),
        "rows": np.array([row for _, row, _ in entries], np.int64),
        "digests": np.frombuffer(bytes.fromhex("".join(item for _, _, item in entries)), np.uint8),
    }
    write_arrays(cache, made_from, arrays)
