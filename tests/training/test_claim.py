from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.locks import FileLock, Timeout
from drupe.runs.layout import RunFolder
from drupe.training.claim import check_store, claim, exclusive
from drupe.training.config import write_config
from drupe.training.run import train_run
from run_files import write_run

FINGERPRINT = "f" * 64


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


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")
def test_whoever_comes_between_letting_go_and_removing_is_alone(tmp_path, monkeypatch):
    """B takes the lock as soon as A lets go of it; C must not get one as well."""
    run = tmp_path / "run"
    run.mkdir()
    b = FileLock(RunFolder(run).lock)

    class LetsBIn(FileLock):
        def release(self, force: bool = False) -> None:
            super().release(force)
            b.acquire(timeout=0)

    with monkeypatch.context() as patched:
        patched.setattr("drupe.locks.FileLock", LetsBIn)
        with exclusive(run):
            pass
    with pytest.raises(InputError, match="another process"), exclusive(run):
        pass
    b.release()


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is open")
def test_whoever_has_opened_a_file_that_goes_takes_the_next_one(tmp_path, monkeypatch):
    """B has the file open when A removes it and lets go: a lock on it would keep nobody out."""
    run, opened = tmp_path / "run", os.open
    run.mkdir()
    a = exclusive(run)
    a.__enter__()
    files = []

    def open_while_a_ends(path, flags, mode=0o777, **others):
        descriptor = opened(path, flags, mode, **others)
        if not files and Path(path) == RunFolder(run).lock:
            files.append(descriptor)
            a.__exit__(None, None, None)
        return descriptor

    monkeypatch.setattr(os, "open", open_while_a_ends)
    with exclusive(run):
        monkeypatch.undo()
        with pytest.raises(Timeout):
            FileLock(RunFolder(run).lock).acquire(timeout=0)
    assert files
    assert list(run.iterdir()) == []


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


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "run").touch()
    with (
        pytest.raises(InputError, match="run: must be a folder for the run, got a file"),
        exclusive(tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_only_a_finished_run_needs_no_lock(tmp_path, monkeypatch, number):
    def acquire(self, timeout):
        raise OSError(number, os.strerror(number), self.lock_file)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with exclusive(write_run(tmp_path / "done")):
        pass
    for folder in (write_run(tmp_path / "cut", status="interrupted"), tmp_path / "new"):
        with pytest.raises(OSError, match=os.strerror(number)), exclusive(folder):
            pass
    monkeypatch.setattr("drupe.training.claim.READ_ONLY", frozenset())
    with pytest.raises(OSError, match=os.strerror(number)), exclusive(tmp_path / "done"):
        pass


def test_what_a_dead_run_left_behind_is_no_content(tiny, tmp_path):
    for name in (".lock", "config.yaml", ".run.json.abc.tmp"):
        (tmp_path / name).touch()

    assert claim(tmp_path, tiny(), FINGERPRINT, resume=False) is None


def test_a_folder_with_other_files_is_refused(tiny, tmp_path):
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match=r"must be new or empty, .* that holds holiday\.jpg"):
        claim(tmp_path, tiny(), FINGERPRINT, resume=True)


@pytest.mark.parametrize(("status", "state"), [("done", "finished"), ("running", "unfinished")])
def test_this_run_is_continued_only_when_asked(tiny, tmp_path, status, state):
    config = tiny()
    write_run(tmp_path, status=status, identity=config.identity(FINGERPRINT))

    record = claim(tmp_path, config, FINGERPRINT, resume=True)
    assert record is not None
    assert record.status == status
    with pytest.raises(InputError, match=f"already holds this run, {state}; add --resume"):
        claim(tmp_path, config, FINGERPRINT, resume=False)


def test_another_run_is_refused_and_every_difference_named(tiny, tmp_path):
    write_run(tmp_path, fingerprint="e" * 64)
    write_config(tmp_path, tiny(training={"epochs": 3, "precision": "fp32"}))

    with pytest.raises(InputError) as refused:
        claim(tmp_path, tiny(name="other", input={"crop": 32}), FINGERPRINT, resume=True)

    assert str(refused.value) == (
        f"{tmp_path}: already holds another run (data: other images, labels or fixes; "
        "input.crop: run has none, now 32; training.epochs: run has 3, now 2); choose another "
        "--out, or for a study another --store or name"
    )
