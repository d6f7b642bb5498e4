"""Processes forked from one that has loaded a classifier: errors in place of waiting for ever.

A fork copies memory, not threads. What a runtime's threads were to do is never done in the copy:
calls wait, and so does the end of the process, which wants to end the threads first.
"""

from __future__ import annotations

import ctypes
import os
from weakref import WeakSet

from drupe.errors import DrupeError

_sessions: WeakSet[object] = WeakSet()
_first_users: dict[str, int] = {}
"""By runtime: the process that was the first to use it."""


class ForkedProcessError(DrupeError):
    """A classifier is used in a process that was forked from the one that loaded it."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} in the process that this one was forked from, and its threads don't exist "
            "here: call drupe.load in each process, and start processes with multiprocessing's "
            'method "spawn" or "forkserver"'
        )


def loaded(session: object) -> None:
    """Take note of a session: should this process be forked, the copy leaves it alone."""
    _sessions.add(session)
    _first_users.setdefault(type(session).__name__, os.getpid())


def require_own(process: int) -> None:
    """Raise a :class:`ForkedProcessError` unless this is the ``process`` that loaded a session."""
    if os.getpid() != process:
        raise ForkedProcessError("this classifier was loaded")


def require_first_user(runtime: str) -> None:
    """Raise a :class:`ForkedProcessError` if a process that this one was forked from used it."""
    if _first_users.setdefault(runtime, os.getpid()) != os.getpid():
        raise ForkedProcessError(f"{runtime} was used")


def _leave_alone() -> None:
    """Let this copy's sessions and their runtimes be forgotten at its end, not taken down.

    Python's own ending is as usual (its files are written, what is registered is called); then,
    where the C library can be asked to (glibc), the process ends without the runtimes' part.
    """
    if not _first_users:
        return
    for session in list(_sessions):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):
        # Called first, being registered last, with the exit status: _exit(status).
        library.on_exit(library._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_alone)
