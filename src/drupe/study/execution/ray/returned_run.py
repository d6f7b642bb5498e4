"""A run directory that was written elsewhere takes its place in the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from drupe.errors import InputError
from drupe.files import replacing
from drupe.leftovers import temporary_folder
from drupe.runs.layout import CONFIG_FILE, EPOCHS_FILE, RECORD_FILE
from drupe.runs.record import read_record
from drupe.study.definition.plan import Task
from drupe.study.execution.ray.file_chunks import Get, Parcel, files_below, unpack
from drupe.training.config import read_config, write_config

LIVE_FILES = (CONFIG_FILE, RECORD_FILE, EPOCHS_FILE)
"""The files that show how far a run is, in the order in which they are to be written."""


def state_so_far(task: Task) -> list[tuple[str, Path]]:
    """Return the files of an unfinished run, from which it goes on anywhere; none if it is new."""
    return list(files_below(task.folder)) if read_record(task.folder) is not None else []


def show_progress(task: Task, files: Mapping[str, bytes]) -> None:
    """Write what a run has just said of itself where progress is read: in its run directory."""
    for name, content in files.items():
        with replacing(task.folder / name) as temporary:
            temporary.write_bytes(content)
        if name == CONFIG_FILE:
            _localise(task, task.folder)


def install(task: Task, artefacts: Parcel, get: Get, fingerprint: str) -> None:
    """Put what a run wrote into its run directory, whole or not at all.

    Raises:
        InputError: it is another run, because the node saw other data.
    """
    if not artefacts.count:
        return
    assert task.config is not None
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(task.folder) as temporary:
        arrived, before = temporary / "arrived", temporary / "before"
        unpack(artefacts, arrived, get)
        record = read_record(arrived)
        if record is None:
            return
        if record.identity != task.config.identity(fingerprint):
            raise InputError(
                f"{task.name}: the node trained on other data or another configuration"
            )
        _localise(task, arrived)
        if task.folder.exists():
            task.folder.replace(before)
        arrived.replace(task.folder)


def _localise(task: Task, folder: Path) -> None:
    """Name the data's folder here in ``config.yaml``, not the node's: it is read again later."""
    assert task.config is not None
    written = read_config(folder)
    data = written.data.model_copy(update={"root": task.config.data.root})
    write_config(folder, written.model_copy(update={"data": data}))
