"""Output: answers on stdout, everything else on stderr.

Consoles are made on use, so that each sees the streams and the width of its moment.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Sequence
from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from drupe.notices import LOGGER
from drupe.printable import printable, printable_json
from drupe.workbench.progress_display import console_on

PROSE_WIDTH = 100
"""Columns at most of a sentence: on a wider terminal the eye loses the next line."""


def stdout() -> Console:
    """The console for answers that a person reads."""
    return console_on(sys.stdout)


def stderr() -> Console:
    """The console for progress, warnings and errors."""
    return console_on(sys.stderr)


def print_json(document: Any) -> None:
    """Print one JSON document on stdout. NaN is a ``ValueError``: it is not JSON."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(printable_json(text) + "\n")
    sys.stdout.flush()


def print_text(text: str) -> None:
    """Print a whole document on stdout, byte for byte: it may be redirected into a file."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_line(text: str, style: str = "") -> None:
    """Print one line on stdout: no markup, no wrapping inside a path that gets copied.

    What a terminal would obey instead of showing it is escaped, line feeds too.
    """
    stdout().print(Text(printable(text), style=style), soft_wrap=True)


def print_note(text: str) -> None:
    """Print one line on stderr, as :func:`print_line` does on stdout."""
    stderr().print(Text(printable(text)), soft_wrap=True)


def print_prose(text: str, style: str = "", indent: str = "") -> None:
    """Print a paragraph on stdout as it is, wrapped between words: a path is never cut.

    ``indent`` stands before every line but the first.
    """
    width = min(stdout().width, PROSE_WIDTH)
    lines = wrap(
        printable(" ".join(text.split("\n"))),
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines:
        print_line(line, style)


def print_error(*messages: str) -> None:
    """Print messages on stderr as they are, each behind the word ``error``."""
    for message in messages:
        stderr().print(Text.assemble(("error: ", "bold red"), printable(message)), soft_wrap=True)


def print_warning(message: str) -> None:
    """Print a message on stderr as it is, behind the word ``warning``."""
    stderr().print(Text.assemble(("warning: ", "bold yellow"), printable(message)), soft_wrap=True)


class NoticeHandler(logging.Handler):
    """Prints what the layers below notice on stderr, each line once in a command."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a notice that wasn't printed before."""
        text = record.getMessage()
        if text not in self._said:
            self._said.add(text)
            print_warning(text)


def show_notices() -> None:
    """Print what the layers below notice from now on; handlers of earlier calls give way."""
    LOGGER.handlers = [NoticeHandler()]


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], texts: Collection[int] = (0,)
) -> Table:
    """Return a plain table; columns whose index is not in ``texts`` are figures, right-aligned."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        drawn.add_column(
            printable(name), justify="left" if index in texts else "right", overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(_cell(cell)) for cell in row))
    return drawn


def _cell(content: object) -> str:
    return f"{content:,}" if isinstance(content, int) else printable(str(content))


def print_fitting(
    columns: Sequence[str], rows: Sequence[Sequence[object]], texts: Collection[int] = (0,)
) -> None:
    """Print a table, or where it is wider than the terminal one block per row.

    Empty cells are left out of a block. ``texts`` as for :func:`table`.
    """
    drawn, console = table(columns, rows, texts), stdout()
    unlimited = console.options.update(max_width=10_000)
    if console.measure(drawn, options=unlimited).maximum <= console.width:
        console.print(drawn)
        return
    width = max(map(len, columns)) + 2
    for name, *cells in rows:
        print_line(str(name), style="bold")
        for column, cell in zip(columns[1:], cells, strict=True):
            if cell != "":
                print_line(f"  {column:<{width}}{cell}".rstrip())
