"""Errors that a person reads: each says what, where, what is allowed and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class DrupeError(Exception):
    """Anything Drupe stops for on purpose. The command line prints it and exits with 2."""


class InputError(DrupeError):
    """The input is wrong: one message that holds every mistake found, never the first alone."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems)
        )
        super().__init__("\n".join(self.problems))


class MissingExtraError(DrupeError):
    """A command needs packages that the installed extras do not bring."""

    def __init__(self, command: str, extra: str, module: str) -> None:
        super().__init__(
            f"{command} needs the package '{module}', which is not installed: "
            f"pip install 'drupe[{extra}]'"
        )


class TrainingDivergedError(DrupeError):
    """The loss became NaN or infinite."""


def one_line(error: BaseException, most: int = 300) -> str:
    """Return type and message in one line of at most ``most`` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= most else f"{text[:most]}…"


def shortened(lines: Sequence[str], limit: int, rest: str = "more") -> list[str]:
    """Return the first ``limit`` of ``lines``, and "… and 7 more" where there are others.

    The line that counts them is indented as the one before it.
    """
    left = len(lines) - limit
    if left <= 0:
        return list(lines)
    shown = list(lines[:limit])
    indent = shown[-1][: len(shown[-1]) - len(shown[-1].lstrip())]
    return [*shown, f"{indent}… and {left:,} {rest}"]


def suggest(name: str, known: Sequence[str], count: int = 3) -> str:
    """Return ``" (did you mean a, b?)"`` with the nearest known names, or an empty string."""
    nearest = get_close_matches(name, known, n=count, cutoff=0.5)
    return f" (did you mean {', '.join(nearest)}?)" if nearest else ""
