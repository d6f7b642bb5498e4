from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from drupe.errors import InputError
from drupe.runs.layout import RunFolder
from drupe.training.claim import FileLock, Timeout, check_store, exclusive
from drupe.training.run import train_run


@pytest.fixture
def read_only(monkeypatch):
    def acquire(self, timeout):
        raise OSError(errno.EROFS, "Read-only file system", self.lock_file)

    return lambda: monkeypatch.setattr(FileLock, "acquire", acquire)


def test_a_finished_run_that_can_only_be_read_is_done(tiny, store, tmp_path, read_only):
    train_run(tiny(), tmp_path / "run", store)
    read_only()

    assert train_run(tiny(), tmp_path / "run", store, resume=True).already_done


def test_a_new_run_needs_a_folder_to_write_to(tiny, store, tmp_path, read_only):
    read_only()
    with pytest.raises(OSError, match="Read-only file system"):
        train_run(tiny(), tmp_path / "run", store)


def test_a_refused_run_leaves_no_folder(tiny, store, tmp_path):
    config = tiny(data={"root": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match="nowhere"):
        train_run(config, tmp_path / "new" / "run", store)

    assert not (tmp_path / "new").exists()


def test_what_was_there_stays(tmp_path):
    (tmp_path / "run").mkdir()
    with exclusive(tmp_path / "run"):
        pass
    with exclusive(tmp_path / "other"):
        (tmp_path / "other" / "file").touch()

    assert {item.name for item in tmp_path.iterdir()} == {"run", "other"}


def test_one_process_at_a_time(tmp_path):
    with (
        exclusive(tmp_path / "run"),
        pytest.raises(InputError, match="another process is working on this run"),
        exclusive(tmp_path / "run"),
    ):
        pass


def test_a_file_is_no_store(tiny, tmp_path):
    (tmp_path / "store").touch()
    check_store(tmp_path / "new")
    with pytest.raises(InputError, match="store: the store must be a folder that can be written"):
        train_run(tiny(), tmp_path / "run", tmp_path / "store")


def test_a_lock_whose_file_was_removed_by_its_holder_is_taken_anew(tmp_path, monkeypatch):
    """B opens the file, A removes it and lets go, C makes a new one: B must not hold the old."""
    run = tmp_path / "run"
    run.mkdir()
    path = RunFolder(run).lock
    acquire, raced = FileLock.acquire, []

    def acquire_late(self, timeout):
        acquired = acquire(self, timeout=timeout)
        if not raced:  # the holder before removes the file, and another process makes it anew
            path.unlink()
            path.touch()
            raced.append(self)
        return acquired

    monkeypatch.setattr(FileLock, "acquire", acquire_late)
    with exclusive(run):
        other = FileLock(path)
        with pytest.raises(Timeout):
            acquire(other, timeout=0)
    assert raced


def test_many_threads_never_hold_a_run_together(tmp_path):
    holders, most = [], []

    def hold(_: int) -> None:
        try:
            with exclusive(tmp_path / "run"):
                holders.append(1)
                most.append(len(holders))
                time.sleep(0.001)
                holders.pop()
        except InputError:
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(200)))
    assert len(most) > 20
    assert max(most) == 1


def test_a_look_at_the_lock_stops_nobody(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    look = FileLock(RunFolder(run).lock, thread_local=False)
    look.acquire()
    threading.Timer(0.1, look.release).start()
    with exclusive(run):
        pass
