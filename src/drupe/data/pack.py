"""Decode once: all images of a dataset as one array in a file, read by memory map.

``STORE/packed/KEY/`` holds ``images.npy``, uint8 or uint16 [N, H, W, C] as the
:class:`drupe.data.image_contract.ImageContract` has it, and ``pack.json``, which is written last.
KEY is a hash of the files' digests in order and of what shapes the pixels.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from drupe.configuration import validate
from drupe.data.decode import UnreadableImageError, read_file
from drupe.data.image_contract import ImageContract, OtherSizeError, RawPixel, Sizes
from drupe.data.store_errors import writing_to
from drupe.derived import DIGEST, is_sealed, sealed
from drupe.errors import InputError, shortened
from drupe.files import read_json, write_json
from drupe.notices import notice
from drupe.parallel import in_order
from drupe.progress import Progress, silent
from drupe.sides import Size, height_and_width

PACK_VERSION = 3
"""Raised when the same files would give other pixels or another layout."""

IMAGES = "images.npy"

Unreadable = Literal["error", "skip"]

CHUNK_BYTES = 4 << 20
SPARE_BYTES = 16 << 20
"""Disk space to leave beside the images."""

SHOWN = 20
"""Files named in a message before it only counts."""

CHECKED_BYTES = 1 << 20
CHECKED_BLOCKS = 256
"""Blocks of :data:`CHECKED_BYTES` bytes in the checksum, evenly spaced: 0.2 s however many images.

Up to 256 MB that is every byte; beyond, what a power cut or a failing disk does rarely escapes.
"""

ENOUGH = 10_000
"""Wrong images after which packing stops looking for more."""


@dataclass(frozen=True)
class Pack:
    """A packed dataset: its folder, images [N, H, W, C] (a read-only map), and what it lacks.

    skipped: index into the packed paths → reason, for files that gave no image.
    """

    folder: Path
    images: np.memmap[Any, np.dtype[RawPixel]]
    skipped: dict[int, str]


@dataclass
class _Report:
    """Faults that packing has found."""

    unreadable: dict[int, str] = field(default_factory=dict)
    other_sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    looked_at: int = 0


class _Skipped(BaseModel):
    index: int = Field(ge=0, strict=True)
    path: str
    reason: str


class _Document(BaseModel):
    """Keys of ``pack.json``; ``checksum`` is :func:`_checksum` of the images."""

    version: int
    images: int = Field(gt=0, strict=True)
    size: Size
    sizes: Sizes
    checksum: int = Field(strict=True)
    skipped: tuple[_Skipped, ...]


def pack_key(digests: Sequence[str], contract: ImageContract) -> str:
    """Name of the pack of these files: hex, 32 digits."""
    head = f"{PACK_VERSION} {contract.size} {contract.sizes} "
    if contract.is_mono:
        head += f"mono {contract.white_level} "
    return hashlib.sha256((head + " ".join(digests)).encode()).hexdigest()[:32]


def open_pack(
    root: Path,
    paths: Sequence[str],
    digests: Sequence[str],
    *,
    store: Path,
    contract: ImageContract,
    unreadable: Unreadable = "error",
    workers: int | None = None,
    progress: Progress = silent,
) -> Pack:
    """Open the pack of the files ``root / path``, and make it first where there is none.

    ``contract``: how they become pixels; its channels are ``rgb`` or ``mono``.

    Raises
    ------
    InputError
        All unreadable files (``unreadable="error"``) and other image sizes
        (``sizes="refuse"``) in one message; a store that is full or can't be written to.
    """
    folder = store / "packed" / pack_key(digests, contract)
    pack = _read(folder, contract, len(paths))
    if pack is None:
        if folder.exists():
            notice(f"{folder}: damaged: its images are packed anew")
        with writing_to(store):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder, progress):
                pack = _read(folder, contract, len(paths))  # made meanwhile?
                if pack is None:
                    _check_space(store, len(paths) * _bytes(contract))
                    packing = _Packing(root, paths, digests, contract, unreadable, workers)
                    packing.make(folder, progress)
                    pack = _read(folder, contract, len(paths))
    if pack is None:
        raise InputError(f"{folder}: damaged, delete it and try again")
    if pack.skipped and unreadable == "error":
        raise InputError(_problems(root, paths, _Report(pack.skipped), contract.size, unreadable))
    return pack


def _bytes(contract: ImageContract) -> int:
    return int(np.prod(contract.shape)) * contract.dtype.itemsize


def _read(folder: Path, contract: ImageContract, paths: int) -> Pack | None:
    """Open the complete pack of ``paths`` files; None where there is none or it is damaged."""
    source = folder / "pack.json"
    try:
        found = read_json(source)
        document = validate(_Document, found, str(source))
    except InputError:  # missing as well
        return None
    if DIGEST in found and not is_sealed(found):  # earlier versions gave none
        return None
    skipped = {item.index: item.reason for item in document.skipped}
    file = folder / IMAGES
    whole = document.images + len(skipped) == paths > max(skipped, default=0)
    if not whole or not file.exists() or _checksum(file) != document.checksum:
        return None
    try:
        images = np.lib.format.open_memmap(file, mode="r")
    except ValueError:  # cut off
        return None
    if images.dtype != contract.dtype or images.shape != (document.images, *contract.shape):
        return None
    return Pack(folder, images, skipped)


def _checksum(images: Path) -> int:
    """CRC-32 of blocks of the file."""
    size = images.stat().st_size
    count = min(CHECKED_BLOCKS, -(-size // CHECKED_BYTES))
    crc = 0
    with images.open("rb") as stream:
        for start in np.linspace(0, max(0, size - CHECKED_BYTES), count).astype(int).tolist():
            stream.seek(start)
            crc = zlib.crc32(stream.read(CHECKED_BYTES), crc)
    return crc


@contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    """Let one process at a time make ``folder``."""
    # Imported here: it needs filelock, which comes with the extra ``train``, and only that packs.
    from drupe.locks import HeldError, acquire, release

    path = folder.with_suffix(".lock")
    try:
        lock = acquire(path, 0)
    except HeldError as held:
        with progress(f"wait for another process that packs the same images{held}", 1, "pack"):
            lock = acquire(path)
    try:
        _remove_leftovers(folder)
        yield
    finally:
        release(lock)


def _temporary_prefix(folder: Path) -> str:
    return f".{folder.name}."


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left; only the holder of the lock may."""
    for leftover in folder.parent.glob(f"{_temporary_prefix(folder)}*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _check_space(store: Path, image_bytes: int) -> None:
    needed = image_bytes + SPARE_BYTES
    free = shutil.disk_usage(store).free
    if free < needed:
        raise InputError(
            f"{store}: needs {needed / 1e6:,.0f} MB free for the packed images, "
            f"got {free / 1e6:,.0f} MB"
        )


@dataclass(frozen=True)
class _Packing:
    """The making of one pack."""

    root: Path
    paths: Sequence[str]
    digests: Sequence[str]
    contract: ImageContract
    unreadable: Unreadable
    workers: int | None

    def make(self, folder: Path, progress: Progress) -> None:
        """Write the pack beside ``folder``, then move it there whole."""
        temporary = folder.parent / f"{_temporary_prefix(folder)}{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            report = self._write_images(temporary / IMAGES, progress)
            self._refuse(report)
            document = _Document(
                version=PACK_VERSION,
                images=len(self.paths) - len(report.unreadable),
                size=self.contract.size,
                sizes=self.contract.sizes,
                checksum=_checksum(temporary / IMAGES),
                skipped=tuple(
                    _Skipped(index=index, path=self.paths[index], reason=reason)
                    for index, reason in sorted(report.unreadable.items())
                ),
            )
            write_json(temporary / "pack.json", sealed(document.model_dump(mode="json")))
            try:
                temporary.rename(folder)
            except OSError:
                if (
                    _read(folder, self.contract, len(self.paths)) is None
                ):  # nobody was faster: what is there is damaged
                    shutil.rmtree(folder, ignore_errors=True)
                    temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _refuse(self, report: _Report) -> None:
        fatal = report.other_sizes or (report.unreadable and self.unreadable == "error")
        if fatal or len(report.unreadable) == len(self.paths):
            size = self.contract.size
            problems = _problems(self.root, self.paths, report, size, self.unreadable)
            raise InputError(problems)

    def _write_images(self, target: Path, progress: Progress) -> _Report:
        """Write the images in order; files that give none leave no gap."""
        report = _Report()
        chunk = max(1, min(64, CHUNK_BYTES // _bytes(self.contract)))
        what = progress("decode", len(self.paths), "images")
        with what as tracker, target.open("wb") as stream:
            self._write_header(stream, len(self.paths))
            for images, part in in_order(self._decode, range(len(self.paths)), chunk, self.workers):
                # Plain writes: on a full disk a memory map would kill the process instead.
                for image in images:
                    stream.write(np.ascontiguousarray(image).data)
                report.unreadable |= part.unreadable
                report.other_sizes |= part.other_sizes
                report.looked_at += part.looked_at
                tracker.advance(part.looked_at)
                wrong = (
                    report.other_sizes
                    if self.unreadable == "skip"
                    else (report.unreadable | report.other_sizes)
                )
                if len(wrong) >= ENOUGH:
                    break
            stream.seek(0)
            self._write_header(stream, len(self.paths) - len(report.unreadable))
            stream.flush()
            os.fsync(stream.fileno())
        return report

    def _write_header(self, stream: BinaryIO, images: int) -> None:
        """Write the header of the .npy file, whose length is the same for any number of images."""
        shape = (images, *self.contract.shape)
        descr = np.lib.format.dtype_to_descr(self.contract.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)

    def _decode(self, indices: Sequence[int]) -> tuple[list[NDArray[RawPixel]], _Report]:
        images = []
        report = _Report(looked_at=len(indices))
        for index in indices:
            try:
                images.append(self._pixels(index))
            except OtherSizeError as error:
                report.other_sizes[index] = error.size
            except UnreadableImageError as error:
                report.unreadable[index] = error.reason
        return images, report

    def _pixels(self, index: int) -> NDArray[RawPixel]:
        data = read_file(self.root / self.paths[index])
        # The pack is found by these digests: pixels of other bytes must never get under them.
        if hashlib.sha256(data).hexdigest() != self.digests[index]:
            raise UnreadableImageError("changed while it was being read")
        return self.contract.of_bytes(data)


def _problems(
    root: Path, paths: Sequence[str], report: _Report, size: Size, unreadable: Unreadable
) -> list[str]:
    """Say what is wrong with the images, a line for each of the first files."""
    problems = []
    rows, columns = height_and_width(size)
    stopped = bool(report.looked_at) and report.looked_at < len(paths)
    of = f"the first {report.looked_at:,}" if stopped else f"{len(paths):,}"
    if report.unreadable:
        remedy = "" if unreadable == "skip" else " (data.unreadable=skip goes on without them)"
        problems.append(f"{root}: {len(report.unreadable):,} of {of} images can't be read{remedy}:")
        listed = sorted(report.unreadable.items())
        problems += shortened([f"  {paths[index]}: {reason}" for index, reason in listed], SHOWN)
    if report.other_sizes:
        problems.append(
            f"{root}: images must be {columns}x{rows} pixels, "
            f"got {len(report.other_sizes):,} of {of} in other sizes "
            "(data.sizes=resize or pad takes them, input.size sets the size):"
        )
        examples = {
            shape: paths[i] for i, shape in sorted(report.other_sizes.items(), reverse=True)
        }
        counts = Counter(report.other_sizes.values()).most_common()
        lines = [
            f"  {width}x{height}: {count:,}, such as {examples[width, height]}"
            for (width, height), count in counts
        ]
        problems += shortened(lines, SHOWN, "more sizes")
    return problems
