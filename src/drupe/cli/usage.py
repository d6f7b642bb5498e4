"""What is wrong with the words of a command line, said with what was got."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.core import TyperGroup

REWORDED = (
    (re.compile(r"^Value error, "), ""),
    (re.compile(r"^Input should be "), "must be "),
    (re.compile(r", unable to parse string as an? \w+$"), ""),
)
"""How pydantic, which Typer checks values with, says it, and how it is said here."""


class TellingGroup(TyperGroup):
    """Commands whose refusal of a value names the value."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that the words name."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = telling(error)
            raise


def telling(error: typer.BadParameter) -> str:
    """Return the message of ``error`` with the value that it is about, as far as it is known."""
    message = error.message
    for pattern, words in REWORDED:
        message = pattern.sub(words, message)
    listed = getattr(error.__cause__, "errors", None)
    if listed is None:  # other versions of Typer name the value themselves
        return message
    got = repr(listed()[0]["input"])
    return message if got in message else f"{message}, got {got}"
