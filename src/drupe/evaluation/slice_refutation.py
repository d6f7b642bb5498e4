"""Whether the test items refute what was promised about types of defects and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from drupe.evaluation.certificate import Kind, SliceCertificate, refutation_p_value
from drupe.evaluation.comparison import holm
from drupe.evaluation.slices import Slices


@dataclass(frozen=True)
class SliceRefutation:
    """The test's defects of one promised slice, and how likely so many misses would be.

    p_value: P(at least so many misses) if recall were what is promised, adjusted for the number of
    promises; 1 where the test has no such defect.
    """

    kind: Kind
    name: str
    claim: str
    defects: int
    misses: int
    p_value: float

    def to_json(self) -> dict[str, Any]:
        """Return every field but the words."""
        return {name: value for name, value in vars(self).items() if name != "claim"}


def refute(promised: Sequence[SliceCertificate], test: Slices) -> tuple[SliceRefutation, ...]:
    """Test each promise on the slices of the test items.

    Holm's correction over all promises: where all of them hold, the chance that any is called
    refuted at a level is at most that level.
    """
    rows = [
        *(("type", one) for one in test.types or ()),
        *(("group", one) for one in test.groups or ()),
    ]
    counted = {(kind, one.name): (one.defects, one.misses) for kind, one in rows}
    found = [counted.get((one.kind, one.name), (0, 0)) for one in promised]
    chances = [
        refutation_p_value(misses, defects, one.min_recall)
        for one, (defects, misses) in zip(promised, found, strict=True)
    ]
    return tuple(
        SliceRefutation(one.kind, one.name, one.claim, defects, misses, chance)
        for one, (defects, misses), chance in zip(promised, found, holm(chances), strict=True)
    )
