"""Files on their way between machines: a tar stream, cut into chunks that an object store holds."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.locks import locked

CHUNK_BYTES = 32 << 20
"""Size of a chunk: all that sender and receiver hold in memory, however much there is to send."""

Put = Callable[[bytes], Any]
"""Keeps a chunk and returns a reference to it."""
Get = Callable[[Any], bytes]
"""Returns the chunk of a reference."""


@dataclass(frozen=True)
class Parcel:
    """``count`` files that belong in the folder ``place`` (POSIX) below a cache."""

    place: str
    count: int
    chunks: tuple[Any, ...]


def pack(files: Iterable[tuple[str, Path]], put: Put, place: str = "") -> Parcel:
    """Send ``files`` (name in the parcel, file here); one that can't be opened is left out."""
    outbox = _Outbox(put)
    count = 0
    with tarfile.open(fileobj=outbox, mode="w|", dereference=True) as archive:
        for name, path in files:
            try:
                stream = path.open("rb")
            except OSError:
                continue
            with stream:
                archive.addfile(archive.gettarinfo(arcname=name, fileobj=stream), stream)
            count += 1
    outbox.close()
    return Parcel(place, count, tuple(outbox.chunks))


def unpack(parcel: Parcel, folder: Path, get: Get) -> None:
    """Write the files of ``parcel`` below ``folder``; a name that leads out of it is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    inbox = _Inbox(parcel.chunks, get)
    with tarfile.open(fileobj=inbox, mode="r|") as archive:
        archive.extractall(folder, filter="data")


def receive(parcel: Parcel, cache: Path, get: Get) -> Path:
    """Return the parcel's folder below ``cache``; the first process that asks unpacks it."""
    folder = cache / parcel.place
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        # Cleaners of temporary folders remove single files.
        if sum(1 for _ in files_below(folder)) < parcel.count:
            partial = folder.with_name(f".{folder.name}.partial")
            for leftover in (partial, folder):
                shutil.rmtree(leftover, ignore_errors=True)
            unpack(parcel, partial, get)
            partial.replace(folder)
    return folder


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (POSIX name, path) of the files below ``folder``, hidden ones (locks) left out."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(folder).as_posix(), path


def content_key(parts: Iterable[str]) -> str:
    """Return a short name for content that ``parts`` tell apart: hex, 32 digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


class _Outbox(io.RawIOBase):
    def __init__(self, put: Put) -> None:
        self.put, self.chunks, self.buffer = put, list[Any](), bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.buffer += data
        while len(self.buffer) >= CHUNK_BYTES:
            self.chunks.append(self.put(bytes(self.buffer[:CHUNK_BYTES])))
            del self.buffer[:CHUNK_BYTES]
        return len(data)

    def close(self) -> None:
        if self.buffer:
            self.chunks.append(self.put(bytes(self.buffer)))
            self.buffer.clear()
        super().close()


class _Inbox(io.RawIOBase):
    def __init__(self, chunks: Sequence[Any], get: Get) -> None:
        self.left, self.get, self.current = iter(chunks), get, io.BytesIO()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            count = self.current.readinto(buffer)
            if count:
                return count
            chunk = next(self.left, None)
            if chunk is None:
                return 0
            self.current = io.BytesIO(self.get(chunk))
