"""``drupe`` commands in processes that have loaded PyTorch before they are asked for.

Loading takes seconds, as long as a small run. Where the system can fork, one process loads
everything once and every command begins as its copy (:mod:`multiprocessing`'s fork server), before
it has touched a GPU or started a thread. Elsewhere each command loads for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from drupe.errors import DrupeError
from drupe.host import share_cores
from drupe.study.execution.child import hear_signals

if TYPE_CHECKING:
    from multiprocessing.context import SpawnContext

LOADED = ("drupe.training.run", "drupe.deployment.graph")
"""Modules that every copy starts with. None of them looks for a GPU when it is imported, or starts
threads other than OpenBLAS's, which knows of forks; ONNX Runtime and Polars would.
"""
_CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
_CONTEXT = cast("SpawnContext", multiprocessing.get_context("forkserver" if _CAN_FORK else "spawn"))
SERVER_TRIES = 50
"""At 0.1 s each: what a killed server may take to be cleared away. A start takes one."""
_SERVER_DIED = 255
"""Exit code that multiprocessing gives when the process that knows the true one was killed."""


class CommandProcess:
    """``drupe WORDS…`` in a process of its own, started at once.

    stdout and stderr are written to files, ``log`` at its end. The process ends when this one
    does, however it does.
    """

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], log: Path, output: Path
    ) -> None:
        share_cores()
        _CONTEXT.set_forkserver_preload(list(LOADED))
        self._process = _CONTEXT.Process(
            target=_run_command,
            args=(tuple(words), dict(environment), str(log), str(output)),
            daemon=True,  # ended, not waited for, when this process ends in disorder
        )
        if _CAN_FORK:
            resource_tracker.ensure_running()  # the server's start would, and unblock SIGINT
        # What is blocked is inherited: Ctrl-C in a terminal ends this process alone.
        with _WithoutMain(), _BlockedInterrupt():
            self._start()

    def _start(self) -> None:
        """Start, with another server if the last one was killed and is still being cleared away.

        Raises:
            DrupeError: the server ended while it was loading.
        """
        try:
            self._start_with_server()
        except EOFError:
            raise DrupeError(
                f"a process that loads {', '.join(LOADED)} for all runs ended before it had: "
                "what it said stands above; was it killed for memory?"
            ) from None

    def _start_with_server(self) -> None:
        for _ in range(SERVER_TRIES - 1):
            try:
                self._process.start()
                return
            except ConnectionError:
                time.sleep(0.1)
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for a signal."""
        code: int | None = self._process.exitcode
        return -signal.SIGKILL if code == _SERVER_DIED else code

    def interrupt(self) -> None:
        """Tell it to stop, as Ctrl-C would."""
        os.kill(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()

    @staticmethod
    def wait_for_any(processes: Sequence[CommandProcess], seconds: float) -> None:
        """Return when one has ended, or after ``seconds``."""
        wait([one._process.sentinel for one in processes], seconds)


class _BlockedInterrupt:
    """While it lasts, SIGINT waits, for this process and for those that it starts."""

    def __enter__(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            self.before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))

    def __exit__(self, *_: object) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self.before)


class _WithoutMain:
    """While it lasts, no script is the main module: a process started would run it anew.

    A command needs nothing of it; a script that runs a study would run it in each of its runs.
    """

    def __enter__(self) -> None:
        self.before = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")

    def __exit__(self, *_: object) -> None:
        sys.modules["__main__"] = self.before


def _run_command(
    words: Sequence[str], environment: Mapping[str, str], log: str, output: str
) -> None:
    """Run ``drupe WORDS…`` here; its exit code becomes that of the process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if hasattr(os, "setsid"):
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # forgets what the terminal sent so far
    appended = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    written = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for place, (file, flags) in enumerate(
        ((os.devnull, os.O_RDONLY), (output, written), (log, appended))
    ):
        opened = os.open(file, flags, 0o666)
        os.dup2(opened, place)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    hear_signals()
    sys.argv = ["drupe", *words]
    runpy.run_module("drupe", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    """Wait for the process that asked for this one to be gone, and go at once."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
