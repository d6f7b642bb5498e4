"""Data of the threshold explorer for each run: sorted scores, so that a count is two searches."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.certificate import Certificate
from drupe.evaluation.intervals import lower_bounds
from drupe.reporting.study_files import StudyFiles, StudyRun

CONFIDENCE = 0.95
"""Of the intervals beside each rate."""


@dataclass(frozen=True)
class ExplorerRun:
    """A run's test scores, one item per duplicate group: ascending float32 [c] and float32 [d]."""

    key: str
    name: str
    clean: NDArray[np.float32]
    defects: NDArray[np.float32]
    certificate: Certificate | None

    @classmethod
    def of(cls, run: StudyRun) -> ExplorerRun:
        """Take the scores and the certificate of ``run``."""
        table = run.test.distinct
        return cls(
            key=run.key,
            name=run.name,
            clean=np.sort(table.scores[~table.is_defect]),
            defects=np.sort(table.scores[table.is_defect]),
            certificate=run.certificate,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the scores as base64 of little-endian float32."""
        return {
            "key": self.key,
            "name": self.name,
            "clean": _packed(self.clean),
            "defects": _packed(self.defects),
            "certificate": _shown(self.certificate) if self.certificate else None,
        }


def explorer_runs(study: StudyFiles) -> tuple[ExplorerRun, ...]:
    """Return every run, the recommended one first."""
    verdict = study.verdict
    wanted = verdict.recommendation.run if verdict else None
    runs = sorted(study.runs, key=lambda run: run.key != wanted)
    return tuple(ExplorerRun.of(run) for run in runs)


def _shown(certificate: Certificate) -> dict[str, Any]:
    """Return what the explorer says of a certificate."""
    return {
        "threshold": certificate.threshold,
        "min_recall": certificate.min_recall,
        "confidence": certificate.confidence,
        "defects": certificate.defects,
        "misses_allowed": certificate.misses_allowed,
        "candidates": certificate.candidates,
        "approximate": certificate.approximate,
    }


def lower_bound_tables(runs: Sequence[ExplorerRun]) -> dict[str, dict[int, str]]:
    """Return, of each number of items, the lower 95 % bounds of its counts.

    As base64 of little-endian float64: the page can look an exact interval up, and computes none.
    Those of recall are one-sided, those of clean yield two-sided, as ``drupe threshold`` says them.
    """

    def table(scores: Iterable[NDArray[np.float32]], sides: int) -> dict[int, str]:
        numbers = sorted({len(one) for one in scores})
        return {number: _packed(lower_bounds(number, CONFIDENCE, sides)) for number in numbers}

    return {
        "recall": table((run.defects for run in runs), 1),
        "yield": table((run.clean for run in runs), 2),
    }


def _packed(values: NDArray[np.floating]) -> str:
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()
