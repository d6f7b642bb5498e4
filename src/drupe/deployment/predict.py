"""Deciding many image files: every thread decodes and infers, batch by batch.

What can't be read, or doesn't look like the pictures behind the certificate, is decided ``review``:
a fault must never accept.
"""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.data.decode import UnreadableImageError
from drupe.data.image_contract import ImageContract, RawPixel
from drupe.data.table import is_table
from drupe.data.table_listing import table_images
from drupe.data.walk import PassedOver, walk_folder
from drupe.deployment.backends import Scores, default_threads
from drupe.deployment.drift import DriftMonitor
from drupe.deployment.runtime import Classifier
from drupe.deployment.watcher import Examined
from drupe.errors import InputError

BATCH = 16
AHEAD = 4
"""Batches begun per worker before they are needed; bounds memory however many files there are."""


NO_SCORES = np.empty(0, np.float32)


@dataclass(frozen=True)
class Decision:
    """One file: its score and decision; ``error`` says why a file has no score.

    ``is_unlike``: it could be read, but doesn't look like the pictures behind the certificate.
    ``p_value``: of an item of either class lying as far off as this one, None where it has none or
    from a bundle that knows no distances; ``is_unknown``: too small a one, so the score, which it
    has, decides nothing. ``type``: the type of defect that it looks most like, '' where it is
    accepted or has no score, None from a bundle that tells no types.
    """

    path: str
    decision: str
    score: float | None
    error: str | None = None
    is_unlike: bool = False
    type: str | None = None
    p_value: float | None = None
    is_unknown: bool = False


def find_images(
    paths: Iterable[str], listed: Iterable[str] = (), passed: PassedOver | None = None
) -> list[str]:
    """Return the image files that ``paths`` name: files, folders (searched below), tables, globs.

    ``-`` stands for the lines of ``listed``, files and folders, where a name that there is not is
    kept: what vanished since it was listed can't be read, and is reviewed. Sorted within a folder
    or glob, in the order given otherwise, each once. ``passed`` is given the files in folders that
    aren't taken as images.

    Raises:
        InputError: every path that names nothing, every folder that can't be listed.
    """
    found: dict[str, None] = {}
    problems: list[str] = []
    passed = PassedOver() if passed is None else passed
    for name in paths:
        members = (
            _listed(listed, problems, passed) if name == "-" else _named(name, problems, passed)
        )
        found |= dict.fromkeys(members)
    if problems:
        raise InputError(problems)
    return list(found)


def _listed(lines: Iterable[str], problems: list[str], passed: PassedOver) -> list[str]:
    """Return the files and the images of the folders that ``lines`` name, and unknown names."""
    found: list[str] = []
    for line in filter(None, (line.rstrip("\r\n") for line in lines)):
        members = _members(line, problems, passed)
        found += [line] if members is None else members
    return found


def _named(name: str, problems: list[str], passed: PassedOver) -> list[str]:
    """Return the images that a file, a folder or a glob names; none there is a problem."""
    before = len(problems)
    members = _members(name, problems, passed) if name else []
    if members is None:
        members = sorted(_matches(name))
    if not members and len(problems) == before:
        problems.append(f"{name or repr(name)}: must name images, got none there")
    return members


def _members(name: str, problems: list[str], passed: PassedOver) -> list[str] | None:
    """Return the file, or the images of the folder or table, that ``name`` is; else None.

    A folder that can't be listed is a problem.
    """
    try:
        if Path(name).is_dir():
            return sorted(_images_below(name, problems, passed))
        if is_table(Path(name)) and Path(name).exists():
            return _images_in(name, problems)
        return [name] if Path(name).exists() else None
    except (OSError, ValueError):  # longer than names may be, or with a NUL
        return None


def _matches(pattern: str) -> list[str]:
    try:
        return glob.glob(pattern, recursive=True)  # noqa: PTH207 (absolute ones too)
    except (OSError, ValueError):
        return []


def _images_in(table: str, problems: list[str]) -> list[str]:
    """Return the files that a table names; what isn't there can't be read, and is reviewed."""
    try:
        return table_images(Path(table))
    except InputError as error:
        problems += error.problems
        return []


def _images_below(folder: str, problems: list[str], passed: PassedOver) -> list[str]:
    """Return the images below ``folder`` that a dataset of it would have, too."""
    try:
        images, not_taken = walk_folder(folder)
    except InputError as error:
        problems += error.problems
        return []
    passed.merge(not_taken)
    return [str(Path(folder, image)) for image in images]


def predict(
    classifier: Classifier,
    paths: Iterable[str],
    *,
    workers: int | None = None,
    monitor: DriftMonitor | None = None,
) -> Iterator[Decision]:
    """Yield a decision per path, in order; memory does not grow with their number.

    Each of ``workers`` threads (None: a thread per core) decodes a batch and runs it, so that one
    decodes while another infers and none waits inside a batch: with ``load(..., threads=1,
    callers=workers)`` faster than one call on all cores. ``monitor`` is given all scores.
    """
    workers = workers or default_threads()
    remaining = iter(paths)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[tuple[list[Decision], Scores]]] = deque()
        try:
            while True:
                while len(waiting) < AHEAD * workers and (chunk := list(islice(remaining, BATCH))):
                    waiting.append(pool.submit(_decide, classifier, chunk))
                if not waiting:
                    return
                decisions, scores = waiting.popleft().result()
                if monitor:
                    monitor.add(scores)
                yield from decisions
        finally:  # whoever stops listening doesn't wait for what was submitted ahead
            pool.shutdown(wait=False, cancel_futures=True)


def _decide(classifier: Classifier, paths: list[str]) -> tuple[list[Decision], Scores]:
    """Return the decision of each path, and the scores of those that have one."""
    contract = classifier.manifest.input.contract
    read = [(path, _read(path, contract)) for path in paths]
    images = [content for _, content in read if not isinstance(content, str)]
    for path, content in read:
        if isinstance(content, str):
            classifier.watchers.refused([path], content, "review")
    no_type = "" if classifier.type_names else None
    if not images:
        unread = [Decision(path, "review", None, str(why), type=no_type) for path, why in read]
        return unread, NO_SCORES
    names = [path for path, content in read if not isinstance(content, str)]
    found = classifier.examine_ready(np.stack(images), names)
    examined = iter(_found(found))
    decisions = []
    for path, content in read:
        if isinstance(content, str):
            decisions.append(Decision(path, "review", None, content, type=no_type))
            continue
        decisions.append(replace(next(examined), path=path))
    return decisions, found.scores[~np.isnan(found.scores)]


def _found(found: Examined) -> Iterator[Decision]:
    """Yield what is found of each image, without its path."""
    nothing = [None] * len(found.scores)
    types = nothing if found.types is None else found.types.tolist()
    scores, decisions = found.scores.tolist(), found.decisions.tolist()
    columns = (scores, decisions, found.faults, types, found.told_p_values())
    for score, decision, fault, of_type, p_value in zip(*columns, strict=True):
        if score != score:  # NaN: it has none
            yield Decision("", decision, None, fault, True, of_type)
        else:
            unknown = fault is not None
            yield Decision("", decision, score, fault, False, of_type, p_value, unknown)


def _read(path: str, contract: ImageContract) -> NDArray[RawPixel] | str:
    """Return the image as the graph takes it, [H, W, C], or why there is none."""
    try:
        return contract.of_file(path)
    except UnreadableImageError as error:
        return error.reason
