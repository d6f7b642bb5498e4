"""What a dataset holds, by content: SHA-256 of every file, and one fingerprint for all.

Digests are kept in ``STORE/manifests/`` with size, times and inode of each file, so that a file
is read again only when one of these has changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError
from drupe.files import replacing
from drupe.progress import Progress, silent

CHUNK = 64
"""Files per task: enough to make the hand-over between threads cheap."""

RACY_NS = 2_000_000_000
"""A file changed less than this before it was hashed is hashed again next time.

A second change within one tick of the file system's clock (2 s on FAT) would leave no trace.
"""

Item = TypeVar("Item")
Result = TypeVar("Result")
Row = tuple[int, int, int, int]


@dataclass(frozen=True)
class Digests:
    """SHA-256 (hex) of each file's bytes, in the order asked for.

    unreadable: index → reason, for files that couldn't be read; their digest is empty.
    """

    digests: tuple[str, ...]
    unreadable: dict[int, str]


@contextmanager
def writing_to(store: Path) -> Iterator[None]:
    """Turn a failure to write below ``store`` into an :class:`InputError` that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{store}: the disk is full; free some space or choose another --store"
            ) from None
        reason = (error.strerror or str(error)).lower()
        where = f" ({error.filename})" if error.filename else ""
        raise InputError(
            f"{store}: the store must be a folder that can be written to, got {reason}{where}"
        ) from None


def in_order(
    task: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    chunk: int,
    workers: int | None,
) -> Iterator[Result]:
    """Yield ``task(items[i : i + chunk])`` for successive chunks, computed by threads.

    Only a few results are held at a time, however many ``items`` there are. None: a few more
    threads than cores, since some wait for the disk.
    """
    with ThreadPoolExecutor(workers) as pool:
        ahead = 3 * (workers or os.cpu_count() or 1) + 1
        waiting: deque[Future[Result]] = deque()
        try:
            for start in range(0, len(items), chunk):
                waiting.append(pool.submit(task, items[start : start + chunk]))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


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
    known = _load(cache)
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
            _save(cache, [(paths[i], rows[i], digests[i]) for i in settled])
    return Digests(tuple(digests), unreadable)


def fingerprint_items(
    paths: Sequence[str],
    classes: tuple[str, str],
    is_defect: Iterable[bool],
    in_val: Iterable[bool],
    digests: Sequence[str],
) -> str:
    """SHA-256 (hex) over (path, class, split, digest) of the items, sorted by path.

    It changes with a byte of an image, a label, a name or a split, and with nothing else: not
    with the place of the folder or the times of its files.
    """
    total = hashlib.sha256()
    for path, defect, val, digest in sorted(zip(paths, is_defect, in_val, digests, strict=True)):
        split = "val" if val else "train"
        total.update("\0".join((path, classes[int(defect)], split, digest, "")).encode())
    return total.hexdigest()


def _row(base: str, path: str) -> Row | None:
    try:
        found = os.stat(f"{base}/{path}")  # noqa: PTH116 (a million times)
    except OSError:
        return None
    # ctime as well: a copy that keeps times (cp -p) can't set it back.
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino & (2**63 - 1))


def _digest(base: str, path: str) -> tuple[str, str]:
    """Return (digest, "") or ("", reason)."""
    try:
        with open(f"{base}/{path}", "rb") as file:  # noqa: PTH123 (a million times)
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except OSError as error:
        return "", (error.strerror or str(error)).lower()


def _load(cache: Path) -> dict[tuple[str, Row | None], str]:
    """Return (path, row) → digest; a missing or damaged cache is an empty one."""
    try:
        with np.load(cache, allow_pickle=False) as file:
            paths = file["paths"].tobytes().decode().split("\0")
            rows: NDArray[np.int64] = file["rows"]
            joined = file["digests"].tobytes().hex()
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}
    if not len(rows) == len(paths) == len(joined) // 64:
        return {}
    return {
        (path, tuple(row)): joined[64 * index : 64 * index + 64]
        for index, (path, row) in enumerate(zip(paths, rows.tolist(), strict=True))
    }


def _save(cache: Path, entries: Sequence[tuple[str, Row | None, str]]) -> None:
    if not entries:
        cache.unlink(missing_ok=True)
        return
    with replacing(cache) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            paths=np.frombuffer("\0".join(path for path, _, _ in entries).encode(), np.uint8),
            rows=np.array([row for _, row, _ in entries], np.int64),
            digests=np.frombuffer(bytes.fromhex("".join(item for _, _, item in entries)), np.uint8),
        )
