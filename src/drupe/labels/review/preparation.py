"""From a dataset, or a ranking of its labels, to the queue of a review."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic import BaseModel

from drupe.configuration import read_yaml, validate
from drupe.data.discover import Listing
from drupe.data.file_digests import file_digests
from drupe.data.fixes import Fixes, outside
from drupe.data.listing import list_dataset
from drupe.data.naming import Naming
from drupe.data.overlay import Overlay, active_fixes, match_fixes
from drupe.errors import InputError, shortened
from drupe.labels.capture.collection import (
    CAPTURE_FILE,
    CROPS,
    RANKING_FILE,
    Collection,
    read_collection,
)
from drupe.labels.ranking import RankedLabel, is_ranking, read_ranking
from drupe.labels.review.queue import (
    QUEUE_FILE,
    LaneSize,
    Nominee,
    ReviewQueue,
    ReviewRequest,
    draw_queue,
    read_queue,
)
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder

NEIGHBOURS_PER_CLASS = 2
SHOWN = 10


class ReviewedData(NamedTuple):
    """A dataset, its ranking, and how class names are read, as far as known.

    ``kept``: what is known of them where they are the line's pictures.
    """

    root: Path
    ranking: Path | None = None
    naming: Naming = Naming()
    kept: Collection | None = None


def reviewed_data(source: Path, data: Path | None) -> ReviewedData:
    """Return what is to be reviewed.

    ``source`` is a dataset folder, a table, a ranking, or a collection of the line's pictures;
    ``data`` says where the ranked pictures lie, which a ranking in its run's folder knows itself.

    Raises:
        InputError: neither is there, or it can't be told where the pictures lie.
    """
    if (source / CAPTURE_FILE).exists():
        if data is not None:
            raise InputError(f"--data: goes with a ranking; {source} has its pictures in itself")
        kept = read_collection(source)
        naming = Naming(kept.source.classes[1])
        return ReviewedData(source / CROPS, source / RANKING_FILE, naming, kept)
    if not source.exists():
        run = source.parent
        hint = f"; drupe labels rank --run {run} makes it" if RunFolder(run).config.exists() else ""
        raise InputError(
            f"{source}: must be a dataset folder, a table or a ranking, got nothing there{hint}"
        )
    if source.is_dir() or not is_ranking(source):
        if data is not None:
            raise InputError(f"--data: goes with a ranking; {source} is a dataset already")
        return ReviewedData(source)
    naming = Naming()
    config = RunFolder(source.parent).config
    if config.exists():
        known = validate(_DataKeys, read_yaml(config).get("data") or {}, str(config))
        data, naming = data or known.root, known.naming
    if data is None:
        raise InputError(f"{source}: lies in no run, so say where its pictures are: --data DIR")
    if not data.exists():
        raise InputError(f"{data}: no such dataset; say where the pictures lie now: --data DIR")
    return ReviewedData(data, source, naming)


class _DataKeys(BaseModel):
    """What a run's configuration says of its data, read without what it takes to train."""

    root: Path | None = None
    defect: str | None = None
    good: tuple[str, ...] = ()
    classes: dict[str, tuple[str, ...]] | None = None

    @property
    def naming(self) -> Naming:
        """How class names are to be read; groups say nothing about labels."""
        good = self.classes["good"] if self.classes else self.good
        return Naming(None if good else self.defect, good)


def open_queue(
    folder: Path,
    root: Path,
    ranking: Path | None,
    request: ReviewRequest,
    store: Path,
    *,
    naming: Naming | None = None,
    lanes: Mapping[tuple[str, str], LaneSize] | None = None,
    progress: Progress = silent,
) -> ReviewQueue:
    """Return the queue in the review's ``folder``, or draw it and write it there.

    ``lanes``: as for :func:`drupe.labels.review.queue.draw_queue`.

    Raises:
        InputError: the folder holds the queue of another request, or the data or the ranking is
            wrong.
    """
    if (folder / QUEUE_FILE).exists():
        queue = read_queue(folder)
        asked = request.model_dump()
        differing = [
            f"{name} {value!r}, got {asked[name]!r}"
            for name, value in queue.request.model_dump().items()
            if value != asked[name]
        ]
        if differing:
            raise InputError(
                f"{folder}: holds a review that was asked for otherwise ({'; '.join(differing)}); "
                "give the same options, or another --out"
            )
        return queue
    naming = naming or Naming()
    listing = list_dataset(root, naming)
    fixes = active_fixes(root, store)
    nominees = _nominees(listing, fixes, ranking, request.splits, store, progress)
    if not lanes:  # of a sample of the line, equal pictures are that many decisions
        nominees = list({one.sha256: one for one in reversed(nominees)}.values())[::-1]
    where = str(root.absolute())
    queue = draw_queue(nominees, where, listing.classes, request, naming.good, lanes)
    queue.write(folder)
    return queue


def ranking_digest(ranking: Path | None) -> str | None:
    """Return the SHA-256 (hex) of a ranking's file, None where there is none."""
    return None if ranking is None else hashlib.sha256(ranking.read_bytes()).hexdigest()


def _nominees(
    listing: Listing,
    overlay: Overlay | None,
    ranking: Path | None,
    splits: Sequence[str],
    store: Path,
    progress: Progress,
) -> list[Nominee]:
    """Return the pictures that may be shown, the most suspect first."""
    found = file_digests(listing.root, listing.paths, store=store, progress=progress).digests
    fixes = match_fixes(overlay, listing.paths, found).fixes
    label_of = labels_of(listing, fixes)
    if ranking is None:
        ranked = _plain(listing, label_of)
    else:
        ranked = list(read_ranking(ranking, outside(listing.paths)))
    digest_of = dict(zip(listing.paths, found, strict=True))
    _check_ranked(ranked, ranking, listing, label_of)
    known = {one.split for one in ranked}
    if unknown := [name for name in splits if name not in known]:
        raise InputError(
            f"--split: must be one of {', '.join(sorted(known))}, got {', '.join(unknown)}"
        )
    strips = _Strips(listing)
    nominees = []
    for one in ranked:
        digest = digest_of[one.path]
        if one.path in fixes.exclude or (splits and one.split not in splits) or not digest:
            continue
        nominees.append(
            Nominee(
                path=one.path,
                split=one.split,
                label=one.label,
                sha256=digest,
                score=one.score if ranking else None,
                reason=one.reason if ranking else "",
                neighbours=_in_no_order(_near(one, label_of)) or strips.beside(one.path),
            ),
        )
    return nominees


def labels_of(listing: Listing, fixes: Fixes) -> dict[str, str]:
    """Return path → clean or defect, by the names of these classes, after the ``fixes``.

    Raises:
        InputError: a fix gives a label that the folder doesn't have.
    """
    wrong = fixes.wrong_relabels(set(listing.paths), listing.meanings)
    if wrong:
        problems = [f"{fixes.kept_in}: {path}: {reason}" for path, reason in wrong]
        raise InputError(shortened(problems, SHOWN))
    fixed = listing.relabelled(fixes.relabel)
    names = (listing.classes[int(defect)] for defect in fixed.is_defect.tolist())
    return dict(zip(listing.paths, names, strict=True))


def _plain(listing: Listing, label_of: dict[str, str]) -> list[RankedLabel]:
    """Return all items of a folder that nothing has ranked, by the split of their folder."""
    train = "train" if listing.has_val else "all"
    return [
        RankedLabel(
            rank=rank,
            path=path,
            split=listing.test_name if in_val else train,
            label=label_of[path],
            score=0.5,
            self_confidence=0.5,
            margin=0.0,
            reason="",
        )
        for rank, (path, in_val) in enumerate(
            zip(listing.paths, listing.in_val.tolist(), strict=True), 1
        )
    ]


def _check_ranked(
    ranked: Sequence[RankedLabel],
    ranking: Path | None,
    listing: Listing,
    label_of: dict[str, str],
) -> None:
    problems = [
        f"{ranking}: {one.path}: must be an image of {listing.root}, got no such image"
        for one in ranked
        if one.path not in label_of
    ]
    problems += [
        f"{ranking}: {one.path}: was ranked as {one.label}, and is {label_of[one.path]} now; rank "
        "the labels again"
        for one in ranked
        if label_of.get(one.path, one.label) != one.label
    ]
    if problems:
        raise InputError(shortened(problems, SHOWN))


def _near(one: RankedLabel, label_of: dict[str, str]) -> list[str]:
    """Return what the ranking says looks most like ``one``: equally many of each label, or nothing.

    Otherwise, or with labels that have been mended since, they would give the label away.
    """
    pairs = list(zip(one.near_own, one.near_other, strict=False))[:NEIGHBOURS_PER_CLASS]
    is_as_ranked = all(
        label_of.get(own) == one.label and label_of.get(other, one.label) != one.label
        for own, other in pairs
    )
    return [path for pair in pairs for path in pair] if is_as_ranked else []


def _in_no_order(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths in an order that says nothing of their labels."""
    return tuple(sorted(paths, key=lambda one: hashlib.sha256(one.encode()).digest()))


class _Strips:
    """Finds the pictures that lie nearest by file name: cameras number them as they come.

    Equally many of each class folder, in an order that says nothing, or they would give the
    label away.
    """

    def __init__(self, listing: Listing) -> None:
        sides = zip(listing.in_val.tolist(), listing.is_defect.tolist(), strict=True)
        self._side_of = dict(zip(listing.paths, sides, strict=True))
        self._ordered: dict[tuple[bool, bool], list[tuple[_Key, str]]] = {}
        for path, side in self._side_of.items():
            self._ordered.setdefault(side, []).append((_name_key(path), path))
        for members in self._ordered.values():
            members.sort()

    def beside(self, path: str) -> tuple[str, ...]:
        """Return the paths of the neighbours of the picture at ``path``."""
        in_val, _ = self._side_of[path]
        chosen: list[str] = []
        for is_defect in (False, True):
            members = self._ordered.get((in_val, is_defect), [])
            place = bisect_left(members, (_name_key(path), path))
            start = max(0, place - NEIGHBOURS_PER_CLASS)
            around = enumerate(members[start : place + NEIGHBOURS_PER_CLASS + 1], start)
            # Among its own class it stands at `place`, among the others just before it.
            own = self._side_of[path] == (in_val, is_defect)
            middle = place if own else place - 0.5
            others = [(abs(at - middle), other) for at, (_, other) in around if other != path]
            chosen += [other for _, other in sorted(others)[:NEIGHBOURS_PER_CLASS]]
        return _in_no_order(chosen)


_Key = tuple[tuple[int, int, str], ...]


def _name_key(path: str) -> _Key:
    """Return what orders ``img_9`` before ``img_10``, by the file's name alone."""
    parts = re.findall(r"\d+|\D+", PurePosixPath(path).name)
    return tuple((0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts)
