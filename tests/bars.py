"""A progress for tests: it remembers what was announced and counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass
class Bars:
    """``opened`` maps each piece of work to [announced total, counted units]."""

    opened: dict[str, list[int]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, what: str, total: int, unit: str) -> Iterator[Any]:
        counts = self.opened.setdefault(what, [total, 0])

        def advance(units: int = 1, note: str = "") -> None:
            counts[1] += units

        yield SimpleNamespace(advance=advance)
