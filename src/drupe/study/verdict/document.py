"""The verdict of a study: experiments x criteria, comparisons, one recommendation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.evaluation.criteria import Judged
from drupe.evaluation.operating_point import OperatingPoint
from drupe.study.definition.protocol import Deviation
from drupe.study.definition.spec import Experiment, PlannedComparison
from drupe.study.execution.conditions import Decision
from drupe.study.verdict.figures import ComparisonFigures, ExperimentFigures, Measured
from drupe.study.verdict.recommendation import Recommendation

NOT_JUDGED = "not judged: the baseline"


@dataclass(frozen=True)
class ExperimentVerdict:
    """What became of one experiment.

    ``state``: done, partly done, failed, skipped or missing; ``runs`` are the finished ones.
    ``point`` is where its run would operate as the only model there is, which its criteria are
    about; ``joint`` as the one chosen from all that the study trains, which a recommendation takes.
    Both are None for a comparison, and where that can't be said. ``caveats``: of a baseline from
    elsewhere, what makes its figures optimistic and its calibration worthless; None for all others.
    """

    experiment: Experiment
    state: str
    reason: str
    runs: tuple[Path, ...]
    figures: ExperimentFigures | None
    point: OperatingPoint | None
    judged: tuple[Judged, ...]
    export: Mapping[str, Any] | None
    bench: Mapping[str, Any] | None
    note: str = ""
    deployed: Path | None = None
    """The first seed's run; no other takes its place."""
    joint: OperatingPoint | None = None
    caveats: tuple[str, ...] | None = None

    @property
    def is_imported(self) -> bool:
        """Whether it is the baseline from elsewhere, which no criterion is asked of."""
        return self.caveats is not None

    @property
    def kind(self) -> str:
        """The experiment's kind, or ``imported``."""
        return "imported" if self.is_imported else self.experiment.kind

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds whose runs are finished; that of a model from elsewhere is unknown."""
        return self.figures.seeds if self.figures and not self.is_imported else ()

    def to_json(self, root: Path) -> dict[str, Any]:
        """Return the document of this experiment; folders relative to ``root``."""
        runs = [os.path.relpath(folder, root) for folder in self.runs]
        figures = self.figures.to_json() if self.figures else {}
        figures.pop("seeds", None)
        certificate = self.point.certificate if self.point else None
        joint = self.joint.certificate if self.joint else None
        test = self.point.test if self.point else None
        confidence = self.point.request.confidence if self.point else 0.95
        return {
            "id": self.experiment.id,
            "title": self.experiment.title,
            "hypothesis": self.experiment.hypothesis,
            "kind": self.kind,
            "state": self.state,
            "reason": self.reason or None,
            "note": self.note or None,
            "caveats": list(self.caveats or ()),
            "seeds": list(self.seeds),
            "runs": runs,
            "deployed": os.path.relpath(self.deployed, root) if self.deployed else None,
            **figures,
            "certificate": certificate.to_json() if certificate else None,
            "joint_certificate": joint.to_json() if joint else None,
            "certified_test": {
                "misses": test.counts.defects_accepted,
                "recall": test.counts.recall(confidence, sides=1).to_json(),
                "clean_yield": test.counts.clean_yield(confidence).to_json(),
            }
            if test
            else None,
            "criteria": [item.to_json() for item in self.judged],
            "export": self.export,
            "bench": _without_samples(self.bench),
        }


def _without_samples(bench: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave each call's milliseconds out: they stand in ``bench.json``."""
    if bench is None:
        return None
    results = [
        {key: value for key, value in one.items() if key != "samples_ms"}
        for one in bench.get("results", [])
    ]
    return {**bench, "results": results}


@dataclass(frozen=True)
class StudyVerdict:
    """Everything a study found. ``failed`` names tasks without a result, with their reasons.

    ``experiments`` are the study's, behind the baseline from elsewhere if there is one.
    """

    study: str
    question: str
    folder: Path
    is_smoke: bool
    measured: Measured
    experiments: tuple[ExperimentVerdict, ...]
    comparisons: tuple[ComparisonFigures, ...]
    not_compared: tuple[PlannedComparison, ...]
    recommendation: Recommendation
    deviations: tuple[Deviation, ...]
    decisions: Mapping[str, Decision]
    failed: tuple[tuple[str, str], ...]
    calibration: str
    candidates: int

    @property
    def passes(self) -> bool:
        """Whether a model passes every criterion."""
        return any(
            item.judged and all(one.verdict == "pass" for one in item.judged)
            for item in self.experiments
            if item.kind == "training"
        )

    def to_json(self) -> dict[str, Any]:
        """Return ``verdict.json``."""
        return {
            "study": self.study,
            "question": self.question,
            "smoke": self.is_smoke,
            "test": {"images": self.measured.images, "defects": self.measured.defects},
            "confidence": self.measured.confidence,
            "calibration": self.calibration,
            "candidates": self.candidates,
            "experiments": [item.to_json(self.folder) for item in self.experiments],
            "comparisons": [item.to_json() for item in self.comparisons],
            "not_compared": [item.model_dump() for item in self.not_compared],
            "decisions": {name: vars(one) for name, one in self.decisions.items()},
            "recommendation": self._recommendation(),
            "passes": self.passes,
            "deviations": [item.model_dump() for item in self.deviations],
            "failed": [{"run": name, "reason": reason} for name, reason in self.failed],
        }

    def _recommendation(self) -> dict[str, Any]:
        document = self.recommendation.to_json()
        run = self.recommendation.run
        return {**document, "run": os.path.relpath(run, self.folder) if run else None}
