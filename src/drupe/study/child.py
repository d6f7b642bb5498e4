"""Runs ``drupe WORDS…`` in this process, which ends when the one that started it does.

``python -m drupe.study.child WORDS…``. A study that is killed must leave no run behind: the next
attempt would find its folders taken, and the processor busy.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""Of prctl(2); the setting outlives exec."""


def main() -> None:
    """Ask the kernel for a signal at the parent's end (Linux only), then become ``drupe``."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it has ended already
            sys.exit(1)
    os.execv(sys.executable, [sys.executable, "-m", "drupe", *sys.argv[1:]])


if __name__ == "__main__":
    main()
