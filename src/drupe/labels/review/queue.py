"""What a reviewer is shown: suspects, random controls of known probability, and some of them twice.

A stratum is what has the same split and label. Of each, the suspects are taken for certain, and of
its other items a simple random sample without replacement: the controls.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from drupe.configuration import validate
from drupe.errors import InputError
from drupe.files import read_json, write_json

QUEUE_FILE = "queue.json"
SCHEMA = 1
LEAST_DISTANCE = 10
"""Showings at least between the first and the second look at a picture, where there are so many."""

Role = Literal["suspect", "control"]


@dataclass(frozen=True)
class Nominee:
    """A picture that could be shown: its place in the dataset and its label now.

    sha256 (hex): of its file; score: the probability of a defect by a network that never saw it,
    None where nothing was ranked; reason: what the ranking says of it; neighbours: paths of
    pictures to show beside it.
    """

    path: str
    split: str
    label: str
    sha256: str
    score: float | None = None
    reason: str = ""
    neighbours: tuple[str, ...] = ()


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ReviewItem(_Part):
    """A picture of the queue; ``role`` says why it is there.

    The other fields are those of its :class:`Nominee`.
    """

    path: str
    split: str
    label: str
    sha256: str
    role: Role
    score: float | None
    reason: str
    neighbours: tuple[str, ...]


class ReviewStratum(_Part):
    """A split and label: how many distinct pictures it has, and how many of them are in the queue.

    Of the ``items`` less ``suspects`` others, each was drawn with the same known probability.
    ``lost``: further pictures that were drawn and nobody can see.
    """

    split: str
    label: str
    items: int = Field(ge=0)
    suspects: int = Field(ge=0)
    controls: int = Field(ge=0)
    lost: int = Field(default=0, ge=0)

    @property
    def others(self) -> int:
        """The pictures that the controls were drawn from."""
        return self.items - self.suspects

    @property
    def probability(self) -> float:
        """The inclusion probability of each picture that is no suspect."""
        return self.controls / self.others if self.others else 1.0

    @property
    def is_whole(self) -> bool:
        """Whether every picture of it is in the queue."""
        return self.controls == self.others


class LaneSize(NamedTuple):
    """How many decisions of the line a split's pictures are a sample of; how many were lost."""

    seen: int
    lost: int


class Showing(_Part):
    """One look at one picture: ``id`` is all that the page knows of it, ``item`` its place."""

    id: str
    item: int = Field(ge=0)
    is_repeat: bool = False


class ReviewRequest(_Part):
    """What was asked for; ``ranking`` is the SHA-256 (hex) of the ranked list, None without one."""

    ranking: str | None
    splits: tuple[str, ...]
    suspects: int
    controls: int
    repeats: int
    seed: int
    types: tuple[str, ...]


class ReviewQueue(_Part):
    """The content of ``queue.json``; ``id`` names it in every answer.

    ``classes`` are (clean, defect), ``root`` the dataset folder as it was called then; ``good``:
    its clean classes, where every other one is a type of defect; is_captured: whether the pictures
    are a sample of the line's decisions, whose lanes are the splits.
    """

    schema_version: int = SCHEMA
    id: str
    root: str
    classes: tuple[str, str]
    good: tuple[str, ...] = ()
    is_captured: bool = False
    request: ReviewRequest
    strata: tuple[ReviewStratum, ...]
    items: tuple[ReviewItem, ...]
    showings: tuple[Showing, ...]

    def write(self, folder: Path) -> None:
        """Write ``queue.json`` in ``folder`` atomically."""
        write_json(folder / QUEUE_FILE, self.model_dump(mode="json"))

    def stratum_of(self, item: ReviewItem) -> ReviewStratum:
        """Return the stratum that the item was drawn from."""
        return next(
            one for one in self.strata if (one.split, one.label) == (item.split, item.label)
        )


def read_queue(folder: Path) -> ReviewQueue:
    """Read ``queue.json`` in ``folder``.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / QUEUE_FILE
    if not path.exists():
        raise InputError(
            f"{folder}: must be the folder of a review, got none with {QUEUE_FILE}; "
            "drupe labels review DATA --out DIR makes one"
        )
    queue = validate(ReviewQueue, read_json(path), str(path))
    if queue.schema_version != SCHEMA:
        raise InputError(f"{path}: schema_version must be {SCHEMA}, got {queue.schema_version}")
    if any(one.item >= len(queue.items) for one in queue.showings):
        raise InputError(f"{path}: showings must be of its {len(queue.items):,} items, got others")
    return queue


def draw_queue(
    nominees: Sequence[Nominee],
    root: str,
    classes: tuple[str, str],
    request: ReviewRequest,
    good: tuple[str, ...] = (),
    lanes: Mapping[tuple[str, str], LaneSize] | None = None,
) -> ReviewQueue:
    """Draw the queue: the same nominees and request give the same one.

    Args:
        nominees: distinct pictures, the most suspect first.
        root: the dataset folder.
        classes: (clean, defect).
        request: how many of each kind; more than there are means all.
        good: the clean classes, where defects have types.
        lanes: (split, label) → what the pictures are a sample of, where the line has kept them.

    Raises:
        InputError: nothing would be shown, or there are fewer than two pictures to draw from.
    """
    random = np.random.default_rng([request.seed, 16])
    suspects = list(nominees[: request.suspects])
    others = nominees[request.suspects :]
    strata_keys = sorted({(one.split, one.label) for one in nominees} | set(lanes or ()))
    members = {key: [one for one in others if (one.split, one.label) == key] for key in strata_keys}
    counts = _allocate(request.controls, [len(members[key]) for key in strata_keys])
    controls: list[Nominee] = []
    for key, count in zip(strata_keys, counts, strict=True):
        drawn = random.permutation(len(members[key]))[:count].tolist()
        controls += [members[key][index] for index in sorted(drawn)]
    if not suspects and not controls:
        raise InputError("labels review: nothing to show: --suspects and --controls are both 0")
    items = [_item(one, "suspect") for one in suspects] + [
        _item(one, "control") for one in controls
    ]
    repeats = min(request.repeats, len(items) // 2)
    twice = random.choice(len(items), repeats, replace=False)
    looks = [(index, False) for index in range(len(items))] + [(int(i), True) for i in twice]
    name = hashlib.sha256(repr((root, request, items)).encode("utf-8", "replace")).hexdigest()[:12]
    showings = tuple(
        Showing(
            id=hashlib.sha256(f"{name} {random.bytes(16).hex()} {place}".encode()).hexdigest()[:20],
            item=index,
            is_repeat=again,
        )
        for place, (index, again) in enumerate(looks)
    )
    return ReviewQueue(
        id=name,
        root=root,
        classes=classes,
        good=good,
        is_captured=lanes is not None,
        request=request,
        strata=_strata(nominees, suspects, dict(zip(strata_keys, counts, strict=True)), lanes),
        items=tuple(items),
        showings=showings,
    )


def _strata(
    nominees: Sequence[Nominee],
    suspects: Sequence[Nominee],
    controls: Mapping[tuple[str, str], int],
    lanes: Mapping[tuple[str, str], LaneSize] | None,
) -> tuple[ReviewStratum, ...]:
    """Return how many pictures each split and label has, and how many of them are shown."""
    held = Counter((one.split, one.label) for one in suspects)
    here = Counter((one.split, one.label) for one in nominees)
    found = []
    for key, count in controls.items():
        size = lanes[key] if lanes else LaneSize(here[key], 0)
        found.append(
            ReviewStratum(
                split=key[0],
                label=key[1],
                items=size.seen - size.lost,
                suspects=held[key],
                controls=count,
                lost=size.lost,
            )
        )
    return tuple(found)


def order_for(queue: ReviewQueue, reviewer: str) -> tuple[Showing, ...]:
    """Return the showings in this reviewer's own random order.

    Pictures that come twice come in the first half first, and again at least ``LEAST_DISTANCE``
    showings later, or as far as the queue allows.
    """
    digest = hashlib.sha256(f"{queue.id} {reviewer}".encode("utf-8", "replace")).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    first = {one.item: one for one in queue.showings if not one.is_repeat}
    again = {one.item: one for one in queue.showings if one.is_repeat}
    count = len(first)
    early = np.zeros(count, np.bool_)
    early[random.choice((count + 1) // 2, len(again), replace=False)] = True
    repeated = iter(random.permutation(sorted(again)).tolist())
    once = iter(random.permutation([item for item in first if item not in again]).tolist())
    keyed: list[tuple[float, Showing]] = []
    for place, is_repeated in enumerate(early.tolist()):
        item = next(repeated if is_repeated else once)
        keyed.append((float(place), first[item]))
        if is_repeated:
            start = min(place + LEAST_DISTANCE, count - 1)
            keyed.append((float(random.uniform(start + 0.1, count)), again[item]))
    return tuple(showing for _, showing in sorted(keyed, key=lambda pair: pair[0]))


def _item(one: Nominee, role: Role) -> ReviewItem:
    return ReviewItem(
        path=one.path,
        split=one.split,
        label=one.label,
        sha256=one.sha256,
        role=role,
        score=one.score,
        reason=one.reason,
        neighbours=one.neighbours,
    )


def _allocate(total: int, sizes: Sequence[int]) -> list[int]:
    """Share ``total`` out in proportion to ``sizes``, at most each of them, largest rest first.

    A stratum that has any item gets at least one where there are enough for all.
    """
    available = sum(sizes)
    total = min(total, available)
    if not total:
        return [0] * len(sizes)
    exact = [total * size / available for size in sizes]
    shares = [int(share) for share in exact]
    if total >= sum(size > 0 for size in sizes):
        shares = [max(share, min(size, 1)) for share, size in zip(shares, sizes, strict=True)]
    order = sorted(range(len(sizes)), key=lambda i: shares[i] - exact[i])
    while sum(shares) < total:
        place = next(i for i in order if shares[i] < sizes[i])
        shares[place] += 1
        order.remove(place)
        order.append(place)
    while sum(shares) > total:
        place = max((i for i in order if shares[i] > 1), key=lambda i: shares[i] - exact[i])
        shares[place] -= 1
    return shares
