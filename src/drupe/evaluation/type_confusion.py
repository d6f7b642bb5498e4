"""Which type of defect was said of which: counts, and the share that was told right.

Letters: T types that a head tells apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drupe.evaluation.intervals import Proportion
from drupe.evaluation.slices import CONFIDENCE
from drupe.runs.evaluation_file import ConfusedTypes


@dataclass(frozen=True)
class TypeRow:
    """The defects of one type; ``said`` [T] counts what each of the head's types was said of."""

    name: str
    said: tuple[int, ...]
    right: int

    @property
    def defects(self) -> int:
        """How many there are."""
        return sum(self.said)


@dataclass(frozen=True)
class TypeConfusion:
    """The defects of known type by their type (a row each) and by what was said of them.

    ``names`` [T] are the types that can be said. Rows of others come last: they are never right.
    """

    names: tuple[str, ...]
    rows: tuple[TypeRow, ...]

    @classmethod
    def of(
        cls, names: Sequence[str], types: Sequence[str], said: Sequence[str]
    ) -> TypeConfusion | None:
        """Count items by their true ``types`` and what was ``said``, of equal length.

        Items without a type ('' of clean ones, and where it isn't known) aren't counted; None
        where all are such.
        """
        pairs = Counter(zip(types, said, strict=True))
        known = {one for one, _ in pairs if one}
        order = [*(one for one in names if one in known), *sorted(known - set(names))]
        rows = tuple(
            TypeRow(one, tuple(pairs[one, answer] for answer in names), pairs[one, one])
            for one in order
        )
        return cls(tuple(names), rows) if rows else None

    @classmethod
    def of_record(cls, table: ConfusedTypes) -> TypeConfusion:
        """Return what a run's ``evaluation.json`` holds."""
        rows = (TypeRow(row.name, tuple(row.said), row.right) for row in table.rows)
        return cls(tuple(table.names), tuple(rows))

    @property
    def unnamed(self) -> tuple[str, ...]:
        """The types among the rows that can't be said."""
        return tuple(row.name for row in self.rows if row.name not in self.names)

    def accuracy(self, confidence: float = CONFIDENCE) -> Proportion:
        """Return the share of the defects whose type was said, over all rows."""
        right = sum(row.right for row in self.rows)
        return Proportion(right, sum(row.defects for row in self.rows), confidence)

    def to_json(self) -> dict[str, Any]:
        """Return names, rows and the accuracy."""
        return {
            "names": list(self.names),
            "rows": [
                {
                    "name": row.name,
                    "defects": row.defects,
                    "right": row.right,
                    "said": list(row.said),
                }
                for row in self.rows
            ],
            "accuracy": self.accuracy().to_json(),
        }
