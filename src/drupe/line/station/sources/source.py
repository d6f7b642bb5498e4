"""What a source is."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any, NamedTuple, Protocol

from drupe.data.image_contract import Channels
from drupe.errors import DrupeError


class SourceError(DrupeError):
    """A source that gives nothing more, though it should."""


class LineItem(NamedTuple):
    """An item: its name, and its image (an array or a path) or why it has none.

    stamp: tells a file from a later one of the same name.
    """

    name: str
    image: Any = None
    fault: str | None = None
    stamp: int = 0


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

    def done(self, found: LineItem, lane: str) -> None:
        """Take note that an item went to ``lane``."""


class Unremembered:
    """A source whose items are gone once they were given."""

    keeps = False

    def done(self, found: LineItem, lane: str) -> None:
        """Nothing is left to be done."""
