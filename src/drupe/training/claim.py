"""The right to use a run directory: one process at a time, for one run, for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drupe.configuration import changes, flatten
from drupe.errors import InputError
from drupe.files import READ_ONLY
from drupe.locks import HeldError, acquire, make_folder, release
from drupe.runs.layout import RunFolder, is_leftover
from drupe.runs.record import TRAINING_VERSION, RunRecord, read_record
from drupe.training.config import NOT_IDENTITY, ExperimentConfig, written_settings

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
    make_folder(folder)
    lock = None
    try:
        lock = acquire(RunFolder(folder).lock, LOOK_SECONDS)
    except HeldError as held:
        raise InputError(f"{folder}: another process is working on this run{held}") from None
    except OSError as error:
        record = read_record(folder)
        if error.errno not in READ_ONLY or record is None or record.status != "done":
            raise
    try:
        yield
    finally:
        if lock is not None:
            release(lock)
        _remove_empty(made)


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
        if key not in ignored and not key.startswith("tracking."):
            found.append(f"{key}: run has {before}, now {after}")
    return found
