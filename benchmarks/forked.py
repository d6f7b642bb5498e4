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
    """A command that runs; ``said`` is the folder of its output."""

    def __init__(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        largest_file: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.words = tuple(map(str, words))
        self.said = Path(tempfile.mkdtemp(prefix="said-", dir=folder.parent))
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._be(folder, largest_file, dict(environment or {}))

    def _be(self, folder: Path, largest_file: int | None, environment: dict[str, str]) -> None:
        code = 120
        try:
            os.setsid()
            os.chdir(folder)
            written = os.O_WRONLY | os.O_CREAT
            for place, (name, flags) in enumerate(
                ((os.devnull, os.O_RDONLY), *((self.said / one, written) for one in ("out", "err")))
            ):
                os.dup2(os.open(name, flags, 0o600), place)
            sys.stdout, sys.stderr = (
                TextIOWrapper(FileIO(place, "w", closefd=False), "utf-8", line_buffering=True)
                for place in (1, 2)
            )
            scratch = folder.parent / "tmp"
            scratch.mkdir(exist_ok=True)
            environment |= {
                "TERM": "dumb",
                "COLUMNS": "80",
                "TMPDIR": str(scratch),
                MARK: str(folder),
            }
            os.environ.update(environment)
            tempfile.tempdir = None
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
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
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
            time.sleep(0.01)
            code = self.ended()
        if code is None:
            self.send(signal.SIGKILL)
            os.waitpid(self.pid, 0)
        spent = time.monotonic() - self.started
        said = ((self.said / name).read_text("utf-8", "replace") for name in ("out", "err"))
        return Finished(self.words, code, spent, *said)


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
