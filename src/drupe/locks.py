"""One process at a time: the lock that everything takes which mustn't be done twice at once.

Where the drive has locks it is the operating system's, which lets go when its holder dies. Some
network drives have none; there a marker file names its holder (filelock's soft lock): one whose
process is gone from this machine is taken over, and a message names the others.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What a drive without locks answers."""

MARKER_SUFFIX = ".held"


class HeldError(Exception):
    """Somebody else holds the lock; the text says who and where, as far as that is known."""


@contextmanager
def locked(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock at ``path`` meanwhile; it leaves no file. As :func:`acquire`."""
    lock = acquire(path, timeout)
    try:
        yield
    finally:
        release(lock)


def acquire(path: Path, timeout: float = -1) -> BaseFileLock:
    """Take the lock at ``path``, waiting up to ``timeout`` seconds; negative: as long as it takes.

    Raises:
        HeldError: somebody else held it all the time.
        OSError: its file can't be written; it is named.
    """
    try:
        return _native(path, timeout)
    except Timeout:
        raise HeldError("") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            error.filename = error.filename or str(path)
            raise
    with suppress(OSError):
        path.unlink()  # what was to be locked, and couldn't
    return _soft(marker(path), timeout)


def release(lock: BaseFileLock) -> None:
    """Let go of what :func:`acquire` returned; nothing is left of it."""
    if isinstance(lock, SoftFileLock):
        lock.release()
    else:
        _remove(lock)


def is_held(path: Path) -> bool:
    """Return whether somebody holds the lock at ``path`` now; a dead process holds none."""
    if not path.exists() and not marker(path).exists():
        return False
    try:
        release(acquire(path, 0))
    except HeldError:
        return True
    except OSError:  # a drive that can only be read: nobody works there
        return False
    return False


def marker(path: Path) -> Path:
    """Return the file that stands for the lock at ``path`` on a drive without locks."""
    return path.with_name(path.name + MARKER_SUFFIX)


def make_folder(folder: Path) -> None:
    """Make ``folder``, also while another process removes it because it is empty."""
    while not folder.is_dir():
        with suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
        if folder.is_file():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _native(path: Path, timeout: float) -> BaseFileLock:
    """Take the system's lock, and make sure that its file is still the one that others would take.

    The holder before may have removed the file between our opening it and his letting go: then we
    hold a file that no path leads to, and somebody else could hold the new one.
    """
    lock = FileLock(path)
    while True:
        with suppress(FileNotFoundError):  # the holder before has just removed a folder of his own
            lock.acquire(timeout=timeout)
            if _is_in_place(lock):
                return lock
            lock.release()
        make_folder(path.parent)


def _soft(path: Path, timeout: float) -> BaseFileLock:
    lock = SoftFileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise HeldError(f" ({_holder(path)}; if that isn't so, delete {path})") from None
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    return lock


def _holder(path: Path) -> str:
    """Return whom a marker names: filelock writes a line with the process, one with the host."""
    try:
        process, host, *_ = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except (OSError, ValueError):
        return "it doesn't say who it is"
    return f"process {process} on {host}"


def _is_in_place(lock: BaseFileLock) -> bool:
    held = lock._context.lock_file_fd
    assert held is not None
    try:
        return os.path.samestat(os.fstat(held), Path(lock.lock_file).stat())
    except FileNotFoundError:
        return False


def _remove(lock: BaseFileLock) -> None:
    """Remove the lock's file while it is held, then let go: see :func:`_native`."""
    path = Path(lock.lock_file)
    try:
        path.unlink(missing_ok=True)
    except PermissionError:  # Windows removes no open file, and none that another has opened
        lock.release()
        with suppress(OSError):
            path.unlink(missing_ok=True)
    else:
        lock.release()
