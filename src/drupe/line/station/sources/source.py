"""What a source is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from threading import Event
from typing import Any, NamedTuple, Protocol

from drupe.data.image_contract import Channels
from drupe.errors import DrupeError
from drupe.line.station.answers import LineAnswer


class SourceError(DrupeError):
    """A source that gives nothing more, though it should."""


class LineItem(NamedTuple):
    """An item: its name, and its image (an array or a path) or why it has none.

    stamp: tells a file from a later one of the same name. is_overrun: it has no image because too
    many waited. until: by then its answer must be out, by the line's clock, where that is earlier
    than its deadline.
    """

    name: str
    image: Any = None
    fault: str | None = None
    stamp: int = 0
    is_overrun: bool = False
    until: float = math.inf


class ItemSource(Protocol):
    """Gives items one after another.

    waits: its items can wait, so a full queue holds it up; otherwise an item that finds the queue
    full is late. keeps: what isn't taken from the queue is still there at the next start. order: of
    the channels of its arrays. silent_after_s: without a sign of life for so long it is dead.
    """

    name: str
    waits: bool
    keeps: bool
    order: Channels | None
    silent_after_s: float | None

    def probe(self) -> str:
        """Try it out, give nothing, and say what there is."""

    def items(self, stop: Event) -> Iterator[LineItem | None]:
        """Yield items, and None as a sign of life, to the end; called anew after an error."""

    def done(self, found: LineItem, answer: LineAnswer) -> None:
        """Take note of an item's answer, once every sink was told."""

    def close(self) -> None:
        """Let go of what it holds, once all items were answered."""


class Unremembered:
    """A source whose items are gone once they were given."""

    keeps = False

    def done(self, found: LineItem, answer: LineAnswer) -> None:
        """Nothing is left to be done."""

    def close(self) -> None:
        """Nothing is held."""
