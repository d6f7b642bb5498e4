"""Draws :data:`drupe.progress.Progress`: bars on a terminal and in notebooks, else plain lines."""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from drupe.printable import printable
from drupe.progress import Progress, Tracker, duration

NARROWEST = 20
UNKNOWN = 80
"""Columns at least of a terminal, and of one that doesn't tell."""

FIRST_LINE_AFTER = 2.0
LINE_EVERY = 10.0
NOTEBOOK_EVERY = 0.5
"""Seconds to the first plain line about some work, between two (a log is read afterwards), and
between two states of a notebook's bar."""


def console_on(stream: TextIO) -> Console:
    """Return the console that draws on ``stream``, as wide as its terminal is now."""
    console = Console(file=stream, highlight=False, emoji=False)
    if console.width < NARROWEST:
        console.width = NARROWEST if console.width > 0 else UNKNOWN
    return console


def progress_on(stream: TextIO | None = None) -> Progress:
    """Return the drawing that suits ``stream`` (stderr by default); a dumb terminal gets lines.

    In a notebook, where nothing else is asked for, a bar in the cell's output.
    """
    if stream is None and _in_notebook():
        return NotebookProgress()
    stream = stream if stream is not None else sys.stderr
    console = console_on(stream)
    moves = stream.isatty() and not console.is_dumb_terminal
    return TerminalProgress(console) if moves else PlainProgress(stream)


def _in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this process."""
    shell = getattr(builtins, "get_ipython", None)
    return shell is not None and type(shell()).__name__ == "ZMQInteractiveShell"


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


class NotebookProgress:
    """A bar in the output of the cell, which becomes a line when the work is done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock

    @contextmanager
    def __call__(self, what: str, total: int, unit: str) -> Iterator[Tracker]:
        """Open a piece of work; on an error the line says how far it came."""
        notebook: Any = import_module("IPython.display")
        HTML, display = notebook.HTML, notebook.display
        count = Count(what, total, unit, self.clock, lambda count: report(count))
        drawn = display(HTML(_bar(count)), display_id=True)
        shown = self.clock()

        def report(count: Count) -> None:
            nonlocal shown
            if self.clock() - shown >= NOTEBOOK_EVERY:
                shown = self.clock()
                drawn.update(HTML(_bar(count)))

        try:
            yield count
        except BaseException:
            drawn.update(HTML(escape(f"{what}: stopped at {count.done:,} of {total:,} {unit}")))
            raise
        drawn.update(HTML(escape(count.finished())))


def _bar(count: Count) -> str:
    """Return the bar and the text beside it; all text is escaped."""
    return f'<progress value="{count.done}" max="{count.total}"></progress> ' + escape(
        count.running()
    )


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
