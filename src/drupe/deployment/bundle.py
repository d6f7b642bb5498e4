"""Writing a bundle, and verifying one on the machine where it is to run.

Letters: G golden samples of H × W pixels and C channels.
"""

from __future__ import annotations

import io
import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.decode import BYTE
from drupe.data.image_contract import ImageContract, RawPixel
from drupe.data.synthetic.rendering import render_crops
from drupe.deployment.backends import runs_here
from drupe.deployment.manifest import (
    MANIFEST,
    TOLERANCE,
    Function,
    Manifest,
    file_digest,
    read_files,
    read_manifest,
    write_manifest,
)
from drupe.deployment.runtime import open_function, read_reference
from drupe.errors import InputError
from drupe.files import check_replaceable

GOLDEN_FILE = "golden.npz"
GOLDEN_COUNT = 16
SMALLEST_RENDERED = 32


def golden_images(contract: ImageContract) -> NDArray[RawPixel]:
    """Return synthetic crops [G, H, W, C], always the same: no customer's image.

    Mono ones show the brightest channel; deep ones are as bright, their lowest bits noise.
    """
    random = np.random.default_rng(0)
    is_defect = np.arange(GOLDEN_COUNT) % 2 == 1
    height, width, _ = contract.shape
    side = max(height, width, SMALLEST_RENDERED)
    crops = render_crops(is_defect, side, random)
    top, left = (side - height) // 2, (side - width) // 2
    crops = np.ascontiguousarray(crops[:, top : top + height, left : left + width])
    if not contract.is_mono:
        return contract.ordered(crops)
    grey: NDArray[np.uint8] = crops.max(axis=-1, keepdims=True)
    if contract.white_level == BYTE:
        return grey
    finer = grey + random.random(grey.shape)
    deep: NDArray[np.uint16] = (finer * (contract.white_level / (BYTE + 1))).astype(np.uint16)
    return deep


def golden_file(images: NDArray[RawPixel], scores: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Return an ``.npz`` of the images and of each function's scores, by its name."""
    buffer = io.BytesIO()
    named = {name.replace(" ", "_"): values for name, values in scores.items()}
    np.savez_compressed(buffer, images=images, **named)  # type: ignore[arg-type]
    return buffer.getvalue()


def write_bundle(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Write ``files`` and ``bundle.json`` as a new directory that appears whole or not at all.

    Raises:
        InputError: ``folder`` exists and isn't an empty directory.
    """
    require_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in files.items():
            with (scratch / name).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        write_manifest(scratch, manifest)
        scratch.chmod(0o755)
        if folder.is_dir():
            folder.rmdir()
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def require_new(folder: Path) -> None:
    """Raise an :class:`InputError` unless ``folder`` is absent or an empty directory.

    Where it can't be written, the :class:`OSError` comes before any work is done, too.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(
            f"{folder}: must be new or empty, got something that exists: name another, or delete it"
        )
    check_replaceable(folder / MANIFEST)


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {name: file_digest(content) for name, content in files.items()}


@dataclass(frozen=True)
class Verified:
    """One function's answer to the golden samples here; ``reason`` says why it was not run."""

    function: Function
    max_score_difference: float | None
    flips: int | None
    reason: str | None = None

    @property
    def passed(self) -> bool | None:
        """None where the function was not run; scores that are no numbers never pass."""
        if self.max_score_difference is None or self.flips is None:
            return None
        return self.flips == 0 and self.max_score_difference <= TOLERANCE[self.function.precision]

    def to_json(self) -> dict[str, Any]:
        """Return the function's name and what was found."""
        off = self.max_score_difference
        return {
            "backend": self.function.backend,
            "precision": self.function.precision,
            "max_score_difference": off if off is None or math.isfinite(off) else None,
            "flips": self.flips,
            "passed": self.passed,
            "reason": self.reason,
        }


def verify_bundle(folder: Path, threads: int | None = None) -> Sequence[Verified]:
    """Check every hash and replay the golden samples with every function that can run here.

    Raises:
        InputError: no bundle, changed or missing files, or files that :func:`drupe.load` refuses.
    """
    manifest = read_manifest(folder)
    contents = read_files(folder, manifest)
    contract = manifest.input.contract
    golden = _read_golden(contents[manifest.golden], folder / manifest.golden, contract)
    found = []
    for function in manifest.functions:
        expected = golden.get(function.name.replace(" ", "_"))
        if expected is None:
            found.append(Verified(function, None, None, "no golden scores"))
        elif not runs_here(function.backend, function.precision):
            reason = "not installed, or not computed by this processor"
            found.append(Verified(function, None, None, reason))
        else:
            read_reference(folder, manifest, contents, function)
            session = open_function(folder, manifest, contents, function, threads)
            found.append(_compared(function, session(golden["images"]), expected))
    return found


def _compared(
    function: Function, scores: NDArray[np.float32], expected: NDArray[np.float32]
) -> Verified:
    """Return how far ``scores`` lie off from those ``expected``, and the decisions that turn."""
    low, high = np.float32(function.low), np.float32(function.high)
    here, there = ((values >= low).astype(int) + (values >= high) for values in (scores, expected))
    difference = float(np.abs(scores - expected).max())
    return Verified(function, difference, int(np.count_nonzero(here != there)))


def _read_golden(content: bytes, path: Path, contract: ImageContract) -> dict[str, NDArray[Any]]:
    """Return ``images`` [G, H, W, C] and each function's scores float32 [G]."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        images = found["images"]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not golden samples ({error})") from None
    count = len(images) if images.ndim else 0
    shape = contract.shape
    if not count or images.dtype != contract.dtype or images.shape != (count, *shape):
        raise InputError(
            f"{path}: images: must be {contract.dtype} [G, {', '.join(map(str, shape))}], "
            f"got {images.dtype} {list(images.shape)}"
        )
    for name, scores in found.items():
        if name != "images" and (scores.dtype != np.float32 or scores.shape != (count,)):
            raise InputError(
                f"{path}: {name}: must be float32 [{count}], got {scores.dtype} "
                f"{list(scores.shape)}"
            )
    return found
