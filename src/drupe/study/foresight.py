"""The certificates that a study's defects suffice for, known before anything is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from drupe.evaluation.certificate import joint_confidence, needed_defects
from drupe.study.definition.loading import Study
from drupe.training.preparation import PreparedData


@dataclass(frozen=True)
class Provable:
    """The defects that an experiment can be certified with, and those that it takes.

    ``defects`` are distinct (copies count once); ``needed`` is for one model by itself,
    ``needed_to_choose`` for the one chosen of all ``candidates``. ``exact`` is False where folds
    are pooled: their defects are more, their certificate is approximate.
    """

    experiment: str
    recall: float
    confidence: float
    defects: int
    needed: int
    needed_to_choose: int
    candidates: int
    exact: bool

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)

    def __str__(self) -> str:
        enough = "enough" if self.defects >= self.needed_to_choose else "not enough"
        kind = "" if self.exact else " (of pooled folds: approximate)"
        text = (
            f"{self.defects:,} defects to certify with{kind}: recall ≥ {100 * self.recall:g} % at "
            f"{100 * self.confidence:g} % takes {self.needed:,} without a miss"
        )
        if self.candidates > 1:
            text += f", {self.needed_to_choose:,} for the one chosen of {self.candidates}"
        return f"{text}: {enough}"


def provable(study: Study, experiment: str, data: PreparedData) -> Provable | None:
    """Return what can be proven of a training experiment; None where no recall is asked for."""
    recall = study.criteria[experiment].recall
    if recall is None:
        return None
    folds = study.configs[experiment].calibration.crossfit
    items = data.split.calibration if folds is None else data.split.fit
    defects = items[data.dataset.is_defect[items]]
    confidence = study.spec.confidence
    return Provable(
        experiment=experiment,
        recall=recall,
        confidence=confidence,
        defects=len(np.unique(data.groups[defects])),
        needed=needed_defects(recall, confidence),
        needed_to_choose=needed_defects(recall, joint_confidence(confidence, study.candidates)),
        candidates=study.candidates,
        exact=folds is None,
    )
