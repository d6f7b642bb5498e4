"""What a sink is told: the answer to an item, and between answers how the line is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

ACCEPT = "accept"
LANE_CODES = {"accept": 1, "review": 2, "reject": 3}
"""As registers and variables hold lanes; 0: no answer yet."""


@dataclass(frozen=True)
class LineAnswer:
    """The answer to one item.

    number: Drupe's own, ascending over restarts, no number given twice; piece: the PLC's, from the
    item's name, 0 where there is none; decided: what the classifier said, where ``lane`` is another
    because of ``fault``; is_withdrawal: an earlier answer of this number no longer holds.
    """

    number: int
    item: str
    lane: str
    time: str
    piece: int = 0
    score: float | None = None
    decided: str | None = None
    fault: str | None = None
    is_withdrawal: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return dict(vars(self))

    def instead(self, lane: str, fault: str, is_withdrawal: bool = False) -> LineAnswer:
        """Return the answer of the same item that goes to ``lane`` because of ``fault``."""
        return replace(self, lane=lane, fault=fault, is_withdrawal=is_withdrawal)


@dataclass(frozen=True)
class Beat:
    """How the line is: ``count`` grows with each; ``reasons`` why nothing is accepted now.

    number: the last item's.
    """

    count: int
    number: int
    reasons: tuple[str, ...] = ()

    @property
    def is_valid(self) -> bool:
        """True where an accept may be believed."""
        return not self.reasons
