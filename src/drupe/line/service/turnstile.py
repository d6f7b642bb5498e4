"""Between two frames: many may decide at once, but nobody while the bundle is changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from drupe.errors import DrupeError

PATIENCE_SECONDS = 10.0


class NeverAloneError(DrupeError):
    """A decision doesn't end, so that nothing can be changed between two."""


class Turnstile:
    """Lets any number in, or one alone: whoever wants to be alone keeps newcomers waiting."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._changed = threading.Condition()
        self._inside, self._is_shut, self._patience = 0, False, patience

    @contextmanager
    def among_others(self) -> Iterator[None]:
        """Be inside, together with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be inside alone.

        Raises:
            NeverAloneError: the others didn't leave in time, or another wants to be alone.
        """
        with self._changed:
            if self._is_shut:
                raise NeverAloneError("another change is being made")
            self._is_shut = True
            is_alone = self._changed.wait_for(lambda: self._inside == 0, self._patience)
            if not is_alone:
                self._open()
                raise NeverAloneError(f"a decision hasn't ended for {self._patience:g} s")
        try:
            yield
        finally:
            with self._changed:
                self._open()

    def _open(self) -> None:
        self._is_shut = False
        self._changed.notify_all()
