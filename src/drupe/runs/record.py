"""``run.json``: what a run directory says of itself.

A run directory belongs to one identity (configuration + data + ``TRAINING_VERSION``) for ever.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from drupe.configuration import validate
from drupe.errors import InputError
from drupe.files import read_json, write_json
from drupe.host import host_description, installed_versions
from drupe.runs.graph_record import GraphRecord
from drupe.runs.items import ItemChanges
from drupe.runs.layout import RunFolder
from drupe.runs.training_overlap import Overlap, Seen
from drupe.sides import Size

TRAINING_VERSION = 2
"""Raised when the same configuration would give other weights; part of a run's identity."""

LIBRARIES = ("drupe", "numpy", "pillow", "safetensors", "scipy", "timm", "torch")


class FixesRecord(BaseModel):
    """The fixes that a run's data had: counts of images left out, relabelled, found as ``moved``.

    unmatched: the path, the change and why it couldn't be made. revision: the name of the labels'
    state, None in records of earlier versions. suspects: by split, the images among them that were
    looked at because a model disagreed with their label.
    """

    excluded: int = 0
    relabelled: int = 0
    moved: int = 0
    unmatched: list[dict[str, str]] = []
    revision: str | None = None
    suspects: dict[str, int] = {}

    def doubt(self, split: str) -> str | None:
        """Say why nothing is proven on the labels of ``split``, None where it may be."""
        count = self.suspects.get(split, 0)
        if not count:
            return None
        labels = "label was" if count == 1 else "labels were"
        return (
            f"{count:,} {split} {labels} changed because a model disagreed, which favours models "
            "like it"
        )


class DataRecord(BaseModel):
    """The data that a run saw: counts of images per split, and files left out with their reasons.

    ``calibration`` counts the items of ``predictions/calibration.csv``. ``approximate`` says why
    they give no exact guarantee, if they don't: cross-fitting wrote them. ``passed_over``: files in
    the folder that aren't taken as images, by reason; ``fixes``: what became of the fixes, None in
    records of earlier versions; ``notes``: what isn't as usual about the data.
    """

    fingerprint: str
    classes: tuple[str, str]
    fit: int
    calibration: int
    test: int
    dropped: int
    skipped: list[tuple[str, str]]
    approximate: str | None = None
    passed_over: list[dict[str, Any]] = []
    fixes: FixesRecord | None = None
    notes: list[str] = []


class ImportRecord(BaseModel):
    """The origin of an imported network, how its weights were read, and what it has seen.

    sha256 (hex) of the checkpoint's bytes; key: place of the state dict in it; names: whose names
    its tensors had; outputs, dtype: as they were; class_order: the class of each output; left:
    names of tensors that stood beside the network's. graph: of an ONNX file, how it is run; its
    ``class_order`` is clean and defect, and ``positive`` says what the outputs mean.
    """

    checkpoint: str
    sha256: str
    key: str | None
    names: Literal["timm", "torchvision", "onnx"]
    outputs: int
    dtype: str
    class_order: tuple[str, str]
    flushed_weights: int
    left: tuple[str, ...] = ()
    graph: GraphRecord | None = None
    seen: Seen

    @property
    def temperature(self) -> float | None:
        """The temperature to keep, None where one can be fitted on the calibration items.

        Where the network has learnt from them it can't: 1 leaves the scores as they are.
        """
        return 1.0 if self.seen.in_sample else None


class TeacherRecord(BaseModel):
    """The networks that gave a run its soft targets.

    architectures, temperatures: of each recipe; runs: identities of the networks, each asked about
    a fold of fit that it hadn't seen; items: fit items with such a target; contradicted: those
    whose label the teacher finds less likely than the other one.
    """

    architectures: list[str]
    runs: list[str]
    temperatures: list[float]
    share: float
    items: int
    contradicted: int


class AncestorRecord(BaseModel):
    """The run that gave another one its first weights.

    weights: their SHA-256 (hex); learnt: what it has learnt from, against this run's data, where
    calibration and test items among them were left out; joined: fit items that are new to it;
    gone: files that it has learnt from and that this data doesn't have.
    """

    run: str
    weights: str
    learnt: Overlap
    joined: int
    gone: int


class AugmentRecord(BaseModel):
    """The augmentation that a run was given as Python code, so that no file alone can train it.

    name: of the function, with its module; sha256 (hex): of its source and the values that it
    uses; source: its own, for a reader.
    """

    name: str
    sha256: str
    source: str

    @property
    def note(self) -> str:
        """What it means for who wants the run again."""
        return (
            f"augmented by {self.name} ({self.sha256[:12]}), which was given in Python: "
            "config.yaml alone can't train this run again"
        )


class MemberRecord(BaseModel):
    """A network of an ensemble: the run that it comes from, by name and folder as it was given.

    identity: the run's; weights: SHA-256 (hex) of its ``model.safetensors``; temperature: what its
    logits are divided by before they are averaged.
    """

    run: str
    folder: str
    architecture: str
    identity: str
    weights: str
    temperature: float


class RunRecord(BaseModel):
    """The content of ``run.json``. Times are UTC (ISO 8601), durations seconds.

    ``imported`` is None for a run that was trained here. ``members`` are those of an ensemble:
    there are none where one network decides. ``changes``: of the items since an earlier run.
    ``results``: SHA-256 (hex) of the files that belong together (see :mod:`drupe.runs.results`),
    None until the run is done and in records of earlier versions.
    """

    model_config = ConfigDict(extra="ignore", validate_assignment=True)

    status: Literal["running", "interrupted", "failed", "done"]
    experiment: str
    seed: int
    identity: str
    training_version: int = TRAINING_VERSION
    data: DataRecord
    crop: Size | None
    resolution: Size | None = None
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
    imported: ImportRecord | None = None
    teacher: TeacherRecord | None = None
    ancestor: AncestorRecord | None = None
    augment: AugmentRecord | None = None
    members: tuple[MemberRecord, ...] = ()
    changes: ItemChanges | None = None
    results: dict[str, str] | None = None

    @property
    def has_seed(self) -> bool:
        """Whether its seed says anything: of a network from elsewhere it is seldom known."""
        return self.imported is None and not self.members

    @property
    def is_graph(self) -> bool:
        """Whether its network is an ONNX file, which PyTorch can't run."""
        return self.imported is not None and self.imported.graph is not None

    def network_file(self, folder: Path) -> Path:
        """Return the file in ``folder`` that decides: its weights, or its graph."""
        files = RunFolder(folder)
        return files.graph if self.is_graph else files.weights

    @property
    def notes(self) -> list[str]:
        """What isn't as usual about the run's data and its augmentation."""
        return [*self.data.notes, *([self.augment.note] if self.augment else [])]

    @property
    def name(self) -> str:
        """The run's name: ``EXP-002A seed 42``."""
        return f"{self.experiment} seed {self.seed}" if self.has_seed else self.experiment

    @classmethod
    def begin(
        cls,
        experiment: str,
        seed: int,
        *,
        identity: str,
        data: DataRecord,
        crop: Size | None,
        resolution: Size | None = None,
        weights: dict[str, Any] | None,
        device: str,
        processes: int = 1,
        started: str | None = None,
        imported: ImportRecord | None = None,
        teacher: TeacherRecord | None = None,
        ancestor: AncestorRecord | None = None,
        members: tuple[MemberRecord, ...] = (),
        changes: ItemChanges | None = None,
    ) -> RunRecord:
        """Return the record of a run that begins on this host, now or (resumed) at ``started``."""
        return cls(
            status="running",
            experiment=experiment,
            seed=seed,
            identity=identity,
            data=data,
            crop=crop,
            resolution=resolution,
            weights=weights,
            device=device,
            processes=processes,
            versions=library_versions(),
            host=host_description(),
            started=started or now(),
            imported=imported,
            teacher=teacher,
            ancestor=ancestor,
            members=members,
            changes=changes,
        )

    def write(self, folder: Path) -> None:
        """Write ``run.json`` in ``folder`` atomically."""
        write_json(RunFolder(folder).record, self.model_dump(mode="json"))

    def stop(self, folder: Path, error: BaseException) -> None:
        """Write that the run ended by ``error``; Ctrl-C interrupts, all else is a failure."""
        self.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self.error = f"{type(error).__name__}: {error}"
        self.finished = now()
        self.write(folder)


def now() -> str:
    """Return the time in UTC to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of every library whose numerics a run depends on."""
    return installed_versions(LIBRARIES)


def read_record(folder: Path) -> RunRecord | None:
    """Return the record of the run in ``folder``, or None where there is none.

    A damaged one is an :class:`InputError`.
    """
    path = RunFolder(folder).record
    return validate(RunRecord, read_json(path), str(path)) if path.exists() else None


def require_run(folder: Path) -> RunRecord:
    """Return the record of the run in ``folder``, finished or not.

    Raises:
        InputError: something else than a run directory.
    """
    record = read_record(folder) if folder.is_dir() else None
    if record is None:
        got = "it holds no run.json" if folder.is_dir() or not folder.exists() else "it is a file"
        raise InputError(f"{folder}: must be a run directory, but {got}")
    return record


def require_done(folder: Path, status: str) -> None:
    """Raise an :class:`InputError` unless ``status`` is that of a finished run."""
    if status != "done":
        # Whoever is killed writes no other status.
        words = "running, or was killed (the same command resumes it)"
        got = words if status == "running" else status
        raise InputError(f"{folder}: must hold a finished run, got one that is {got}")


def require_weights(folder: Path, record: RunRecord | None) -> None:
    """Raise an :class:`InputError` where the network of the run is an ONNX file."""
    if record is not None and record.is_graph:
        assert record.imported is not None
        raise InputError(
            f"{folder}: must be a run whose network PyTorch can run, got one of the ONNX file "
            f"{record.imported.checkpoint}: drupe certify makes its predictions and its bundle "
            "(drupe threshold, compare, report and bench take the run as it is)"
        )


def require_same_splits(folder: Path, record: RunRecord) -> None:
    """Raise an :class:`InputError` unless the run's splits would be drawn the same way today.

    Of an older run, items that it has learnt from would be taken for calibration. What is written
    in its folder (predictions, certificate) stays true and can be read.
    """
    if record.training_version != TRAINING_VERSION:
        raise InputError(
            f"{folder}: must be a run of training version {TRAINING_VERSION}, got one of version "
            f"{record.training_version}, whose fit, calibration and test were drawn in another "
            "way: train it again (drupe threshold, compare and study report read it as it is)"
        )


def require_same_data(
    where: Path | None,
    expected: str,
    found: str,
    *,
    role: str = "the data of the run",
    why: str = ",",
    remedy: str = "",
) -> None:
    """Raise an :class:`InputError` that names ``where`` unless two data fingerprints are equal.

    ``role`` says what the data must be, ``why`` may say what depends on it, ``remedy`` what to do.
    """
    if found != expected:
        raise InputError(
            f"{where}: must be {role} ({expected[:12]}){why} "
            f"got other images, labels or fixes ({found[:12]}){remedy}"
        )


def is_done(folder: Path) -> bool:
    """Return whether ``folder`` holds a finished run."""
    record = read_record(folder)
    return record is not None and record.status == "done"


def discard_checkpoint(folder: Path) -> None:
    """Remove ``checkpoint/``: it exists only while a run is unfinished."""
    shutil.rmtree(RunFolder(folder).checkpoint.parent, ignore_errors=True)
