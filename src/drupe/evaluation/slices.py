"""Slices of a split: recall of each type of defect, recall and clean yield of each group.

Letters: n items, in a slice and in all; k mistakes, in a slice and in all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom

from drupe.evaluation.comparison import holm
from drupe.evaluation.intervals import Proportion
from drupe.evaluation.predictions import Predictions
from drupe.runs.evaluation_file import SliceRow, SliceTable

CONFIDENCE = 0.95
"""Of the bounds, and for calling a group worse than the others."""


@dataclass(frozen=True)
class Slice:
    """The items of one type of defect or one group, counted at a threshold.

    name: '' for items of which it isn't known. worse_recall, worse_yield: how likely so many
    misses or rejected clean items or more would be if this slice were like the others, adjusted for
    the number of slices (:func:`worse_than_others`); None without such items, and of a type, which
    has no clean items.
    """

    name: str
    defects: int
    misses: int
    clean: int
    clean_accepted: int
    worse_recall: float | None = None
    worse_yield: float | None = None

    def recall(self, confidence: float = CONFIDENCE, sides: int = 2) -> Proportion:
        """Return the share of the slice's defects that were not accepted."""
        return Proportion(self.defects - self.misses, self.defects, confidence, sides)

    def clean_yield(self, confidence: float = CONFIDENCE, sides: int = 2) -> Proportion:
        """Return the share of the slice's clean items that were accepted."""
        return Proportion(self.clean_accepted, self.clean, confidence, sides)


@dataclass(frozen=True)
class Slices:
    """All types and groups of a split at one ``threshold``, sorted by name.

    None where the split's items tell nothing of types, or of groups.
    """

    threshold: float
    types: tuple[Slice, ...] | None
    groups: tuple[Slice, ...] | None

    @classmethod
    def of(cls, table: Predictions, threshold: float) -> Slices | None:
        """Count the items of ``table``, which are distinct; None where nothing tells of slices."""
        if table.types is None and table.groups is None:
            return None
        types = groups = None
        if table.types is not None:
            defects = table.take(np.flatnonzero(table.is_defect))
            types = _counted(defects, defects.types or (), threshold)
        if table.groups is not None:
            groups = _counted(table, table.groups, threshold)
        return cls(threshold, types, groups)

    @classmethod
    def of_record(cls, table: SliceTable) -> Slices:
        """Return the slices that a run's ``evaluation.json`` holds."""

        def told(rows: Sequence[SliceRow] | None) -> tuple[Slice, ...] | None:
            return None if rows is None else tuple(map(_of_row, rows))

        return cls(table.threshold, told(table.types), told(table.groups))

    def to_json(self) -> dict[str, Any]:
        """Return the threshold, what is known of types and groups, and the worst group."""
        document: dict[str, Any] = {"threshold": self.threshold}
        if self.types is not None:
            document["types"] = [_to_json(one, with_clean=False) for one in self.types]
        if self.groups is not None:
            document["groups"] = [_to_json(one, with_clean=True) for one in self.groups]
            document["worst_group"] = {
                "recall": _named(worst_recall(self.groups)),
                "clean_yield": _named(worst_yield(self.groups)),
            }
        return document


def _counted(table: Predictions, names: Sequence[str], threshold: float) -> tuple[Slice, ...]:
    of_slice, of_item = np.unique(np.array(names, np.str_), return_inverse=True)
    accepted = table.scores < np.float32(threshold)

    def count(members: NDArray[np.bool_]) -> list[int]:
        counted: list[int] = np.bincount(of_item[members], minlength=len(of_slice)).tolist()
        return counted

    defects, misses = count(table.is_defect), count(table.is_defect & accepted)
    clean, kept = count(~table.is_defect), count(~table.is_defect & accepted)
    rejected = [all_of_them - some for all_of_them, some in zip(clean, kept, strict=True)]
    rows = zip(
        *(of_slice.tolist(), defects, misses, clean, kept),
        *(worse_than_others(misses, defects), worse_than_others(rejected, clean)),
        strict=True,
    )
    return tuple(Slice(*row) for row in rows)


def worse_than_others(mistakes: Sequence[int], items: Sequence[int]) -> list[float | None]:
    """Return for each slice the adjusted p-value of "its rate of mistakes is no higher".

    If mistakes fell on the n items of all slices alike, those of one slice of n_s items would be
    hypergeometric given all k: P(X ≥ k_s), Fisher's exact test of one slice against the others,
    one-sided (Fisher 1935). Holm's correction then keeps the chance of calling any slice worse,
    where none is, within the level. None for a slice without items.
    """
    all_items, all_mistakes = sum(items), sum(mistakes)
    held = [index for index, count in enumerate(items) if count]
    chances = [
        float(hypergeom.sf(mistakes[index] - 1, all_items, all_mistakes, items[index]))
        for index in held
    ]
    adjusted = dict(zip(held, holm(chances), strict=True)) if held else {}
    return [adjusted.get(index) for index in range(len(items))]


def worst_recall(slices: Sequence[Slice]) -> Slice | None:
    """Return the slice whose recall is the surest to be below that of the others."""
    return _worst([(one.worse_recall, one.recall().rate, one) for one in slices])


def worst_yield(slices: Sequence[Slice]) -> Slice | None:
    """Return the slice whose clean yield is the surest to be below that of the others."""
    return _worst([(one.worse_yield, one.clean_yield().rate, one) for one in slices])


def _worst(judged: Sequence[tuple[float | None, float | None, Slice]]) -> Slice | None:
    """Return the one of the lowest p-value, of equal ones the one of the lowest rate.

    None where there is nothing to choose between: one slice, or no mistake.
    """
    known = [(chance, rate, one) for chance, rate, one in judged if chance is not None]
    if len(known) < 2 or all(rate == 1 for _, rate, _ in known):
        return None
    return min(known, key=lambda one: (one[0], one[1], one[2].name))[2]


def _of_row(row: SliceRow) -> Slice:
    return Slice(
        row.name,
        row.defects,
        row.misses,
        row.clean,
        row.clean_accepted,
        row.worse_recall_p_value,
        row.worse_yield_p_value,
    )


def _to_json(one: Slice, *, with_clean: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": one.name,
        "defects": one.defects,
        "misses": one.misses,
        "recall": one.recall().to_json(),
        "worse_recall_p_value": one.worse_recall,
    }
    if with_clean:
        document |= {
            "clean": one.clean,
            "clean_accepted": one.clean_accepted,
            "clean_yield": one.clean_yield().to_json(),
            "worse_yield_p_value": one.worse_yield,
        }
    return document


def _named(one: Slice | None) -> str | None:
    return None if one is None else one.name
