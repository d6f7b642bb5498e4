"""``verdict.json``: everything that a study found, as it is written and read.

Rates are in [0, 1], sizes bytes, times milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, computed_field

from drupe.configuration import validate
from drupe.deployment.answers import BenchAnswer, ExportAnswer
from drupe.evaluation.criterion_verdict import (
    CertificateField,
    ClusteredMeanField,
    CriterionVerdict,
    DocumentPart,
    InliningPart,
    PairedDifferenceField,
    ProportionField,
)
from drupe.evaluation.paired import SeedSpread
from drupe.files import read_json
from drupe.study.definition.protocol import Deviation
from drupe.study.definition.spec import PlannedComparison
from drupe.study.execution.conditions import ConditionDecision

VERDICT_FILE = "verdict.json"

SeedSpreadField = Annotated[SeedSpread, PlainSerializer(SeedSpread.to_json)]


def _export_json(answer: ExportAnswer) -> dict[str, Any]:
    """Return the answer as it was given: without what an earlier version didn't say."""
    return answer.model_dump(mode="json", exclude_unset=True)


def _bench_json(answer: BenchAnswer) -> dict[str, Any]:
    """Return the answer as it was given but for each call's own milliseconds."""
    left_out = {"results": {"__all__": {"samples_ms"}}}
    return answer.model_dump(mode="json", exclude_unset=True, exclude=left_out)


class ExperimentFigures(DocumentPart):
    """One experiment over its finished seeds, on distinct test items at the threshold 0.5.

    ``collapsed`` are the seeds whose network gives (nearly) every item the same decision.
    """

    collapsed: tuple[int, ...]
    accuracy: ClusteredMeanField
    accuracy_by_seed: SeedSpreadField
    recall: ClusteredMeanField
    clean_yield: ClusteredMeanField
    auroc: SeedSpreadField
    ece: SeedSpreadField
    misses: SeedSpreadField


class CertifiedTest(DocumentPart):
    """Counts on distinct test items at the certified threshold; ``recall`` has one-sided bounds."""

    misses: int
    recall: ProportionField
    clean_yield: ProportionField


class ExperimentVerdict(InliningPart):
    """One experiment: the state of its runs, its figures and its criteria.

    ``kind``: that of the experiment, or imported: the baseline from elsewhere, of which no
    criterion is asked. ``state``: done, partly done, failed, skipped or missing. ``caveats``: what
    makes the imported figures optimistic and their calibration worthless. ``runs``: the folders of
    the finished ones, relative to the study's; ``deployed``: the first seed's, whose place no other
    takes. ``members``: the folders of the runs that an ensemble averages. ``certificate``,
    ``certified_test`` and the criteria are about that run as the only model there is,
    ``joint_certificate`` about it as the one chosen from all models of the study, which a
    recommendation takes. ``refusal``: why there is no ``certificate``; the file doesn't keep it.
    """

    inlined, told_by = "figures", "accuracy"

    id: str
    title: str = ""
    hypothesis: str = ""
    kind: Literal["training", "ensemble", "threshold", "comparison", "imported"]
    state: str
    reason: str | None = None
    note: str | None = None
    caveats: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    deployed: str | None = None
    figures: ExperimentFigures | None = None
    certificate: CertificateField | None = None
    joint_certificate: CertificateField | None = None
    certified_test: CertifiedTest | None = None
    criteria: tuple[CriterionVerdict, ...] = ()
    export: Annotated[ExportAnswer, PlainSerializer(_export_json)] | None = None
    bench: Annotated[BenchAnswer, PlainSerializer(_bench_json)] | None = None
    refusal: str | None = Field(None, exclude=True)


class ComparisonFigures(InliningPart):
    """A planned comparison: the paired difference of seed-mean accuracies, a minus b.

    ``seeds`` are those that both finished; no other counts, unless they have none in common. All
    seeds count against a model from elsewhere, which has one run. ``p_adjusted`` is Holm's over all
    comparisons that were planned, made or not; ``detectable`` the true difference that this test
    set would have shown with 80 % power.
    """

    inlined, told_by = "paired", "difference"

    a: str
    b: str
    question: str = ""
    metric: str = "accuracy"
    seeds: tuple[int, ...]
    paired: PairedDifferenceField
    p_adjusted: float
    detectable: float

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_shown(self) -> bool:
        """Return whether the difference is significant among all planned comparisons."""
        return self.p_adjusted <= 1 - self.paired.confidence


class Recommendation(DocumentPart):
    """The experiment to take further (None: keep the baseline), why, and what would change it.

    ``run`` is the folder of its run to deploy, relative to the study's.
    """

    experiment: str | None = None
    run: str | None = None
    text: str
    changes_with: str = ""


class FailedRun(DocumentPart):
    """A task without a result."""

    run: str
    reason: str


class TestSize(DocumentPart):
    """The number of distinct items of the test split."""

    images: int
    defects: int


class StudyVerdict(DocumentPart):
    """The whole document.

    ``experiments`` are the study's, behind the baseline from elsewhere if there is one;
    ``candidates`` the models that the one to deploy is chosen from; ``passes`` whether a model
    passes every criterion.
    """

    study: str
    question: str = ""
    smoke: bool = False
    test: TestSize
    confidence: float
    calibration: str = ""
    candidates: int = 1
    experiments: tuple[ExperimentVerdict, ...]
    comparisons: tuple[ComparisonFigures, ...] = ()
    not_compared: tuple[PlannedComparison, ...] = ()
    decisions: dict[str, ConditionDecision]
    recommendation: Recommendation
    passes: bool
    deviations: tuple[Deviation, ...] = ()
    failed: tuple[FailedRun, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        return self.model_dump(mode="json")


def read_verdict(path: Path) -> StudyVerdict:
    """Read a verdict; a missing or damaged one is an :class:`InputError` that names it."""
    return validate(StudyVerdict, read_json(path), str(path))
