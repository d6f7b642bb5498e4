"""The report's section about the data: splits, copies, the audit if there is one, a montage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.overlay import audit_path
from drupe.derived import DIGEST, is_sealed
from drupe.errors import InputError
from drupe.files import read_json
from drupe.reporting.pictures import Pictures
from drupe.reporting.study_files import StudyFiles
from drupe.runs.record import DataRecord

MONTAGE = 24
"""Crops shown of each class."""

SHOWN_GROUPS = 50
SHOWN_FINDINGS = 20


@dataclass(frozen=True)
class Finding:
    """A kind of fault that an audit looks for: how often, and which files (the first few)."""

    name: str
    count: int
    is_error: bool
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditSummary:
    """An audit's findings; ``of_these_data`` is whether it saw exactly what the runs saw."""

    images: int
    per_split: tuple[tuple[str, int, int], ...]
    findings: tuple[Finding, ...]
    has_errors: bool
    of_these_data: bool


@dataclass(frozen=True)
class Sample:
    """Crops of one class, drawn from the test split with a fixed seed."""

    label: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DataSection:
    """The section. ``root`` is the folder that pictures came from, None where it isn't there."""

    record: DataRecord
    root: str | None
    test_groups: tuple[tuple[str, ...], ...]
    calibration_groups: tuple[tuple[str, ...], ...]
    audit: AuditSummary | None
    montage: tuple[Sample, ...]


def data_section(
    study: StudyFiles, root: Path | None, store: Path, pictures: Pictures
) -> DataSection:
    """Collect the section; ``root`` None: the dataset can't be reached."""
    first = study.runs[0]
    calibration = first.model.calibration
    return DataSection(
        record=first.record.data,
        root=str(root) if root else None,
        test_groups=_copies(first.test.table.paths, first.test.groups),
        calibration_groups=_copies(calibration.table.paths, calibration.groups)
        if calibration
        else (),
        audit=_audit(root, store, first.record.data.fingerprint) if root else None,
        montage=tuple(_samples(study, pictures)) if root else (),
    )


def _copies(paths: Sequence[str], groups: NDArray[np.integer]) -> tuple[tuple[str, ...], ...]:
    """Return the paths of each group of two or more."""
    repeated = np.flatnonzero(np.bincount(groups) > 1)
    return tuple(
        tuple(paths[index] for index in np.flatnonzero(groups == group).tolist())
        for group in repeated
    )


def _samples(study: StudyFiles, pictures: Pictures) -> list[Sample]:
    random = np.random.default_rng(0)
    samples = []
    for label, members in zip(
        study.classes, (~study.items.is_defect, study.items.is_defect), strict=True
    ):
        items = np.flatnonzero(members)
        chosen = np.sort(random.choice(items, min(MONTAGE, items.size), replace=False))
        drawn = [(study.items.paths[item], pictures.of(study.items.paths[item])) for item in chosen]
        found = tuple((path, picture) for path, picture in drawn if picture)
        samples.append(Sample(label, found))
    return [sample for sample in samples if sample.pictures]


def _audit(root: Path, store: Path, fingerprint: str) -> AuditSummary | None:
    path = audit_path(root, store)
    if not path.exists():
        return None
    document = read_json(path)
    if DIGEST in document and not is_sealed(document):
        raise InputError(f"{path}: damaged: drupe data audit {root} writes it anew")
    try:
        return _summary(document, fingerprint)
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: must be what drupe data audit wrote: run it again ({error!r})"
        ) from None


def _summary(document: Mapping[str, Any], fingerprint: str) -> AuditSummary:
    clean, defect = document["classes"]["clean"], document["classes"]["defect"]
    return AuditSummary(
        images=document["images"],
        per_split=tuple(
            (split, counts[clean], counts[defect])
            for split, counts in document["per_split"].items()
        ),
        findings=tuple(_findings(document)),
        has_errors=document["has_errors"],
        of_these_data=document["fingerprint"] == fingerprint,
    )


def _findings(document: Mapping[str, Any]) -> list[Finding]:
    found = document["findings"]
    near = [
        (f"{pair['first']} ~ {pair['second']}", pair["cross_split"])
        for pair in found["near_duplicates"]
    ]
    listed: list[tuple[str, int, bool, list[str]]] = [
        (
            "unreadable files",
            document["unreadable"],
            True,
            [f"{item['path']}: {item['reason']}" for item in found["unreadable"]],
        ),
        ("blank or nearly blank images", document["blank_or_tiny"], True, found["blank_or_tiny"]),
        (
            "pairs with the same image in both classes",
            document["contradictory_labels"],
            True,
            _same(found["contradictory_labels"]),
        ),
        (
            "leaks: pairs of identical files across train and val",
            document["cross_split_duplicate_pairs"],
            True,
            _same(found["cross_split_duplicates"]),
        ),
        (
            "leaks: pairs of near duplicates across train and val",
            document["cross_split_near_duplicate_pairs"],
            True,
            [text for text, across in near if across],
        ),
        (
            "pairs of identical files in all",
            document["exact_duplicate_pairs"],
            False,
            _same(found["exact_duplicates"]),
        ),
        (
            "pairs of near duplicates in all",
            document["near_duplicate_pairs"],
            False,
            [text for text, _ in near],
        ),
    ]
    return [
        Finding(name, count, is_error and count > 0, tuple(examples[:SHOWN_FINDINGS]))
        for name, count, is_error, examples in listed
    ]


def _same(groups: Sequence[Sequence[str]]) -> list[str]:
    return [" = ".join(paths) for paths in groups]
