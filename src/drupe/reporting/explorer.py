"""What the threshold explorer needs of each run: sorted scores, so that a count is two searches."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.reporting.study_files import StudyFiles, StudyRun
from drupe.reporting.verdict_document import CertificateRecord


@dataclass(frozen=True)
class ExplorerRun:
    """A run's test scores, one item per duplicate group: ascending float32 [c] and float32 [d]."""

    key: str
    name: str
    clean: NDArray[np.float32]
    defects: NDArray[np.float32]
    certificate: CertificateRecord | None

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
        certificate = self.certificate
        return {
            "key": self.key,
            "name": self.name,
            "clean": _packed(self.clean),
            "defects": _packed(self.defects),
            "certificate": certificate.model_dump() if certificate else None,
        }


def explorer_runs(study: StudyFiles) -> tuple[ExplorerRun, ...]:
    """Return every run, the recommended one first."""
    verdict = study.verdict
    wanted = verdict.recommendation.run if verdict else None
    runs = sorted(study.runs, key=lambda run: run.key != wanted)
    return tuple(ExplorerRun.of(run) for run in runs)


def _packed(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()
