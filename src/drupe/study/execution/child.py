"""Runs ``drupe WORDS…`` in this process, which ends when the one that started it does.

``python -m drupe.study.execution.child PARENT WORDS…``, PARENT being the process id of the
starter. A study that is killed must leave no run behind: the next attempt would find its folders
taken, and the processor busy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""Of prctl(2); the setting outlives exec."""
STOPPING = (signal.SIGINT, signal.SIGTERM)
"""The signals that end a run in order."""


def main() -> None:
    """Ask the kernel for a signal at the parent's end (Linux only), then become ``drupe``."""
    parent, words = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before it could be asked for
            sys.exit(1)
    hear_signals()
    os.execv(sys.executable, [sys.executable, "-m", "drupe", *words])


def hear_signals() -> None:
    """Let Ctrl-C and SIGTERM do what they do in any program.

    What the starter ignores or blocks is inherited: whoever was started in the background ignores
    Ctrl-C, and a worker of a Ray cluster blocks it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


if __name__ == "__main__":
    main()
