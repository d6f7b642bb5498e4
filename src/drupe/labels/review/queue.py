"""What a reviewer is shown: suspects, random controls of known probability, and some of them twice.

A stratum is what has the same split and label. Of each, the suspects are taken for certain, and of
its other items a simple random sample without replacement: the controls. Where pictures that the
line has kept are chosen actively, the accepted ones are drawn one by one instead, each with a
probability of its own.
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
from drupe.labels.active import active_choice, active_shares

QUEUE_FILE = "queue.json"
SCHEMA = 1
ACCEPTED = "accepted"
"""The split of pictures that the line let pass."""
LEAST_DISTANCE = 10
"""Showings at least between the first and the second look at a picture, where there are so many."""

Role = Literal["suspect", "control"]
Choice = Literal["alike", "active"]
Stratum = tuple[str, str]
"""(split, label)."""


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

    probability: with which this decision of the line came into the queue; None where that is its
    stratum's. The other fields are those of its :class:`Nominee`.
    """

    path: str
    split: str
    label: str
    sha256: str
    role: Role
    score: float | None
    reason: str
    neighbours: tuple[str, ...]
    probability: float | None = Field(default=None, gt=0, le=1)


class ReviewStratum(_Part):
    """A split and label: how many distinct pictures it has, and how many of them are in the queue.

    Of the ``items`` less ``suspects`` others, each was drawn with the same known probability.
    ``lost``: further pictures that were drawn and nobody can see. ``least``: where each item was
    drawn with a probability of its own, the smallest that any had.
    """

    split: str
    label: str
    items: int = Field(ge=0)
    suspects: int = Field(ge=0)
    controls: int = Field(ge=0)
    lost: int = Field(default=0, ge=0)
    least: float | None = Field(default=None, gt=0, le=1)

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
    """What was asked for; ``ranking`` is the SHA-256 (hex) of the ranked list, None without one.

    ``choose``: whether controls are drawn alike, or actively: see :mod:`drupe.labels.active`.
    """

    ranking: str | None
    splits: tuple[str, ...]
    suspects: int
    controls: int
    repeats: int
    seed: int
    types: tuple[str, ...]
    choose: Choice = "alike"


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

    @property
    def is_active(self) -> bool:
        """Whether a network's doubt had a say in which accepted pictures are in the queue."""
        return self.request.choose == "active"

    def probability_of(self, item: ReviewItem) -> float:
        """Return the probability with which the item came into the queue as a control."""
        own = item.probability
        return self.stratum_of(item).probability if own is None else own

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
    lanes: Mapping[Stratum, LaneSize] | None = None,
) -> ReviewQueue:
    """Draw the queue: the same nominees and request give the same one.

    Args:
        nominees: distinct pictures, the most suspect first.
        root: the dataset folder.
        classes: (clean, defect).
        request: how many of each kind; more than there are means all.
        good: the clean classes, where defects have types.
        lanes: (split, label) → what the pictures are a sample of, where the line has kept them;
            an active choice needs it.

    Raises:
        InputError: nothing would be shown.
    """
    random = np.random.default_rng([request.seed, 16])
    suspects = list(nominees[: request.suspects])
    others = nominees[request.suspects :]
    strata_keys = sorted({(one.split, one.label) for one in nominees} | set(lanes or ()))
    members = {key: [one for one in others if (one.split, one.label) == key] for key in strata_keys}
    drawn = _draw_controls(random, members, request, lanes)
    items = [_item(one, "suspect") for one in suspects]
    items += [
        _item(one, "control", own)
        for controls in drawn.values()
        for one, own in zip(controls.nominees, controls.probabilities, strict=True)
    ]
    if not items:
        raise InputError("labels review: nothing to show: --suspects and --controls are both 0")
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
        strata=_strata(nominees, suspects, drawn, lanes),
        items=tuple(items),
        showings=showings,
    )


class _Controls(NamedTuple):
    """The controls of a stratum; see :class:`ReviewItem` and :class:`ReviewStratum`."""

    nominees: tuple[Nominee, ...]
    probabilities: tuple[float | None, ...]
    least: float | None = None


def _draw_controls(
    random: np.random.Generator,
    members: Mapping[Stratum, Sequence[Nominee]],
    request: ReviewRequest,
    lanes: Mapping[Stratum, LaneSize] | None,
) -> dict[Stratum, _Controls]:
    """Draw the controls of every stratum from its ``members``, in their order."""
    apart = [key for key in members if request.choose == "active" and key[0] == ACCEPTED]
    alike = [key for key in members if key not in apart]
    sizes = [len(members[key]) for key in alike]
    accepted = sum(len(members[key]) for key in apart)
    shares = active_shares(request.controls, accepted, sum(sizes))
    counts = dict(zip(alike, _allocate(shares.stopped, sizes), strict=True))
    found = {}
    for key, ones in members.items():
        if key in counts:
            places = sorted(random.permutation(len(ones))[: counts[key]].tolist())
            found[key] = _Controls(tuple(ones[i] for i in places), (None,) * len(places))
        else:
            found[key] = _draw_actively(random, ones, shares.accepted, (lanes or {})[key])
    return found


def _draw_actively(
    random: np.random.Generator, members: Sequence[Nominee], looks: int, size: LaneSize
) -> _Controls:
    """Draw each accepted picture by itself; the line kept it with a probability, too."""
    if not members:
        return _Controls((), ())
    scores = np.array([1.0 if one.score is None else one.score for one in members])
    choice = active_choice(scores, looks)
    kept = len(members) / (size.seen - size.lost)
    places = np.flatnonzero(random.random(len(members)) < choice.probabilities).tolist()
    return _Controls(
        tuple(members[i] for i in places),
        tuple(float(choice.probabilities[i]) * kept for i in places),
        choice.least * kept,
    )


def _strata(
    nominees: Sequence[Nominee],
    suspects: Sequence[Nominee],
    controls: Mapping[Stratum, _Controls],
    lanes: Mapping[Stratum, LaneSize] | None,
) -> tuple[ReviewStratum, ...]:
    """Return how many pictures each split and label has, and how many of them are shown."""
    held = Counter((one.split, one.label) for one in suspects)
    here = Counter((one.split, one.label) for one in nominees)
    found = []
    for key, drawn in controls.items():
        size = lanes[key] if lanes else LaneSize(here[key], 0)
        found.append(
            ReviewStratum(
                split=key[0],
                label=key[1],
                items=size.seen - size.lost,
                suspects=held[key],
                controls=len(drawn.nominees),
                lost=size.lost,
                least=drawn.least,
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


def _item(one: Nominee, role: Role, probability: float | None = None) -> ReviewItem:
    return ReviewItem(
        path=one.path,
        split=one.split,
        label=one.label,
        sha256=one.sha256,
        role=role,
        score=one.score,
        reason=one.reason,
        neighbours=one.neighbours,
        probability=probability,
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
