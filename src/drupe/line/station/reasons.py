"""Why something failed, in one line that a person reads."""

from __future__ import annotations

from drupe.errors import DrupeError, one_line


def reason_of(error: BaseException) -> str:
    """Return what an error says; of a library's own also its kind."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return " ".join(str(error).split()) if isinstance(error, DrupeError) else one_line(error)
