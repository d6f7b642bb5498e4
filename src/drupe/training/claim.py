"""The right to use a run directory: one process at a time, for one run, for ever."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from drupe.configuration import changes, flatten
from drupe.errors import InputError
from drupe.runs.layout import RunFolder, is_leftover
from drupe.runs.record import TRAINING_VERSION, RunRecord, read_record
from drupe.training.config import NOT_IDENTITY, ExperimentConfig, written_settings

READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

LOOK_SECONDS = 0.5
"""The wait for a held lock: whoever asks whether a run goes on holds it for a moment."""


def check_store(store: Path) -> None:
    """Refuse a store that can't be a folder."""
    if store.exists() and not store.is_dir():
        raise InputError(f"{store}: the store must be a folder that can be written to, got a file")


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the operating system lets go when the process dies.

    Where nothing gets written, the folders made for it are removed again. A finished run that
    can only be read needs no lock: nobody can be working on it.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: must be a folder for the run, got a file")
    made = [item for item in (folder, *folder.parents) if not item.exists()]
    _make(folder)
    lock = FileLock(RunFolder(folder).lock)
    try:
        _acquire(lock)
    except Timeout:
        raise InputError(f"{folder}: another process is working on this run") from None
    except OSError as error:
        record = read_record(folder)
        if error.errno not in READ_ONLY or record is None or record.status != "done":
            raise
    try:
        yield
    finally:
        if lock.is_locked:
            _remove(lock)
        _remove_empty(made)


def _make(folder: Path) -> None:
    """Make ``folder``, also while another process removes it: see :func:`_remove_empty`."""
    while not folder.is_dir():
        with suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
        if folder.is_file():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def _acquire(lock: FileLock) -> None:
    """Take ``lock``, and make sure that its file is still the one that others would take.

    The holder before may have removed the file between our opening it and his letting go: then we
    hold a file that no path leads to, and somebody else could hold the new one.
    """
    while True:
        with suppress(FileNotFoundError):  # the holder before has just removed a folder of his own
            lock.acquire(timeout=LOOK_SECONDS)
            if _is_in_place(lock):
                return
            lock.release()
        _make(Path(lock.lock_file).parent)


def _is_in_place(lock: FileLock) -> bool:
    held = lock._context.lock_file_fd
    assert held is not None
    try:
        return os.path.samestat(os.fstat(held), Path(lock.lock_file).stat())
    except FileNotFoundError:
        return False


def _remove(lock: FileLock) -> None:
    """Remove the lock's file while it is held, then let go: see :func:`_acquire`."""
    path = Path(lock.lock_file)
    try:
        path.unlink(missing_ok=True)
    except PermissionError:  # Windows removes no open file, and none that another has opened
        lock.release()
        with suppress(OSError):
            path.unlink(missing_ok=True)
    else:
        lock.release()


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # it holds something now
            return


def find_record(folder: Path) -> RunRecord | None:
    """Return the record of the run in ``folder``, None where it is new or empty.

    Raises:
        InputError: the folder holds other files, or a damaged record.
    """
    record = read_record(folder)
    if record is None:
        others = [item.name for item in folder.iterdir() if not is_leftover(item.name)]
        if others:
            raise InputError(
                f"{folder}: must be new or empty, got a folder that holds {', '.join(others[:5])}"
            )
    return record


def claim(
    folder: Path, config: ExperimentConfig, fingerprint: str, resume: bool
) -> RunRecord | None:
    """Check that ``folder`` may hold this run; return the record to resume from, None if new.

    Raises:
        InputError: the folder holds other files or another run, or this one and ``resume`` is off.
    """
    record = find_record(folder)
    if record is None:
        return None
    require_same_run(folder, config, record, fingerprint)
    if not resume:
        state = "finished" if record.status == "done" else "unfinished"
        raise InputError(
            f"{folder}: already holds this run, {state}; add --resume, or choose another --out"
        )
    return record


def require_same_run(
    folder: Path, config: ExperimentConfig, record: RunRecord, fingerprint: str
) -> None:
    """Refuse a ``record`` of another run than ``config`` on the data of ``fingerprint``.

    Raises:
        InputError: it is another; the message names what differs.
    """
    if record.identity != config.identity(fingerprint):
        differences = "; ".join(_differences(folder, config, record, fingerprint))
        raise InputError(
            f"{folder}: already holds another run ({differences}); choose another --out, "
            "or for a study another --store or name"
        )


def _differences(
    folder: Path, config: ExperimentConfig, record: RunRecord, fingerprint: str
) -> list[str]:
    found = []
    if record.imported:
        found.append(f"imported from {record.imported.checkpoint}")
    if record.members:
        found.append(f"an ensemble of {len(record.members)} runs")
    if record.data.fingerprint != fingerprint:
        found.append("data: other images, labels or fixes")
    if record.training_version != TRAINING_VERSION:
        found.append(f"training version: run has {record.training_version}, now {TRAINING_VERSION}")
    old, new = written_settings(folder), flatten(config.model_dump(mode="json"))
    ignored = {"name", "hypothesis", "data.root", *(f"training.{key}" for key in NOT_IDENTITY)}
    for key, before, after in sorted(changes(old, new)):
        if key not in ignored:
            found.append(f"{key}: run has {before}, now {after}")
    return found
