"""Split a dataset into fit, calibration and test, copies of an image always on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drupe.data.copies.copy_rule import identical_groups, join
from drupe.errors import InputError

Indices = NDArray[np.intp]
SIDES = ("fit", "calibration", "test")


@dataclass(frozen=True)
class Split:
    """Indices of the items on each side, sorted: every item of the dataset is in exactly one.

    ``dropped``: items used nowhere: a copy of them stands in ``val/``, or a limit or an inner fold
    leaves them out.
    """

    fit: Indices
    calibration: Indices
    test: Indices
    dropped: Indices

    def limited(self, count: int, is_defect: NDArray[np.bool_]) -> Split:
        """Return at most ``count`` items a side, clean ones and defects by turns; others dropped.

        ``is_defect`` is bool [N] over the whole dataset.
        """

        def first(items: Indices) -> Indices:
            labels = is_defect[items]
            turn = np.empty(len(items), np.intp)
            for label in (False, True):
                turn[labels == label] = np.arange(np.count_nonzero(labels == label))
            return np.sort(items[np.argsort(turn, kind="stable")[:count]])

        fit, calibration, test = (first(part) for part in (self.fit, self.calibration, self.test))
        kept = np.concatenate([fit, calibration, test])
        dropped = np.setdiff1d(np.arange(len(is_defect), dtype=np.intp), kept)
        return Split(fit=fit, calibration=calibration, test=test, dropped=dropped)


def split_dataset(
    is_defect: NDArray[np.bool_],
    in_val: NDArray[np.bool_],
    has_val: bool,
    groups: NDArray[np.integer],
    digests: Sequence[str],
    *,
    holdout: float | Callable[[int], float] | None,
    test_share: float,
    seed: int,
    fold: tuple[int, int] | None = None,
    inner: Sequence[tuple[int, int]] = (),
    origins: Sequence[str] | None = None,
    source: str = "dataset",
) -> Split:
    """Split N items; the result depends on the arguments alone.

    With ``val/``, all of it is ``test``, and training items of a group that also occurs there are
    dropped. Without it, ``test`` is drawn from all items. ``calibration`` is drawn from what
    remains.

    Drawing asks each group by itself: the lowest digest in it and ``seed`` give a number in
    [0, 1), and a group below the share is drawn. So an added, relabelled, renamed or moved picture
    moves no other; only a new copy of a picture may take its group along. Shares hold within
    sampling error.

    With ``origins`` all items of one origin stay together as copies do, and so do origins that
    share a copy; what draws them is a digest of their names. Of few origins none may be below the
    share, or all: at least the lowest is drawn, and as many highest ones aren't as the other sides
    need.

    Parameters
    ----------
    is_defect, in_val
        bool [N].
    has_val
        Whether the folder brings its own test split.
    groups
        int [N]; items with the same number are copies of each other.
    digests
        [N] of each file's bytes.
    holdout
        Share of the training items that become ``calibration``, in (0, 1), or a function that
        gives it for the number of distinct defects among them; None: none of them.
    test_share
        Share of all items that become ``test`` where there is no ``val/``, in (0, 1).
    seed
        Of the drawing.
    fold
        (k, K): ``calibration`` is the k-th (from 0) of K folds that the training items fall into,
        instead of a share; the K calibrations are disjoint and hold every training item.
    inner
        (k, K): leave calibration and test untouched. ``test`` is then the k-th of K folds of what
        would be ``fit``, ``fit`` the other folds; everything else is dropped. A second pair does
        the same inside that ``fit``, and so on.
    origins
        [N] names of what each item comes from, such as a camera, to be kept on one side; None:
        only copies are.
    source
        What an error calls the items: the folder they come from.

    Raises
    ------
    InputError
        A split would have no clean item or no defect.
    """
    everything = np.arange(len(is_defect), dtype=np.intp)
    units, names = groups, digests
    if origins is not None:
        units = join(identical_groups(groups.tolist()), identical_groups(origins))
        names = [hashlib.sha256(name.encode()).hexdigest() for name in origins]
    leaders = _Leaders.of(units, names)
    wants_calibration = holdout is not None or fold is not None

    def drawn(items: Indices, purpose: str, share: float, leaving: int) -> NDArray[np.bool_]:
        positions = leaders.positions(items, f"{purpose} {seed}")
        return positions < (share if origins is None else _cut(positions, share, leaving))

    if has_val:
        is_test = np.asarray(in_val, dtype=bool)
        is_dropped = np.isin(units, units[is_test]) & ~is_test
    else:
        is_test = drawn(everything, "test", test_share, 2 if wants_calibration else 1)
        is_dropped = np.zeros(len(is_defect), dtype=bool)
    rest = everything[~is_test & ~is_dropped]
    is_held = np.zeros(len(is_defect), dtype=bool)
    if fold is not None:
        is_held = _Groups(rest, is_defect, leaders.of_item).deal(fold[1], [seed, 1]) == fold[0]
    elif holdout is not None:
        if callable(holdout):
            holdout = holdout(len(np.unique(groups[rest[is_defect[rest]]])))
        is_held[rest] = drawn(rest, "calibration", holdout, 1)
    split = Split(
        fit=rest[~is_held[rest]],
        calibration=everything[is_held],
        test=everything[is_test],
        dropped=everything[is_dropped],
    )
    for left_out, folds in inner:
        fold_of = _Groups(split.fit, is_defect, leaders.of_item).deal(folds, [seed, 2])
        split = _inside_fit(split.fit, fold_of[split.fit] == left_out, everything)
    needs_all = split.calibration.size or (origins and wants_calibration and not inner)
    sides = SIDES if needs_all else ("fit", "test")
    _check(split, is_defect, source, sides, len(np.unique(units)) if origins else None)
    return split


def _inside_fit(fit: Indices, is_left_out: NDArray[np.bool_], everything: Indices) -> Split:
    """Return the split of a run that sees nothing but ``fit`` and is judged on a part of it."""
    return Split(
        fit=fit[~is_left_out],
        calibration=fit[:0],
        test=fit[is_left_out],
        dropped=np.setdiff1d(everything, fit),
    )


@dataclass(frozen=True)
class _Leaders:
    """The lowest name in each item's group.

    names: bytes [N], sorted; of_item: int [N], the place in it of each item's leader, the first
    one of equal names.
    """

    names: NDArray[np.bytes_]
    of_item: Indices

    @classmethod
    def of(cls, groups: NDArray[np.integer], names: Sequence[str]) -> _Leaders:
        """Find the leaders of N items in ``groups``, int [N]: small integers take their place."""
        given = np.array(names, dtype=np.bytes_)
        order = np.argsort(given)
        ordered = given[order]
        del given  # 64 MB of a million digests
        is_first = np.ones(len(ordered), dtype=bool)
        is_first[1:] = ordered[1:] != ordered[:-1]
        place = np.empty(len(ordered), np.intp)
        place[order] = np.maximum.accumulate(np.where(is_first, np.arange(len(ordered)), 0))
        _, group = np.unique(groups, return_inverse=True)
        lowest = np.full(group.max(initial=-1) + 1, len(ordered), np.intp)
        np.minimum.at(lowest, group, place)
        return cls(ordered, lowest[group])

    def positions(self, items: Indices, purpose: str) -> NDArray[np.float64]:
        """Return a number in [0, 1) for each item's leader: the first 52 bits of a SHA-256."""
        present, of_item = np.unique(self.of_item[items], return_inverse=True)
        told = hashlib.sha256(purpose.encode() + b" ")

        def position(name: bytes) -> float:
            digest = told.copy()
            digest.update(name)
            return int(digest.hexdigest()[:13], 16) / 2**52

        numbers = (position(self.names[place]) for place in present)
        return np.fromiter(numbers, np.float64, len(present))[of_item]


def _cut(positions: NDArray[np.float64], share: float, leaving: int) -> float:
    """Return what the positions of the drawn are below: at least one's, all but ``leaving``."""
    levels = np.unique(positions)
    wanted = int(np.count_nonzero(levels < share))
    count = max(1, min(wanted, len(levels) - leaving))
    return float(levels[count]) if count < len(levels) else 1.0


class _Groups:
    """The duplicate groups among ``items``: their sizes, and strata of clean, defects, both.

    ``leaders`` are the names of groups by their order, int [N]; how a group is dealt depends on
    nothing else.
    """

    def __init__(self, items: Indices, is_defect: NDArray[np.bool_], leaders: Indices) -> None:
        names, self._of_item = np.unique(leaders[items], return_inverse=True)
        self._items = items
        self._everything = len(is_defect)
        self._sizes = np.bincount(self._of_item, minlength=len(names))
        self._defects = np.bincount(self._of_item, weights=is_defect[items], minlength=len(names))

    def _shuffled_strata(self, random: np.random.Generator) -> Iterator[Iterable[tuple[int, int]]]:
        """Yield the groups of each stratum, (number, items), in random order."""
        defects, sizes = self._defects, self._sizes
        for stratum in (defects == 0, defects == sizes, (defects > 0) & (defects < sizes)):
            members = random.permutation(np.flatnonzero(stratum))
            yield zip(members.tolist(), sizes[members].tolist(), strict=True)

    def deal(self, folds: int, seed: list[int]) -> NDArray[np.intp]:
        """Return int [N]: each item's fold (−1 outside ``items``); equal sizes and mixes."""
        random = np.random.default_rng(seed)
        fold_of = np.zeros(len(self._sizes), np.intp)
        held = [0] * folds  # items in each fold
        for members in self._shuffled_strata(random):
            of_stratum = [0] * folds
            for member, size in members:
                fold = min(range(folds), key=lambda k: (of_stratum[k], held[k], k))
                fold_of[member] = fold
                of_stratum[fold] += size
                held[fold] += size
        spread = np.full(self._everything, -1, np.intp)
        spread[self._items] = fold_of[self._of_item]
        return spread


def _check(
    split: Split,
    is_defect: NDArray[np.bool_],
    source: str,
    sides: Sequence[str],
    groups: int | None,
) -> None:
    """Refuse a split with an empty class; ``groups``: so many are kept together, None: none are."""
    problems = []
    for name in sides:
        labels = is_defect[getattr(split, name)]
        defects = int(np.count_nonzero(labels))
        if defects == 0 or defects == len(labels):
            problems.append(
                f"{name} split: must hold clean items and defects, "
                f"got {len(labels) - defects:,} clean and {defects:,} defects"
            )
    if problems:
        labels = is_defect
        what = "copies" if groups is None else "copies or of the groups"
        dropped = (
            f", {len(split.dropped):,} dropped as {what} of val/" if split.dropped.size else ""
        )
        together = "" if groups is None else f", {groups:,} groups that are kept together"
        needed = "images" if groups is None else "groups (or another data.split_seed)"
        problems.append(
            f"{source}: {np.count_nonzero(~labels):,} clean, {np.count_nonzero(labels):,} defects"
            f"{together}{dropped}; more {needed}, or other shares, are needed"
        )
        raise InputError(problems)
