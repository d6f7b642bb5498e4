"""Temporary files and folders that say whose they are, so that those of killed writers can go.

``.NAME.HOST-PID-RANDOM.tmp`` stands beside the file NAME that it is to become. HOST is a hash of
the machine, of the time since when it has run, and of its process namespace: containers count
processes each for itself. The next command that writes into the folder removes what a process of
this HOST has left that runs no more, and whatever is older than a week.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

SUFFIX = ".tmp"
FORGOTTEN_SECONDS = 7 * 24 * 3600
"""Without a change for so long, a temporary file of any machine is nobody's."""

LONGEST_NAME = 150
"""Bytes of NAME that are kept: the whole must be a file's name too (255 bytes)."""

_OURS = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]+)-[a-z0-9_]{8}\.tmp", re.DOTALL)
_swept: set[str] = set()


def temporary_file(path: Path) -> Path:
    """Make an empty file beside ``path``, readable by its owner; sweep the folder first."""
    sweep(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=prefix_of(path), suffix=SUFFIX)
    os.close(handle)
    return Path(name)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path``, which goes at the end unless it was moved away."""
    sweep(path.parent)
    made = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix_of(path), suffix=SUFFIX))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def prefix_of(path: Path) -> str:
    """Return how the names of this process's temporary files for ``path`` begin."""
    name = os.fsencode(path.name)[:LONGEST_NAME].decode(errors="ignore")
    return f".{name}.{_host()}-{os.getpid()}-"


def sweep(folder: Path) -> None:
    """Remove what killed writers have left in ``folder``, once per process and folder."""
    place = os.path.realpath(folder)
    if place in _swept:
        return
    _swept.add(place)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in [one for one in entries if _is_leftover(one)]:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108 (an entry, not a path)


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    found = _OURS.fullmatch(entry.name)
    if found is None:
        return False
    if found[1] == _host():
        return not _is_alive(int(found[2]))
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > FORGOTTEN_SECONDS
    except OSError:
        return False


def _is_alive(pid: int) -> bool:
    if os.name == "nt":  # a signal of 0 would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's; no number of a process
        return True
    return True


@cache
def _host() -> str:
    """Return eight hexadecimal digits for the processes among which a number means one."""
    marks = [platform.node()]
    with contextlib.suppress(OSError):
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
    with contextlib.suppress(OSError):
        marks.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:8]
