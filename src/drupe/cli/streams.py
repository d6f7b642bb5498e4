"""The standard streams as a command may find them: closed, full, without a width or a reader."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import TextIO

from drupe.cli.console import print_error, print_note

BROKEN_PIPE = 141
"""The shell's number for a command whose reader has gone: 128 + SIGPIPE. No answer, so not 1."""


def open_streams() -> None:
    """Put the null device in place of closed streams; escape what an encoding can't show.

    The next file to be opened would otherwise get a closed stream's number, and what a library
    says about its work would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end_streams(code: int) -> int:
    """Write what is still to be written; return the exit code, another one if that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        say_error(f"standard output: {error.strerror}")
        code = code or 2
    with contextlib.suppress(OSError):
        sys.stderr.flush()
        return code
    _give_up(sys.stderr)
    return code


def say_error(*messages: str) -> None:
    """Print errors where they can be printed: an error about an error helps nobody."""
    with _stderr_or_nothing():
        print_error(*messages)


def say_on_stderr(text: str) -> None:
    """Print a line on stderr where it can be printed."""
    with _stderr_or_nothing():
        print_note(text)


@contextlib.contextmanager
def _stderr_or_nothing() -> Iterator[None]:
    try:
        yield
    except OSError:
        _give_up(sys.stderr)


def is_broken_pipe(error: BaseException | None) -> bool:
    """Return whether ``error`` came about because nobody reads the answer any more."""
    while error is not None:
        if isinstance(error, BrokenPipeError):
            return True
        error = error.__context__
    return False


def give_up_stdout() -> None:
    """Let what is left of the answer go nowhere."""
    _give_up(sys.stdout)


def _give_up(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
