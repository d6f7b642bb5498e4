"""Work that is done beside the line's process, every second or minute, and once more at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Periodic:
    """Calls ``work`` every ``seconds`` in a thread of its own until it is stopped.

    What ``work`` raises is kept, not lost: :meth:`check` raises it where the caller will hear it.
    """

    def __init__(self, seconds: float, work: Callable[[], None]) -> None:
        self._seconds, self._work = seconds, work
        self._stopped = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="drupe-periodic", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise, once, what ``work`` raised since the last call."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def stop(self) -> None:
        """End the thread, and wait until it has."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._work()
            except Exception as error:  # whatever it is, the next caller is told
                self._failure = error
