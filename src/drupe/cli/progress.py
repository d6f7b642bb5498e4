"""Draws :data:`drupe.progress.Progress` on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from drupe.cli.console import console_on
from drupe.printable import printable
from drupe.progress import Progress, Tracker, duration

FIRST_LINE_AFTER = 2.0
LINE_EVERY = 10.0
"""Seconds to the first plain line about some work, and between two: a log is read afterwards."""


def progress_on(stream: TextIO | None = None) -> Progress:
    """Return the drawing that suits ``stream`` (stderr by default); a dumb terminal gets lines."""
    stream = stream if stream is not None else sys.stderr
    console = console_on(stream)
    moves = stream.isatty() and not console.is_dumb_terminal
    return TerminalProgress(console) if moves else PlainProgress(stream)


@dataclass
class Count:
    """The state of one piece of work: a :class:`drupe.progress.Tracker` without a picture."""

    what: str
    total: int
    unit: str
    clock: Callable[[], float]
    on_advance: Callable[[Count], None]
    done: int = 0
    note: str = ""
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count ``units`` and let the drawing know."""
        self.done += units
        self.note = note or self.note
        self.on_advance(self)

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return self.clock() - self.started

    @property
    def rate(self) -> float | None:
        """Units per second so far; None before there is anything to divide."""
        return self.done / self.seconds if self.done and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Seconds to go at the rate so far."""
        return (self.total - self.done) / self.rate if self.rate else None

    def running(self) -> str:
        """Return ``decode: 1,200 of 3,676 images, 850/s, 3 s left, NOTE``."""
        rate, left = self.rate, self.seconds_left
        parts = [
            f"{self.what}: {self.done:,} of {self.total:,} {self.unit}",
            f"{per_second(rate)}" if rate else "",
            f"{duration(left)} left" if left is not None else "",
            self.note,
        ]
        return ", ".join(part for part in parts if part)

    def finished(self) -> str:
        """Return ``decode: 3,676 images in 4 s, 850/s, NOTE``."""
        rate = self.rate
        parts = [
            f"{self.what}: {self.done:,} {self.unit} in {duration(self.seconds)}",
            f"{per_second(rate)}" if rate else "",
            self.note,
        ]
        return ", ".join(part for part in parts if part)


class PlainProgress:
    """A line after two seconds, one every ten seconds at most, and one at the end."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self._next = 0.0

    @contextmanager
    def __call__(self, what: str, total: int, unit: str) -> Iterator[Tracker]:
        """Open a piece of work; on an error the last line says how far it came."""
        count = Count(what, total, unit, self.clock, self._report)
        self._next = self.clock() + FIRST_LINE_AFTER
        try:
            yield count
        except BaseException:
            self._write(f"{what}: stopped at {count.done:,} of {total:,} {unit}")
            raise
        self._write(count.finished())

    def _report(self, count: Count) -> None:
        now = self.clock()
        if now >= self._next and count.done < count.total:
            self._next = now + LINE_EVERY
            self._write(count.running())

    def _write(self, line: str) -> None:
        self.stream.write(printable(line) + "\n")
        self.stream.flush()


class TerminalProgress:
    """Bars with units/s, time left and a note; a finished bar becomes a line that stays."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            _CountColumn(),
            console=console,
            transient=True,
        )
        self._open = 0

    @contextmanager
    def __call__(self, what: str, total: int, unit: str) -> Iterator[Tracker]:
        """Open a bar; bars opened inside another are drawn below it."""
        count = Count(what, total, unit, self.clock, lambda count: self._draw(task, count))
        task = self._bars.add_task(printable(what), total=total, count=count)
        self._open += 1
        self._bars.start()
        try:
            yield count
            self._bars.console.print(Text(printable(count.finished())))
        finally:
            self._bars.remove_task(task)
            self._open -= 1
            if not self._open:
                self._bars.stop()

    def _draw(self, task: TaskID, count: Count) -> None:
        self._bars.update(task, completed=count.done)


class _CountColumn(ProgressColumn):
    """The text of :meth:`Count.running` after the bar: figures, rate, time left, note."""

    max_refresh = 0.2

    def render(self, task: Task) -> Text:
        count: Count = task.fields["count"]
        running = count.running().removeprefix(f"{count.what}: ")
        return Text(printable(running), overflow="ellipsis")


def per_second(rate: float) -> str:
    """Return a rate with two to four digits: ``850/s``, ``1,200/s``, ``0.35/s``."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"
