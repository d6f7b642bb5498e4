"""What the service answers: a lane for every request, whatever became of it; never a wrong accept.

The HTTP code is 200 only where the bundle has decided every image. Anything else is a code from 400
on, and its lane is ``review``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FAULT_LANE = "review"
"""Where an item goes that wasn't decided."""

BY_CARE = ("accept", "review", "reject")
"""Lanes, the more careful ones last: a batch's lane is that of its worst image."""

DECIDED, UNREADABLE, MISTAKE, UNREADY, LATE = 200, 422, 500, 503, 504
"""HTTP codes."""


@dataclass(frozen=True)
class ImageAnswer:
    """One image: its lane, and why it has no score where it has none.

    ``p_value``: of an item of either class lying as far off from what was learnt, in (0, 1], where
    the bundle tells what is unknown and the image has a score. ``is_decided``: the bundle has
    decided it; a frame that it calls a fault is one of these.
    """

    item: str
    lane: str
    score: float | None = None
    fault: str | None = None
    type: str | None = None
    p_value: float | None = None
    is_decided: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return what a client is told; type and p-value only where the bundle tells them."""
        told: dict[str, Any] = {"item": self.item, "lane": self.lane, "score": self.score}
        told["fault"] = self.fault
        more = {"type": self.type, "p_value": self.p_value}
        return told | {name: value for name, value in more.items() if value is not None}


@dataclass(frozen=True)
class Verdict:
    """All images of a request, and the bundle that decided them (``by``: digest, function)."""

    answers: Sequence[ImageAnswer]
    by: dict[str, str]
    is_batch: bool

    @property
    def lane(self) -> str:
        """The lane of the worst image."""
        return max((one.lane for one in self.answers), key=BY_CARE.index)

    @property
    def code(self) -> int:
        """The HTTP code."""
        return DECIDED if all(one.is_decided for one in self.answers) else UNREADABLE

    def to_json(self) -> dict[str, Any]:
        """Return the answer's document."""
        if self.is_batch:
            images = [one.to_json() for one in self.answers]
            return {"lane": self.lane, "images": images, **self.by}
        return {**self.answers[0].to_json(), **self.by}


def refusal(reason: str, item: str | None, lane: str) -> dict[str, Any]:
    """Return the document of a request that nothing decided."""
    return {"item": item, "lane": lane, "score": None, "fault": reason}
