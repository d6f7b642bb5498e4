"""Split a dataset into fit, calibration and test, copies of an image always on one side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drupe.errors import InputError

Indices = NDArray[np.intp]
SIDES = ("fit", "calibration", "test")


@dataclass(frozen=True)
class Split:
    """Indices of the items on each side, sorted: every item of the dataset is in exactly one.

    ``dropped``: items used nowhere, because a copy of them stands in ``val/`` or by a limit.
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
    *,
    holdout: float | Callable[[int], float] | None,
    test_share: float,
    seed: int,
    fold: tuple[int, int] | None = None,
    source: str = "dataset",
) -> Split:
    """Split N items; the result depends on the arguments alone.

    With ``val/``, all of it is ``test``, and training items of a group that also occurs there are
    dropped. Without it, ``test`` is drawn from all items. ``calibration`` is drawn from what
    remains. Drawing takes whole groups at random, separately among groups of clean items, of
    defects, and of both, until the wanted share of items is met as nearly as group sizes allow.

    Parameters
    ----------
    is_defect, in_val
        bool [N].
    has_val
        Whether the folder brings its own test split.
    groups
        int [N]; items with the same number are copies of each other.
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
    source
        What an error calls the items: the folder they come from.

    Raises
    ------
    InputError
        A split would have no clean item or no defect.
    """
    everything = np.arange(len(is_defect), dtype=np.intp)
    if has_val:
        is_test = np.asarray(in_val, dtype=bool)
        is_dropped = np.isin(groups, groups[is_test]) & ~is_test
    else:
        is_test = _Groups(everything, is_defect, groups).draw(
            test_share, np.random.default_rng([seed, 0])
        )
        is_dropped = np.zeros(len(is_defect), dtype=bool)
    rest = everything[~is_test & ~is_dropped]
    random = np.random.default_rng([seed, 1])
    if holdout is None:
        is_held = np.zeros(len(is_defect), dtype=bool)
    elif fold is None:
        if callable(holdout):
            holdout = holdout(len(np.unique(groups[rest[is_defect[rest]]])))
        is_held = _Groups(rest, is_defect, groups).draw(holdout, random)
    else:
        is_held = _Groups(rest, is_defect, groups).deal(fold[1], random) == fold[0]
    split = Split(
        fit=rest[~is_held[rest]],
        calibration=everything[is_held],
        test=everything[is_test],
        dropped=everything[is_dropped],
    )
    _check(split, is_defect, source, ("fit", "test") if holdout is None else SIDES)
    return split


class _Groups:
    """The duplicate groups among ``items``: their sizes, and strata of clean, defects, both."""

    def __init__(
        self, items: Indices, is_defect: NDArray[np.bool_], groups: NDArray[np.integer]
    ) -> None:
        _, first, group = np.unique(groups[items], return_index=True, return_inverse=True)
        # Numbered by first occurrence, a draw doesn't depend on how the groups were numbered.
        self._of_item = np.argsort(np.argsort(first))[group]
        self._items = items
        self._everything = len(is_defect)
        self._sizes = np.bincount(self._of_item, minlength=len(first))
        self._defects = np.bincount(self._of_item, weights=is_defect[items], minlength=len(first))

    def _shuffled_strata(self, random: np.random.Generator) -> Iterator[list[tuple[int, int]]]:
        """Yield the groups of each stratum, (number, items), in random order."""
        defects, sizes = self._defects, self._sizes
        for stratum in (defects == 0, defects == sizes, (defects > 0) & (defects < sizes)):
            members = random.permutation(np.flatnonzero(stratum))
            yield list(zip(members.tolist(), sizes[members].tolist(), strict=True))

    def _spread(self, of_group: list[int]) -> NDArray[np.intp]:
        """Return int [N]: each item's number of ``of_group``, −1 outside ``items``."""
        spread = np.full(self._everything, -1, np.intp)
        spread[self._items] = np.array(of_group, np.intp)[self._of_item]
        return spread

    def draw(self, share: float, random: np.random.Generator) -> NDArray[np.bool_]:
        """Return bool [N]: the items drawn, about ``share`` of ``items``, in whole groups."""
        drawn = [0] * len(self._sizes)
        for members in self._shuffled_strata(random):
            target = share * sum(size for _, size in members)
            taken = 0
            for member, size in members:
                # Take a group if that brings the total nearer: a huge one is passed over.
                if taken + size / 2 < target:
                    drawn[member] = 1
                    taken += size
        is_drawn: NDArray[np.bool_] = self._spread(drawn) == 1
        return is_drawn

    def deal(self, folds: int, random: np.random.Generator) -> NDArray[np.intp]:
        """Return int [N]: each item's fold (−1 outside ``items``); equal sizes and mixes."""
        fold_of = [0] * len(self._sizes)
        held = [0] * folds  # items in each fold
        for members in self._shuffled_strata(random):
            of_stratum = [0] * folds
            for member, size in members:
                fold = min(range(folds), key=lambda k: (of_stratum[k], held[k], k))
                fold_of[member] = fold
                of_stratum[fold] += size
                held[fold] += size
        return self._spread(fold_of)


def _check(split: Split, is_defect: NDArray[np.bool_], source: str, sides: Sequence[str]) -> None:
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
        dropped = (
            f", {len(split.dropped):,} dropped as copies of val/" if len(split.dropped) else ""
        )
        problems.append(
            f"{source}: {np.count_nonzero(~labels):,} clean, {np.count_nonzero(labels):,} defects"
            f"{dropped}; more images, or other shares, are needed"
        )
        raise InputError(problems)
