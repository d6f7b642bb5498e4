"""``evaluation.json``: counts, rates and the certificate of a run, as one typed document.

Letters as in every table of counts: tp, fn defects rejected and accepted, tn, fp clean items
accepted and rejected.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from drupe.configuration import Tree, validate
from drupe.errors import InputError
from drupe.files import read_json, write_json
from drupe.runs.layout import RunFolder


class _Part(BaseModel):
    # Written back as it was read: keys of another version too.
    model_config = ConfigDict(extra="allow")


class Rate(_Part):
    """A proportion: counts, rate (null without trials) and interval."""

    successes: int
    trials: int
    rate: float | None
    low: float
    high: float
    method: str
    confidence: float
    sides: int


class Confusion(_Part):
    """Counts of items by label and decision."""

    tp: int
    fp: int
    tn: int
    fn: int


class DecisionCounts(_Part):
    """The decisions of a threshold on the items of a split."""

    accuracy: Rate
    recall: Rate
    clean_yield: Rate
    precision: Rate
    f1: float | None
    confusion: Confusion
    misses: int


class SliceRow(_Part):
    """The items of one type of defect or of one group; of a type there are no clean ones.

    The p-values say how likely so many mistakes or more would be if this slice were like the
    others, adjusted for the number of slices; null where it has no such items.
    """

    name: str
    defects: int
    misses: int
    recall: Rate
    worse_recall_p_value: float | None
    clean: int = 0
    clean_accepted: int = 0
    clean_yield: Rate | None = None
    worse_yield_p_value: float | None = None


class WorstGroup(_Part):
    """Names of the groups of the worst recall and yield, null where none can be told."""

    recall: str | None
    clean_yield: str | None


class SliceTable(_Part):
    """All types and groups at one threshold; null where nothing tells of them."""

    threshold: float
    types: list[SliceRow] | None = None
    groups: list[SliceRow] | None = None
    worst_group: WorstGroup | None = None


class TestSlices(_Part):
    """Types and groups at 0.5, and at the certificate's threshold."""

    argmax: SliceTable
    certified: SliceTable | None = None


class ConfusedType(_Part):
    """The defects of one type, and how often each of the types that can be said was."""

    name: str
    defects: int
    right: int
    said: list[int]


class ConfusedTypes(_Part):
    """Which type was said of defects of which; ``names`` are those that can be said, in order."""

    names: list[str]
    rows: list[ConfusedType]
    accuracy: Rate


class DistinctItems(_Part):
    """The test split with one item per duplicate group."""

    images: int
    defects: int
    argmax: DecisionCounts
    certified: DecisionCounts | None = None
    slices: TestSlices | None = None
    types_said: ConfusedTypes | None = None


class TestItems(_Part):
    """The whole test split; ``argmax`` counts at 0.5, ``certified`` at the certificate's."""

    images: int
    defects: int
    groups: int
    argmax: DecisionCounts
    certified: DecisionCounts | None = None
    distinct: DistinctItems


class Likelihood(_Part):
    """Negative log-likelihood in nats per item, at temperature 1 and at the fitted one."""

    before: float | None
    after: float | None


class CalibrationItems(_Part):
    """The calibration split and the temperature that was fitted on it."""

    images: int
    defects: int
    temperature: float
    nll: Likelihood


class RecordedReview(_Part):
    """The arguments of the request that chose ``high`` beside the certificate."""

    review_budget: float = 0.0
    reject_precision: float | None = None
    prevalence: float | None = None
    high: float | None = None


class MeasuredFunction(_Part):
    """The function whose scores were certified."""

    graph: str
    backend: str
    precision: str


class RecordedPromise(_Part):
    """Recall promised of a type of defect, or in a group, beside that of all defects."""

    kind: Literal["type", "group"]
    name: str
    min_recall: float
    confidence: float
    defects: int
    misses_allowed: int
    misses: int


class RecordedCertificate(_Part):
    """A certified threshold with the counts that prove it; ``confidence`` is the joint one."""

    threshold: float
    min_recall: float
    confidence: float
    defects: int
    clean: int
    misses_allowed: int
    misses: int
    clean_accepted: int
    candidates: int = 1
    approximate: str | None = None
    data_fingerprint: str | None = None
    measured_on: MeasuredFunction | None = None
    recall: Rate | None = None
    clean_yield: Rate | None = None
    method: str | None = None
    assumption: str | None = None
    slices: list[RecordedPromise] = []
    review: RecordedReview | None = None

    def without_review(self) -> dict[str, Any]:
        """Return the certificate's own document, as ``drupe threshold --json`` has it."""
        return self.model_dump(mode="json", exclude={"review"}, exclude_unset=True)


class Evaluation(_Part):
    """The whole document. ``certificate`` is null until ``drupe threshold`` has made one."""

    temperature: float
    certificate: RecordedCertificate | None = None
    calibration: CalibrationItems | None = None
    test: TestItems
    auroc: float
    ece: float
    ece_bins: int | None = None
    brier: float | None = None
    log_loss: float | None = None

    def to_json(self) -> Tree:
        """Return the document as it was read or made: no key more, in the same order."""
        return self.model_dump(mode="json", exclude_unset=True)

    def write(self, folder: Path) -> None:
        """Write ``evaluation.json`` of the run in ``folder`` atomically."""
        write_json(RunFolder(folder).evaluation, self.to_json())


def read_evaluation(folder: Path) -> Evaluation:
    """Return ``evaluation.json`` of a finished run; damage is an :class:`InputError`."""
    path = RunFolder(folder).evaluation
    try:
        return validate(Evaluation, read_json(path), str(path))
    except InputError as error:
        raise InputError([*error.problems, f"drupe evaluate {folder} writes it anew"]) from None


@dataclass(frozen=True)
class CertifiedFigures:
    """A certificate (with how ``high`` was chosen beside it) and the counts at its threshold.

    ``test`` counts all test items, ``distinct`` one of each duplicate group, ``slices`` those of
    each type and group, where they are known. All are None where nothing is certified.
    """

    certificate: Tree | None
    test: Tree | None
    distinct: Tree | None
    slices: Tree | None = None


def record_certificate(folder: Path, figures: CertifiedFigures) -> dict[str, Any] | None:
    """Write the certificate, and the test figures at it, into the run's ``evaluation.json``.

    What was certified before is replaced, and withdrawn where ``figures`` hold no certificate: a
    run has one operating point. Returns it, None where there was none.
    """
    document = read_evaluation(folder).to_json()
    before: dict[str, Any] | None = document["certificate"]
    document["certificate"] = figures.certificate
    document["test"]["certified"] = figures.test
    document["test"]["distinct"]["certified"] = figures.distinct
    if "slices" in document["test"]["distinct"]:
        document["test"]["distinct"]["slices"]["certified"] = figures.slices
    Evaluation.model_validate(document).write(folder)
    return before
