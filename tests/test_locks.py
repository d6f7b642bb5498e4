from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from drupe import locks
from drupe.locks import HeldError, is_held, locked, marker

HOLDS = """
import sys, time
from pathlib import Path
from drupe.locks import acquire
import filelock
if sys.argv[2] == "without":
    import errno
    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")
    filelock.FileLock.acquire = refuse
lock = acquire(Path(sys.argv[1]), 0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["with", "without"])
def drive(request, monkeypatch) -> str:
    """A drive with the system's locks, and one that has none."""
    if request.param == "without":

        def refuse(self, *_, **__) -> None:
            Path(self.lock_file).touch()  # it is opened before it is locked
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(FileLock, "acquire", refuse)
    return request.param


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".lock"


def test_one_at_a_time_and_nothing_is_left(drive, path) -> None:
    with locked(path, 0):
        assert is_held(path)
        with pytest.raises(HeldError), locked(path, 0):
            pass
    assert not is_held(path)
    assert list(path.parent.iterdir()) == []


def test_many_threads_never_hold_it_together(drive, path) -> None:
    holders, most = [], []

    def hold(_: int) -> None:
        with locked(path):
            holders.append(1)
            most.append(len(holders))
            time.sleep(0.001)
            holders.pop()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(hold, range(60)))
    assert most == [1] * 60
    assert list(path.parent.iterdir()) == []


def test_whoever_waits_gets_it(drive, path) -> None:
    taken = threading.Event()

    def hold() -> None:
        with locked(path, 0):
            taken.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(5)
    with locked(path, 5):
        pass
    thread.join()


def test_a_killed_holder_holds_nothing(drive, path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS, path, drive], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert is_held(path)
    with pytest.raises(HeldError), locked(path, 0):
        pass
    holder.kill()
    holder.wait()

    assert not is_held(path)
    with locked(path, 5):
        pass
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("number", sorted({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}))
def test_every_answer_of_a_drive_without_locks(path, monkeypatch, number) -> None:
    def refuse(self, *_, **__) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked(path, 0):
        assert marker(path).exists()


def test_a_holder_on_another_machine_is_named_with_what_to_do(path, monkeypatch) -> None:
    """Whether it still runs can't be told from here."""

    def refuse(self, *_, **__) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with locked(path, 0):
        own = marker(path).read_text()
    assert own.split("\n")[:2] == [str(os.getpid()), socket.gethostname()]
    marker(path).write_text(own.replace(socket.gethostname(), "line-3"))

    with pytest.raises(HeldError) as held, locked(path, 0):
        pass
    assert str(held.value) == (
        f" (process {os.getpid()} on line-3; if that isn't so, delete {marker(path)})"
    )
    assert is_held(path)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO, errno.ENOSPC])
def test_any_other_error_names_the_file(path, monkeypatch, number) -> None:
    def refuse(self, *_, **__) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught, locked(path, 0):
        pass
    assert caught.value.filename == str(path)
    assert not is_held(path)
    assert locks.NO_LOCKS.isdisjoint({number})
