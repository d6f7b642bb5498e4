"""Synthetic data sets: procedural cherries with known faults, so that tests know the answer.

Which file plays which part is planned before a pixel is drawn (``truth.py``); crops are then
rendered in fixed batches, each from its own seed, so that the bytes depend on the arguments alone
and never on the number of workers. ``truth.json`` is written last: a folder without it but with
the marker file is an interrupted run, which the same call takes up again.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drupe.data.synthetic.marks import MARKS, out_of_focus
from drupe.data.synthetic.rendering import render_blanks, render_crops
from drupe.data.synthetic.truth import (
    ALTER_STREAM,
    MARK_STREAM,
    PAIR_FAULTS,
    RENDER_STREAM,
    TYPES,
    NoiseKind,
    Plan,
    SlicePlan,
    Truth,
    plan_files,
)
from drupe.errors import InputError
from drupe.files import naming, write_json
from drupe.host import available_cores
from drupe.progress import Progress, silent

TRUTH_FILE = "truth.json"

_MARKER = ".synthesis.json"
_BATCH = 64


def synthesise(
    folder: Path,
    *,
    images: int = 2000,
    size: int = 128,
    seed: int = 0,
    label_noise: float = 0.0,
    label_noise_kind: NoiseKind = "random",
    leaks: int = 0,
    duplicates: int = 0,
    near_duplicates: int = 0,
    contradictions: int = 0,
    blanks: int = 0,
    corrupt: int = 0,
    val_share: float = 0.25,
    types: int = 1,
    groups: int = 0,
    bad_group: int = 0,
    progress: Progress = silent,
    workers: int | None = None,
) -> Truth:
    """Write a synthetic set to ``folder/{train,val}/{cherry_clean,cherry_pit}/NNNNN.png``.

    With several types of defects the class folders are ``clean``, ``pit``, ``stem``, ``split``;
    with groups each holds folders ``camera-1``, ``camera-2``, …

    Args:
        folder: absent or empty, or with the same set, finished (then it stays) or interrupted.
        images: files in all, exactly, faulty ones and copies included; 46 % in the pit folders.
        size: side of the crops in pixels.
        seed: the same arguments give the same bytes, another seed gives other fruits.
        label_noise: share of all files that lie in the folder of the wrong class.
        label_noise_kind: lookalike: those that look like that class; random: any.
        leaks: and the other faults: how many pairs or files; :class:`Truth` describes each.
        val_share: share of all files that lie in ``val``.
        types: types of defects, 1 to 3.
        groups: cameras, each with its share of every class; 0: none.
        bad_group: the number, from 1, of a camera that is out of focus; 0: none is.
        progress: told of every file written.
        workers: threads, by default one per processor up to four; they don't change the bytes.

    Returns:
        What was written, the same as ``folder/truth.json``.

    Raises:
        InputError: values out of range, too few images for the faults, a folder that holds
            something else or can't be written to.
    """
    faults = dict(
        leaks=leaks,
        duplicates=duplicates,
        near_duplicates=near_duplicates,
        contradictions=contradictions,
        blanks=blanks,
        corrupt=corrupt,
    )
    slices = SlicePlan(types, groups, bad_group)
    _check(images, size, seed, label_noise, val_share, faults, slices)
    if label_noise_kind == "lookalike" and types > 1:
        raise InputError("label_noise_kind: lookalike needs the one type of defect, got types > 1")
    plan = plan_files(images, size, seed, label_noise, val_share, faults, slices, label_noise_kind)
    try:
        if not _is_complete(folder, plan):
            _write(folder, plan, progress, workers or min(4, available_cores()))
    except OSError as error:
        raise InputError(
            f"{folder}: can't write the synthetic set there: {error.strerror or error}"
        ) from error
    return plan.truth


def _check(
    images: int,
    size: int,
    seed: int,
    label_noise: float,
    val_share: float,
    faults: Mapping[str, int],
    slices: SlicePlan,
) -> None:
    ranges: list[tuple[str, float, float, float]] = [
        ("images", images, 8, 10_000_000),
        ("size", size, 32, 1024),
        ("seed", seed, 0, 2**63 - 1),
        ("label_noise", label_noise, 0, 0.5),
        ("val_share", val_share, 0.05, 0.95),
        ("types", slices.types, 1, len(TYPES)),
        ("groups", slices.groups, 0, 1000),
        ("bad_group", slices.bad_group, 0, slices.groups),
        *((name, count, 0, 10_000_000) for name, count in faults.items()),
    ]
    problems = [
        f"{name}: must be in [{low}, {high}], got {value}"
        for name, value, low, high in ranges
        if not low <= value <= high
    ]
    if not problems:
        needed = sum(count * (2 if name in PAIR_FAULTS else 1) for name, count in faults.items())
        needed += round(label_noise * images)
        if needed > images:
            problems = [f"images: must be at least {needed} for these faults, got {images}"]
    if problems:
        raise InputError(problems)


# --- Writing -------------------------------------------------------------------------------------


def _is_complete(folder: Path, plan: Plan) -> bool:
    """Return whether the same set is there in full; anything foreign in the folder is refused."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: must be a folder, got a file")
    if not folder.exists() or not any(folder.iterdir()):
        return False
    for name in (TRUTH_FILE, _MARKER):
        if (folder / name).exists():
            if Truth.read(folder / name) != plan.truth:
                raise InputError(
                    f"{folder}: must be empty or hold the same synthetic set, got one made with "
                    f"other arguments or by another version: delete it or name another folder"
                )
            return name == TRUTH_FILE and all((folder / path).exists() for path in plan.paths)
    raise InputError(f"{folder}: must be absent or empty, got a folder with other files in it")


def _write(folder: Path, plan: Plan, progress: Progress, workers: int) -> None:
    write_json(folder / _MARKER, plan.truth.to_json())  # first: by it another try knows its own
    for below in sorted({Path(path).parent for path in plan.paths}):
        (folder / below).mkdir(parents=True, exist_ok=True)
    (folder / TRUTH_FILE).unlink(missing_ok=True)
    kinds = dict(plan.truth.corrupt) | dict.fromkeys(plan.truth.blanks, "blank")
    copied = {copy for _, copy in plan.exact_copies()}
    copied |= {copy for _, copy, _ in plan.truth.near_duplicates}
    alike = plan.is_lookalike

    def write_batch(start: int) -> int:
        stop = min(start + _BATCH, len(plan.paths))
        rng = np.random.default_rng([plan.truth.seed, RENDER_STREAM, start])
        some = slice(start, stop)
        crops = render_crops(plan.shows_pit[some], plan.truth.size, rng, alike[some])
        written = 0
        for number, rendered in enumerate(crops, start):
            path, crop = plan.paths[number], _marked(plan, number, rendered)
            if path not in copied:
                with naming(folder / path):
                    (folder / path).write_bytes(_contents(path, crop, kinds.get(path, ""), rng))
                written += 1
        return written

    with (
        progress("synthesise", len(plan.paths), "images") as tracker,
        ThreadPoolExecutor(workers) as pool,
    ):
        for written in pool.map(write_batch, range(0, len(plan.paths), _BATCH)):
            tracker.advance(written)
        for original, copy in plan.exact_copies():
            with naming(folder / copy):
                (folder / copy).write_bytes((folder / original).read_bytes())
            tracker.advance()
        for order, (original, copy, turn) in enumerate(plan.truth.near_duplicates):
            with Image.open(folder / original) as image:
                crop = np.asarray(image)
            rng = np.random.default_rng([plan.truth.seed, ALTER_STREAM, order])
            with naming(folder / copy):
                (folder / copy).write_bytes(_png(_altered(crop, turn, rng)))
            tracker.advance()
    (folder / _MARKER).replace(folder / TRUTH_FILE)


def _marked(plan: Plan, number: int, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a rendered crop as its file shows it: with its type's mark, by its camera."""
    mark = MARKS.get(plan.shown_type(number))
    if mark is not None:
        crop = mark(crop, np.random.default_rng([plan.truth.seed, MARK_STREAM, number]))
    return out_of_focus(crop) if plan.is_out_of_focus(number) else crop


def _contents(path: str, crop: NDArray[np.uint8], kind: str, rng: np.random.Generator) -> bytes:
    match kind:
        case "blank":
            return _png(render_blanks(1, len(crop), rng)[0])
        case "truncated":
            whole = _png(crop)
            return whole[: int(len(whole) * rng.uniform(0.3, 0.8))]
        case "text":
            return f"{path}: this is not an image\n".encode()
        case "empty":
            return b""
    return _png(crop)


def _png(crop: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    # Run lengths suit black borders: a quarter faster than level 1 alone, and smaller.
    Image.fromarray(crop).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _altered(crop: NDArray[np.uint8], turn: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn, shift by 1 or 2 pixels, brighten or dim and add noise, the background staying black."""
    turned = np.flip(crop, axis=1) if "flip" in turn else crop
    quarters = next((count for count in (1, 2, 3) if turn.endswith(f"rot{90 * count}")), 0)
    turned = np.rot90(turned, quarters)
    down, right = rng.integers(1, 3, 2) * rng.choice((-1, 1), 2)
    shifted = np.roll(turned, (down, right), axis=(0, 1))
    shifted[_wrapped_around(down)] = 0
    shifted[:, _wrapped_around(right)] = 0
    light = shifted * rng.uniform(0.96, 1.04) + rng.normal(0, 1.5, shifted.shape)
    grey: NDArray[np.uint8] = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return np.where(shifted > 0, grey, np.uint8(0))


def _wrapped_around(shift: int) -> slice:
    return slice(0, shift) if shift > 0 else slice(shift, None)
