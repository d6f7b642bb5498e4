"""Writing a bundle, and verifying one on the machine where it is to run.

Letters: G golden samples of H × W pixels and C channels.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.arrays import read_arrays
from drupe.data.decode import BYTE
from drupe.data.image_contract import ImageContract, RawPixel
from drupe.data.synthetic.rendering import render_crops
from drupe.deployment.backends import obstacle, require_scores
from drupe.deployment.frames import read_frames
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
from drupe.deployment.runtime import open_function, read_known, read_reference
from drupe.deployment.unknown import Distances, UnknownCheck, distance_name
from drupe.errors import InputError
from drupe.files import check_replaceable
from drupe.leftovers import temporary_folder

GOLDEN_FILE = "golden.npz"
GOLDEN_COUNT = 16
TYPES_SUFFIX, DISTANCE_SUFFIX = "_types", "_distance"

DISTANCE_TOLERANCE = {"fp32": 0.01, "tf32": 0.07, "fp16": 0.07, "bf16": 0.5, "int8": 0.2}
"""The largest difference of a golden distance on another processor, as a share of it or of the
limit."""

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


def golden_types(function: str) -> str:
    """Return the name under which golden scores of types stand, of a function."""
    return f"{function.replace(' ', '_')}{TYPES_SUFFIX}"


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
    try:
        with temporary_folder(folder) as scratch:
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
    except OSError as error:  # a full disk names no file, and what else is named is gone at once
        error.filename, error.filename2 = str(folder), None
        raise


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
    """One function's answer to the golden samples here; ``reason`` says why it was not run.

    ``max_type_difference``: of the scores of types; ``max_distance_difference``: of distances, as a
    share of them or of the limit; None where the bundle tells none. ``flips`` count what is called
    unknown otherwise, too.
    """

    function: Function
    max_score_difference: float | None
    flips: int | None
    reason: str | None = None
    max_type_difference: float | None = None
    max_distance_difference: float | None = None

    @property
    def passed(self) -> bool | None:
        """None where the function was not run; scores that are no numbers never pass.

        Types decide nothing: only in fp32, where they are exact, must they be the same.
        """
        if self.max_score_difference is None or self.flips is None:
            return None
        tolerance = TOLERANCE[self.function.precision]
        off = self.max_type_difference
        same_types = off is None or self.function.precision != "fp32" or off <= tolerance
        far = self.max_distance_difference
        same_distances = far is None or far <= DISTANCE_TOLERANCE[self.function.precision]
        same = self.flips == 0 and self.max_score_difference <= tolerance
        return same and same_types and same_distances

    def to_json(self) -> dict[str, Any]:
        """Return the function's name and what was found."""
        types_off = _finite(self.max_type_difference)
        return {
            "backend": self.function.backend,
            "precision": self.function.precision,
            "max_score_difference": _finite(self.max_score_difference),
            "flips": self.flips,
            "passed": self.passed,
            "reason": self.reason,
            **({} if types_off is None else {"max_type_difference": types_off}),
            **(
                {}
                if self.max_distance_difference is None
                else {"max_distance_difference": _finite(self.max_distance_difference)}
            ),
        }


def _finite(difference: float | None) -> float | None:
    """Return what JSON can hold."""
    return difference if difference is None or math.isfinite(difference) else None


def verify_bundle(folder: Path, threads: int | None = None) -> Sequence[Verified]:
    """Check every hash and replay the golden samples with every function that can run here.

    Raises:
        InputError: no bundle, changed or missing files, or files that :func:`drupe.load` refuses.
    """
    manifest = read_manifest(folder)
    contents = read_files(folder, manifest)
    if manifest.frames is not None:
        read_frames(contents[manifest.frames], str(folder / manifest.frames))
    contract = manifest.input.contract
    golden = _read_golden(contents[manifest.golden], folder / manifest.golden, contract)
    found = []
    for function in manifest.functions:
        expected = golden.get(function.name.replace(" ", "_"))
        if expected is None:
            found.append(Verified(function, None, None, "no golden scores"))
        elif reason := obstacle(function.backend, function.precision):
            found.append(Verified(function, None, None, reason))
        else:
            read_reference(folder, manifest, contents, function)
            session = open_function(folder, manifest, contents, function, threads)
            scores, *others = session.outputs(golden["images"])
            types = golden.get(golden_types(function.name)) if manifest.types else None
            off = None if types is None else float(np.abs(others[0] - types).max())
            here = replace(_compared(function, scores, expected), max_type_difference=off)
            known = read_known(folder, manifest, contents, function)
            away = golden.get(distance_name(function.name))
            if known is not None and away is not None:
                here = _with_distances(here, known, others[-1], away)
            found.append(here)
    return found


def _compared(
    function: Function, scores: NDArray[np.float32], expected: NDArray[np.float32]
) -> Verified:
    """Return how far ``scores`` lie off from those ``expected``, and the decisions that turn."""
    low, high = np.float32(function.low), np.float32(function.high)
    here, there = ((values >= low).astype(int) + (values >= high) for values in (scores, expected))
    try:
        require_scores(scores)
        difference = float(np.abs(scores - expected).max())
    except InputError:
        difference = math.inf
    return Verified(function, difference, int(np.count_nonzero(here != there)))


def _with_distances(
    found: Verified, known: UnknownCheck, distances: Distances, expected: Distances
) -> Verified:
    """Add how far ``distances`` lie off from those ``expected``, and what is called otherwise."""
    scale = np.maximum(expected, np.float32(known.limit))
    off = float((np.abs(distances - expected) / scale).max())
    turned = int(np.count_nonzero(known.are_unknown(distances) != known.are_unknown(expected)))
    flips = None if found.flips is None else found.flips + turned
    difference = off if math.isfinite(off) else math.inf
    return replace(found, flips=flips, max_distance_difference=difference)


def _read_golden(content: bytes, path: Path, contract: ImageContract) -> dict[str, NDArray[Any]]:
    """Return ``images`` [G, H, W, C] and each function's scores float32 [G]."""
    try:
        found = read_arrays(content)
    except ValueError as error:
        raise InputError(f"{path}: not golden samples ({error})") from None
    if "images" not in found:
        raise InputError(f"{path}: not golden samples (lacks images)")
    images = found["images"]
    count = len(images) if images.ndim else 0
    shape = contract.shape
    if not count or images.dtype != contract.dtype or images.shape != (count, *shape):
        raise InputError(
            f"{path}: images: must be {contract.dtype} [G, {', '.join(map(str, shape))}], "
            f"got {images.dtype} {list(images.shape)}"
        )
    for name, scores in found.items():
        columns = scores.shape[1:] if name.endswith(TYPES_SUFFIX) else ()
        is_score = not name.endswith(DISTANCE_SUFFIX)
        if name != "images" and (scores.dtype != np.float32 or scores.shape != (count, *columns)):
            raise InputError(
                f"{path}: {name}: must be float32 [{count}], got {scores.dtype} "
                f"{list(scores.shape)}"
            )
        if name != "images" and is_score:
            _require_probabilities(path, name, scores)
    return found


def _require_probabilities(path: Path, name: str, scores: NDArray[np.float32]) -> None:
    try:
        require_scores(scores)
    except InputError as error:
        raise InputError(f"{path}: {name}: {error}") from None
