"""SIGTERM, as services and schedulers send it, and SIGHUP of a closed terminal: like Ctrl-C.

What runs is unwound as at Ctrl-C: children are ended, temporary files removed, records say
*interrupted*.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = ("SIGTERM", "SIGHUP")
"""Windows has only the first."""


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C's asks the command to end; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@contextmanager
def stop_signals() -> Iterator[None]:
    """While it lasts, these signals raise :class:`Terminated`; one that is ignored stays so."""
    if threading.current_thread() is not threading.main_thread():  # no others may say what to do
        yield
        return
    heard = [getattr(signal, name) for name in HEARD if hasattr(signal, name)]
    before = {one: signal.getsignal(one) for one in heard}
    for one, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(one, _stop)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def stopping_signal(error: BaseException | None) -> int:
    """Return the number of the signal that led to ``error``; Ctrl-C's where none did."""
    while error is not None:
        if isinstance(error, Terminated):
            return error.number
        error = error.__context__
    return signal.SIGINT


def _stop(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # whoever asks twice lets what is begun be cleared away
    raise Terminated(number)
