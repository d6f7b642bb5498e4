"""``drupe`` commands as copies of a process that has loaded PyTorch: a tenth of a second each.

Each begins in a session, a folder and an environment of its own, with what a hostile machine does
to it: files that can't grow beyond a size, as on a full disk.
"""

from __future__ import annotations

import contextlib
import os
import resource
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO, TextIOWrapper
from pathlib import Path

import drupe.deployment.graph
import drupe.training.run  # noqa: F401  (loaded once, for all commands)

HANGS_AFTER = 120.0
"""Seconds."""

MARK = "DRUPE_CAMPAIGN_CASE"
"""Variable by which processes that a command has started are found."""


@dataclass(frozen=True)
class Finished:
    """How a command ended; ``code`` is None where it had to be killed, negative for a signal."""

    words: tuple[str, ...]
    code: int | None
    seconds: float
    stdout: str
    stderr: str

    @property
    def has_traceback(self) -> bool:
        """True where it ended with a traceback, or with exit code 3, which writes one."""
        return self.code == 3 or "Traceback (most recent call last)" in self.stderr


class Command:
    """A command that runs."""

    def __init__(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        largest_file: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.words = tuple(map(str, words))
        self.started = time.monotonic()
        # Pipes: what is said must get through when files can't grow.
        self._said = [os.pipe(), os.pipe()]
        self._heard = [b"", b""]
        self.pid = os.fork()
        if self.pid == 0:
            self._be(folder, largest_file, dict(environment or {}))
        for reader, writer in self._said:
            os.close(writer)
            os.set_blocking(reader, False)

    def _be(self, folder: Path, largest_file: int | None, environment: dict[str, str]) -> None:
        code = 120
        try:
            os.setsid()
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for place, (_, writer) in enumerate(self._said, start=1):
                os.dup2(writer, place)
                os.close(writer)
            sys.stdout, sys.stderr = (
                TextIOWrapper(FileIO(place, "w", closefd=False), "utf-8", line_buffering=True)
                for place in (1, 2)
            )
            scratch = folder.parent / "tmp"
            scratch.mkdir(exist_ok=True)
            os.environ.update({"TERM": "dumb", "COLUMNS": "80", MARK: str(folder), **environment})
            os.environ["TMPDIR"] = str(scratch)
            tempfile.tempdir = str(scratch)  # found by writing otherwise
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if largest_file is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            sys.argv = ["drupe", *self.words]
            runpy.run_module("drupe", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)

    def send(self, number: int) -> None:
        """Send a signal to the command alone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ended(self) -> int | None:
        """Return the exit code once it has ended, None before that."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def wait(self, seconds: float = HANGS_AFTER) -> Finished:
        """Return how it ended; after ``seconds`` it is killed."""
        until = time.monotonic() + seconds
        code = self.ended()
        while code is None and time.monotonic() < until:
            self._listen()
            time.sleep(0.01)
            code = self.ended()
        if code is None:
            self.send(signal.SIGKILL)
            os.waitpid(self.pid, 0)
        spent = time.monotonic() - self.started
        self._listen()
        for reader, _ in self._said:
            os.close(reader)
        out, err = (heard.decode("utf-8", "replace") for heard in self._heard)
        return Finished(self.words, code, spent, out, err)

    def _listen(self) -> None:
        for place, (reader, _) in enumerate(self._said):
            with contextlib.suppress(BlockingIOError):
                while part := os.read(reader, 1 << 16):
                    self._heard[place] += part


def run(words: Sequence[object], folder: Path, **conditions: object) -> Finished:
    """Run a command to its end."""
    return Command(words, folder, **conditions).wait()  # type: ignore[arg-type]


def living_children(folder: Path) -> list[int]:
    """Return the processes that commands of ``folder`` have started and left."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for item in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if item.name.isdigit() and mark in (item / "environ").read_bytes().split(b"\0"):
                found.append(int(item.name))
    return found
