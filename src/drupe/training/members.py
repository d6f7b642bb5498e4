"""The finished runs that one model may be made of: what each must be, and what all must share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drupe.configuration import fingerprint
from drupe.errors import InputError
from drupe.evaluation.model_predictions import ModelPredictions, read_run_predictions
from drupe.files import file_hash
from drupe.runs.layout import RunFolder, runs_below
from drupe.runs.record import RunRecord, require_done, require_run
from drupe.training.config import ExperimentConfig, read_config

ENSEMBLE_VERSION = 1
"""Raised when the same members would decide otherwise; part of an ensemble's identity."""


def ensemble_identity(weights: Sequence[str], data_fingerprint: str) -> str:
    """SHA-256 (hex) by which an ensemble is recognised: its members' weights files, on which data.

    ``weights``: the SHA-256 (hex) of each ``model.safetensors``, in the members' order.
    """
    return fingerprint(
        {"members": list(weights), "data": data_fingerprint, "version": ENSEMBLE_VERSION}
    )


@dataclass(frozen=True)
class Member:
    """A finished run that may be averaged."""

    folder: Path
    record: RunRecord
    config: ExperimentConfig
    model: ModelPredictions
    weights: str

    @classmethod
    def read(cls, folder: Path) -> Member:
        """Read a run.

        Raises:
            InputError: no finished run, or one whose calibration scores aren't those of items that
                its own network has never seen.
        """
        record = require_run(folder)
        require_done(folder, record.status)
        config = read_config(folder)
        if reason := _unfit(record, config):
            raise InputError(f"{folder}: can't be a member of an ensemble: {reason}")
        weights = file_hash(RunFolder(folder).weights)
        return cls(folder, record, config, read_run_predictions(folder), weights)

    def differs_from(self, other: Member) -> list[str]:
        """Name what the two don't share, and must."""
        found = [
            f"{what} ({own}, {others})"
            for what, own, others in (
                ("classes", *(" / ".join(one.record.data.classes) for one in (self, other))),
                *(
                    (f"input.{key}", *(getattr(one.config.input, key) for one in (self, other)))
                    for key in ("size", "channels", "white_level")
                ),
                ("data", *(one.record.data.fingerprint[:12] for one in (self, other))),
            )
            if own != others
        ]
        if found:  # the items follow from these
            return found
        return [
            f"{name} items ({len(own)}, {len(others)})"
            for name, own, others in (
                ("calibration", *(item_paths(one.model, "calibration") for one in (self, other))),
                ("test", *(item_paths(one.model, "test") for one in (self, other))),
            )
            if own != others
        ]


def _unfit(record: RunRecord, config: ExperimentConfig) -> str:
    """Say why a run can't be averaged with others; empty where it can."""
    if record.members:
        return "it is one itself; give its members"
    if record.imported:
        return (
            "it was imported, and whether its calibration scores are those of items that it has "
            "never seen rests on what is known of its training, not on a split"
        )
    if config.calibration.share is None:
        return (
            "it was trained for cross-fitting (calibration.crossfit), so it has learnt from every "
            "training item; train it with calibration.holdout"
        )
    if config.training.init is not None:
        return (
            "it goes on from an earlier run (training.init), whose own items were left out of its "
            "calibration and test: the ensemble would be judged on them"
        )
    if record.data.approximate:
        return f"its calibration is approximate: {record.data.approximate}"
    return ""


def item_paths(model: ModelPredictions, split: str) -> frozenset[str]:
    """Return the paths of the items of a split that the model was judged on."""
    found = model.calibration if split == "calibration" else model.test
    return frozenset(found.table.paths) if found else frozenset()


def expand_seeds(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the run directories that ``paths`` name: each itself, or the seeds below it."""
    found: list[Path] = []
    for path in paths:
        seeds = [] if RunFolder(path).record.exists() else runs_below(path)
        found += seeds or [path]
    return tuple(found)


def read_members(runs: Sequence[Path]) -> list[Member]:
    """Return the runs as members, in the order given.

    Raises:
        InputError: fewer than two, the same network twice, one that can't be a member, or runs
            that don't share data and split: all that is wrong, in one message.
    """
    if len(runs) < 2:
        raise InputError(f"ensemble: needs at least two runs, got {len(runs)}")
    members: list[Member] = []
    problems: list[str] = []
    for run in runs:
        try:
            members.append(Member.read(run))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    first, *others = members
    differing = [
        f"{one.folder} differs in {', '.join(found)}"
        for one in others
        if (found := one.differs_from(first))
    ]
    if differing:
        raise InputError(
            f"ensemble: its members must share classes, input.size, data, calibration and test "
            f"items with {first.folder}; {'; '.join(differing)}"
        )
    hashes = [member.weights for member in members]
    twice = [str(one.folder) for one in members if hashes.count(one.weights) > 1]
    if twice:
        raise InputError(
            f"ensemble: its members must be different networks, got the same in {', '.join(twice)}"
        )
    return members
