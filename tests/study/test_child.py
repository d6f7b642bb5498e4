"""What a run's process inherits from whoever starts it, and must not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drupe.study.child import STOPPING


def start(fifo: Path, before: Callable[[], object]) -> subprocess.Popen[bytes]:
    """Start a job that waits for ever: it reads a study from a pipe that nobody writes to."""
    command = [sys.executable, "-m", "drupe.study.child", str(os.getpid()), "study", "status"]
    return subprocess.Popen(
        [*command, str(fifo)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=before
    )


def block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def ignore() -> None:
    for one in STOPPING:
        signal.signal(one, signal.SIG_IGN)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("before", [block, ignore])
@pytest.mark.parametrize("one", STOPPING)
def test_a_run_hears_what_its_starter_does_not(tmp_path, before, one) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = start(fifo, before)
    # Opening waits for the job to have come so far: past its own settings.
    writing = os.open(fifo, os.O_WRONLY)
    try:
        process.send_signal(one)
        process.communicate(timeout=60)
    finally:
        os.close(writing)
        process.kill()

    assert process.returncode in (-one, 128 + one, 130)
