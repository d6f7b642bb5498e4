"""Contents of a synthetic set: which file is which fault, decided before a pixel is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError
from drupe.files import read_json

GENERATOR_VERSION = 1
"""Raised whenever the same arguments would give other bytes."""

SPLITS = ("train", "val")
CLASSES = ("cherry_clean", "cherry_pit")
CLEAN, TYPES = "clean", ("pit", "stem", "split")
"""Class folders of a set with several types of defects, as many of them as asked for."""

DEFECT_SHARE = 0.46
PAIR_FAULTS = ("leaks", "contradictions", "near_duplicates", "duplicates")
CORRUPT_KINDS = ("truncated", "text", "empty")
TURNS = (
    *("identity", "rot90", "rot180", "rot270"),
    *("flip", "flip+rot90", "flip+rot180", "flip+rot270"),
)

PLAN_STREAM, RENDER_STREAM, ALTER_STREAM, SLICE_STREAM, MARK_STREAM = range(5)
"""Each stage draws from random streams of its own, [seed, stage, ...]."""

Pair = tuple[str, str]

NoiseKind = Literal["random", "lookalike"]


@dataclass(frozen=True)
class Truth:
    """Contents of a synthetic set: every fault, by path relative to its folder (POSIX).

    A file takes part in one fault at most. In each pair the second file is the copy.
    """

    images: int
    """Files in all, whatever is wrong with them."""
    size: int
    seed: int
    val_share: float
    version: int = GENERATOR_VERSION
    label_noise: tuple[str, ...] = ()
    """Files that lie in the folder of the other class."""
    leaks: tuple[Pair, ...] = ()
    """Identical bytes in train and val, same class: (train, val)."""
    duplicates: tuple[Pair, ...] = ()
    """Identical bytes within one split, same class."""
    near_duplicates: tuple[tuple[str, str, str], ...] = ()
    """One fruit twice within one split, same class, and how the copy was turned: ``rot90`` (by
    90° counter-clockwise), ``flip`` (left to right), ``flip+rot90`` (in that order), …; the copy
    also differs by up to 4 % of brightness, noise and a shift of 1 or 2 pixels."""
    contradictions: tuple[Pair, ...] = ()
    """Identical bytes within one split but in different classes: (right class, wrong class)."""
    blanks: tuple[str, ...] = ()
    """Crops without a fruit, black but for a little sensor noise."""
    corrupt: tuple[Pair, ...] = ()
    """Files that don't decode: (path, kind), the kind being one of :data:`CORRUPT_KINDS`."""
    types: tuple[str, ...] = ()
    """Types of defects, where there are several: the names of their folders."""
    groups: tuple[str, ...] = ()
    """Cameras, where there are any: the folders in each class folder."""
    bad_group: str = ""
    """The camera that is out of focus."""
    shows: tuple[Pair, ...] = ()
    """What the files of ``label_noise`` show where there are types: (path, clean or the type)."""
    label_noise_kind: NoiseKind = "random"
    """``lookalike``: the files of ``label_noise`` look like the class whose folder they lie in,
    pits faint, and clean fruits with a spot; ``random``: they look like any of theirs."""

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``truth.json`` holds, of JSON's own types.

        Of types and groups it speaks only where there are any, and of lookalikes likewise.
        """
        document: dict[str, Any] = _as_lists(asdict(self))
        if self.label_noise_kind == "random":
            del document["label_noise_kind"]
        for key in ("types", "groups", "bad_group", "shows"):
            if not document[key]:
                del document[key]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Truth:
        """Rebuild from :meth:`to_json`'s document or the parsed file.

        Raises:
            InputError: keys are missing, unknown or of the wrong type.
        """
        try:
            return cls(**{key: _as_tuples(value) for key, value in document.items()})
        except (AttributeError, TypeError) as error:
            raise InputError(f"truth.json: not the truth of a synthetic set ({error})") from None

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Read a ``truth.json``.

        Raises:
            InputError: the file is missing, damaged or holds something else.
        """
        return cls.from_json(read_json(path))


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, tuple) else value


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Plan:
    """The files of a synthetic set, by number: path, pixels and faults."""

    truth: Truth
    paths: tuple[str, ...]
    shows: NDArray[np.intp]  # by the pixels: 0 clean, else the number of the type from 1
    group_of: NDArray[np.intp]  # camera, from 0; all 0 where there are none

    @property
    def shows_pit(self) -> NDArray[np.bool_]:
        """Whether the pixels show a pit; label noise sets that apart from the folder."""
        shows_pit: NDArray[np.bool_] = self.shows == 1
        return shows_pit

    @property
    def is_lookalike(self) -> NDArray[np.bool_]:
        """Whether a file must look like the class whose folder it wrongly lies in."""
        kind, noise = self.truth.label_noise_kind, set(self.truth.label_noise)
        return np.array([kind == "lookalike" and path in noise for path in self.paths])

    def shown_type(self, number: int) -> str:
        """Return the type of defect that a file shows, '' for a clean fruit."""
        return TYPES[self.shows[number] - 1] if self.shows[number] else ""

    def is_out_of_focus(self, number: int) -> bool:
        """Return whether a file is of the camera that is out of focus."""
        groups = self.truth.groups
        return bool(groups) and groups[self.group_of[number]] == self.truth.bad_group

    def exact_copies(self) -> Iterator[Pair]:
        """Yield (original, copy) of all identical files."""
        yield from self.truth.leaks
        yield from self.truth.duplicates
        yield from self.truth.contradictions


def plan_files(
    images: int,
    size: int,
    seed: int,
    label_noise: float,
    val_share: float,
    faults: Mapping[str, int],
    slices: SlicePlan | None = None,
    label_noise_kind: NoiseKind = "random",
) -> Plan:
    """Decide which file lies where, shows what and takes part in which fault.

    Args:
        images: files in all.
        size: side of the crops in pixels, passed on.
        seed: decides everything here.
        label_noise: share of ``images`` that lie in the folder of the wrong class.
        val_share: share of ``images`` in val.
        faults: how many of each of :class:`Truth`'s faults but ``label_noise``; pairs count once.
        slices: types of defects and cameras; None: one type, no cameras.
        label_noise_kind: as :class:`Truth` describes it.

    Raises:
        InputError: too few files of the split and class that a fault needs.
    """
    slices = slices or SlicePlan()
    rng = np.random.default_rng([seed, PLAN_STREAM])
    in_val, is_defect = _assign(images, val_share, rng)
    parts = _Parts(in_val, is_defect, rng)
    pairs = {
        fault: [parts.draw_pair(fault) for _ in range(faults.get(fault, 0))]
        for fault in PAIR_FAULTS
    }
    blanks = parts.draw_any(faults.get("blanks", 0), "blanks")
    corrupt = parts.draw_any(faults.get("corrupt", 0), "corrupt")
    flipped = parts.draw_any(round(label_noise * images), "label_noise")
    turns = rng.choice(TURNS, size=len(pairs["near_duplicates"])).tolist()
    type_of, group_of = slices.draw(is_defect, pairs, seed)
    paths = _paths(in_val, type_of, group_of, slices)
    shows = type_of.copy()
    shows[flipped] = np.where(
        type_of[flipped] > 0, 0, 1 + np.array(flipped, np.intp) % slices.types
    )
    named = {
        fault: tuple((paths[original], paths[copy]) for original, copy in drawn)
        for fault, drawn in pairs.items()
    }
    truth = Truth(
        images=images,
        size=size,
        seed=seed,
        val_share=val_share,
        label_noise=tuple(paths[number] for number in flipped),
        leaks=named["leaks"],
        duplicates=named["duplicates"],
        near_duplicates=tuple(
            (*pair, turn) for pair, turn in zip(named["near_duplicates"], turns, strict=True)
        ),
        contradictions=named["contradictions"],
        blanks=tuple(paths[number] for number in blanks),
        corrupt=tuple((paths[number], _corrupt_kind(k)) for k, number in enumerate(corrupt)),
        types=slices.type_names,
        groups=slices.group_names,
        bad_group=slices.group_names[slices.bad_group - 1] if slices.bad_group else "",
        shows=tuple(
            (paths[number], TYPES[shows[number] - 1] if shows[number] else CLEAN)
            for number in flipped
            if slices.types > 1
        ),
        label_noise_kind=label_noise_kind,
    )
    return Plan(truth, paths, shows, group_of)


def _paths(
    in_val: NDArray[np.bool_],
    type_of: NDArray[np.intp],
    group_of: NDArray[np.intp],
    slices: SlicePlan,
) -> tuple[str, ...]:
    """Return each file's path: split, folders of its class and camera, number."""
    digits = max(5, len(str(len(in_val) - 1)))
    places = zip(in_val.tolist(), type_of.tolist(), group_of.tolist(), strict=True)
    return tuple(
        "/".join((SPLITS[val], *slices.folders(of_type, group), f"{number:0{digits}d}.png"))
        for number, (val, of_type, group) in enumerate(places)
    )


@dataclass(frozen=True)
class SlicePlan:
    """Numbers of types of defects and of cameras, and which camera, from 1, is out of focus.

    One type is the pit alone, in the folders of a two-class set; 0 groups: no cameras.
    """

    types: int = 1
    groups: int = 0
    bad_group: int = 0

    @property
    def type_names(self) -> tuple[str, ...]:
        """The folders of the types, none where there is one type."""
        return TYPES[: self.types] if self.types > 1 else ()

    @property
    def group_names(self) -> tuple[str, ...]:
        """The folders of the cameras."""
        return tuple(f"camera-{number}" for number in range(1, self.groups + 1))

    def folders(self, of_type: int, group: int) -> tuple[str, ...]:
        """Return the folders of a file below that of its split; ``of_type`` 0 is clean."""
        names = (CLEAN, *self.type_names) if self.types > 1 else CLASSES
        return (names[of_type], *self.group_names[group : group + 1])

    def draw(
        self, is_defect: NDArray[np.bool_], pairs: Mapping[str, list[tuple[int, int]]], seed: int
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Draw each file's type (0 for a clean one) and camera: int [images] each.

        A copy has those of its original, but for the type where they lie in two classes.
        """
        rng = np.random.default_rng([seed, SLICE_STREAM])
        type_of = np.where(is_defect, 1 + rng.integers(self.types, size=len(is_defect)), 0)
        group_of = rng.integers(max(1, self.groups), size=len(is_defect))
        for fault, drawn in pairs.items():
            for original, copy in drawn:
                group_of[copy] = group_of[original]
                if fault != "contradictions":
                    type_of[copy] = type_of[original]
        return type_of.astype(np.intp), group_of.astype(np.intp)


def _assign(
    images: int, val_share: float, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return bool[images] each: whether a file lies in val, and whether in the pit folder."""
    order = rng.permutation(images)
    val_images = min(max(round(images * val_share), 2), images - 2)
    in_val, is_defect = np.zeros((2, images), dtype=np.bool_)
    in_val[order[:val_images]] = True
    for members in (order[:val_images], order[val_images:]):
        defects = min(max(round(len(members) * DEFECT_SHARE), 1), len(members) - 1)
        is_defect[members[:defects]] = True
    return in_val, is_defect


def _corrupt_kind(order: int) -> str:
    """Return each kind once, then no more empty files: two of them would be identical."""
    return CORRUPT_KINDS[order] if order < len(CORRUPT_KINDS) else CORRUPT_KINDS[order % 2]


class _Parts:
    """Hands each file out once, by split and class."""

    def __init__(
        self, in_val: NDArray[np.bool_], is_defect: NDArray[np.bool_], rng: np.random.Generator
    ) -> None:
        self._rng = rng
        order = rng.permutation(len(in_val))
        self._free: dict[tuple[bool, bool], list[int]] = {
            (val, pit): order[(in_val[order] == val) & (is_defect[order] == pit)].tolist()
            for val, pit in product((False, True), repeat=2)
        }

    def draw_pair(self, fault: str) -> tuple[int, int]:
        """Take the two files (original, copy) that ``fault`` needs."""
        match fault:
            case "leaks":
                choices = [((False, pit), (True, pit)) for pit in (False, True)]
            case "contradictions":
                choices = [((val, pit), (val, not pit)) for val, pit in self._free]
            case _:
                choices = [(cell, cell) for cell in self._free]
        left = [self._pairs_left(*cells) for cells in choices]
        if not any(left):
            raise InputError(_too_few(fault))
        chosen = self._rng.choice(len(choices), p=np.divide(left, sum(left)))
        original, copy = choices[chosen]
        return self._free[original].pop(), self._free[copy].pop()

    def _pairs_left(self, original: tuple[bool, bool], copy: tuple[bool, bool]) -> int:
        if original == copy:
            return len(self._free[original]) // 2
        return min(len(self._free[original]), len(self._free[copy]))

    def draw_any(self, count: int, fault: str) -> list[int]:
        """Take ``count`` files of any split and class, in order."""
        rest = sorted(number for numbers in self._free.values() for number in numbers)
        if count > len(rest):
            raise InputError(_too_few(fault))
        chosen: list[int] = sorted(self._rng.permutation(rest)[:count].tolist()) if count else []
        taken = set(chosen)
        for cell, numbers in self._free.items():
            self._free[cell] = [number for number in numbers if number not in taken]
        return chosen


def _too_few(fault: str) -> str:
    return (
        f"images: too few for these faults, no files of the right split and class are left for "
        f"{fault}: ask for more images or for fewer faults"
    )
