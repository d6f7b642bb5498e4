"""``run.json`` and ``config.yaml``: what a run directory says of itself, and who may use it.

A run directory belongs to one identity (configuration + data + ``TRAINING_VERSION``) for ever.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from drupe.configuration import read_yaml, validate
from drupe.errors import InputError
from drupe.files import read_json, write_json, write_text
from drupe.training.config import NOT_IDENTITY, TRAINING_VERSION, ExperimentConfig

LIBRARIES = ("drupe", "numpy", "pillow", "safetensors", "scipy", "timm", "torch")


class DataRecord(BaseModel):
    """Which data a run saw: counts of images per split, and files left out with their reasons."""

    fingerprint: str
    classes: tuple[str, str]
    fit: int
    calibration: int
    test: int
    dropped: int
    skipped: list[tuple[str, str]]


class RunRecord(BaseModel):
    """The content of ``run.json``. Times are UTC (ISO 8601), durations seconds."""

    model_config = ConfigDict(extra="ignore", validate_assignment=True)

    status: Literal["running", "interrupted", "failed", "done"]
    experiment: str
    seed: int
    identity: str
    training_version: int = TRAINING_VERSION
    data: DataRecord
    crop: int | None
    weights: dict[str, Any] | None
    device: str
    processes: int
    versions: dict[str, str]
    host: dict[str, str]
    started: str
    finished: str | None = None
    train_seconds: float | None = None
    judge_seconds: float | None = None
    error: str | None = None

    def write(self, folder: Path) -> None:
        """Write ``run.json`` in ``folder`` atomically."""
        write_json(folder / "run.json", self.model_dump(mode="json"))


def now() -> str:
    """Return the time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def library_versions() -> dict[str, str]:
    """Return the version of Python and of every library whose numerics a run depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def host_description() -> dict[str, str]:
    """Return what identifies the host: name, system and machine type."""
    return {"name": platform.node(), "system": platform.platform(), "machine": platform.machine()}


def read_record(folder: Path) -> RunRecord | None:
    """Return the record of the run in ``folder``, or None where there is none."""
    path = folder / "run.json"
    return validate(RunRecord, read_json(path), str(path)) if path.exists() else None


def write_config(folder: Path, config: ExperimentConfig) -> None:
    """Write ``config.yaml``, every default spelled out."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(folder / "config.yaml", text)


def read_config(folder: Path) -> ExperimentConfig:
    """Read the resolved configuration of the run in ``folder``."""
    path = folder / "config.yaml"
    return validate(ExperimentConfig, read_yaml(path), str(path))


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for this process; the operating system lets go when the process dies."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: must be a folder for the run, got a file")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another process is working on this run") from None
    try:
        yield
    finally:
        lock.release()
        (folder / ".lock").unlink(missing_ok=True)


def claim(
    folder: Path, config: ExperimentConfig, fingerprint: str, resume: bool
) -> RunRecord | None:
    """Check that ``folder`` may hold this run; return the record to resume from, None if new.

    Raises:
        InputError: the folder holds other files or another run, or this one and ``resume`` is off.
    """
    record = read_record(folder)
    if record is None:
        others = [item.name for item in folder.iterdir() if not _is_leftover(item.name)]
        if others:
            raise InputError(
                f"{folder}: must be new or empty, got a folder that holds {', '.join(others[:5])}"
            )
        return None
    if record.identity != config.identity(fingerprint):
        differences = "; ".join(_differences(folder, config, record, fingerprint))
        raise InputError(
            f"{folder}: already holds another run ({differences}); choose another --out"
        )
    if not resume:
        state = "finished" if record.status == "done" else "unfinished"
        raise InputError(
            f"{folder}: already holds this run, {state}; add --resume, or choose another --out"
        )
    return record


def _is_leftover(name: str) -> bool:
    """Whether a run that died before its record was written leaves such a file."""
    return name in {".lock", "config.yaml"} or (name.startswith(".") and name.endswith(".tmp"))


def _differences(
    folder: Path, config: ExperimentConfig, record: RunRecord, fingerprint: str
) -> list[str]:
    found = []
    if record.data.fingerprint != fingerprint:
        found.append("data: other images, labels or fixes")
    if record.training_version != TRAINING_VERSION:
        found.append(f"training version: run has {record.training_version}, now {TRAINING_VERSION}")
    old, new = _flat(read_yaml(folder / "config.yaml")), _flat(config.model_dump(mode="json"))
    ignored = {"name", "hypothesis", "data.root", *(f"training.{key}" for key in NOT_IDENTITY)}
    for key in sorted((old.keys() | new.keys()) - ignored):
        if old.get(key) != new.get(key):
            found.append(f"{key}: run has {old.get(key)}, now {new.get(key)}")
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def discard_checkpoint(folder: Path) -> None:
    """Remove ``checkpoint/``: it exists only while a run is unfinished."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
