"""What a process inherits from whoever starts it, and must not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from drupe.study.execution.child import STOPPING
from processes import all_gone


@pytest.mark.skipif(sys.platform != "linux", reason="a kernel's promise")
def test_a_command_ends_with_the_process_that_started_it(tmp_path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # A command that waits for ever: it reads a study from a pipe that nobody writes to.
    code = f"""
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "drupe.study.execution.child", str(os.getpid()),
                          "study", "status", {str(fifo)!r}])
print(child.pid, flush=True)
time.sleep(60)
"""
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    time.sleep(0.5)
    starter.kill()
    starter.communicate()

    assert all_gone([pid])


def test_a_command_whose_starter_has_gone_does_not_begin(tmp_path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    command = [sys.executable, "-m", "drupe.study.execution.child", str(gone.pid), "--version"]

    done = subprocess.run(command, capture_output=True, check=False)

    assert done.returncode == (1 if sys.platform == "linux" else 0)


def block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def ignore() -> None:
    for one in STOPPING:
        signal.signal(one, signal.SIG_IGN)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(("before", "one"), list(zip((block, ignore), STOPPING, strict=True)))
def test_a_command_hears_what_its_starter_does_not(tmp_path, before, one) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    words = ("drupe.study.execution.child", str(os.getpid()), "study", "status", str(fifo))
    process = subprocess.Popen(
        [sys.executable, "-m", *words], stderr=subprocess.PIPE, preexec_fn=before
    )
    # Opening waits for the command to have come so far: past its own settings.
    writing = os.open(fifo, os.O_WRONLY)
    try:
        process.send_signal(one)
        process.communicate(timeout=60)
    finally:
        os.close(writing)
        process.kill()

    assert process.returncode in (-one, 128 + one)
