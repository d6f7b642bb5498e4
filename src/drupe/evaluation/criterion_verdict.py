"""The verdict on one criterion and the evidence that it rests on: computed, written and read here.

Evidence is of several kinds. A document doesn't name the kind: its keys tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from drupe.evaluation.certificate import Certificate
from drupe.evaluation.intervals import Proportion
from drupe.evaluation.paired import ClusteredMean, PairedDifference

Verdict = Literal["pass", "fail", "undecided"]

# Results inside documents: they write themselves; what they derive is not read but derived anew.
ProportionField = Annotated[Proportion, PlainSerializer(Proportion.to_json)]
ClusteredMeanField = Annotated[ClusteredMean, PlainSerializer(ClusteredMean.to_json)]
PairedDifferenceField = Annotated[PairedDifference, PlainSerializer(PairedDifference.to_json)]
CertificateField = Annotated[Certificate, PlainSerializer(Certificate.to_json)]


class DocumentPart(BaseModel):
    """A frozen group of keys. Those that another version of Drupe wrote beside are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class InliningPart(DocumentPart):
    """A part with a field that is no key of the document: the field's own keys stand in its place.

    ``inlined`` is the field, ``told_by`` one of its keys: a document without it has none of them,
    and the field is None.
    """

    inlined: ClassVar[str]
    told_by: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _read_inlined(cls, document: Any) -> Any:
        if not isinstance(document, Mapping) or cls.inlined in document:
            return document
        return {**document, cls.inlined: document if cls.told_by in document else None}

    @model_serializer(mode="wrap")
    def _write_inlined(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = {}
        for key, value in write(self).items():
            document |= (value or {}) if key == self.inlined else {key: value}
        return document


class BaselineComparison(InliningPart):
    """A rate against the baseline's on the same images, and by itself against a number.

    ``accuracy`` has one-sided bounds; ``number`` is the verdict on it.
    """

    inlined, told_by = "paired", "difference"

    paired: PairedDifferenceField
    accuracy: ClusteredMeanField
    number: Verdict


class RecallEvidence(DocumentPart):
    """Recall at a certified threshold: by calibration (None: no certificate) and on test.

    ``refutation_p_value``: the chance of as many misses if recall were just as required.
    """

    certificate: CertificateField | None
    test: ProportionField
    refutation_p_value: float


class LatencyEvidence(DocumentPart):
    """A quantile of latency in milliseconds; a bound is None where the samples are too few."""

    quantile: float
    value_ms: float
    low_ms: float | None
    high_ms: float | None
    samples: int
    method: str = "order-statistic"
    confidence: float
    sides: int = 1


class SizeEvidence(DocumentPart):
    """The bytes of an exported graph."""

    size_bytes: int


class NotMeasured(DocumentPart):
    """Nothing is known."""


_KINDS_BY_KEY = {
    "number": BaselineComparison,
    "difference": PairedDifference,
    "mean": ClusteredMean,
    "successes": Proportion,
    "refutation_p_value": RecallEvidence,
    "value_ms": LatencyEvidence,
    "size_bytes": SizeEvidence,
}
"""Kinds of evidence by a key that only they have, or only they and those that stand before."""


def _kind(evidence: Any) -> str | None:
    """Return the name of evidence's class; of a document's, the class that its keys tell."""
    if not isinstance(evidence, Mapping):
        return type(evidence).__name__
    if not evidence:
        return NotMeasured.__name__
    return next((kind.__name__ for key, kind in _KINDS_BY_KEY.items() if key in evidence), None)


Evidence = Annotated[
    Annotated[BaselineComparison, Tag("BaselineComparison")]
    | Annotated[PairedDifferenceField, Tag("PairedDifference")]
    | Annotated[ClusteredMeanField, Tag("ClusteredMean")]
    | Annotated[ProportionField, Tag("Proportion")]
    | Annotated[RecallEvidence, Tag("RecallEvidence")]
    | Annotated[LatencyEvidence, Tag("LatencyEvidence")]
    | Annotated[SizeEvidence, Tag("SizeEvidence")]
    | Annotated[NotMeasured, Tag("NotMeasured")],
    Discriminator(_kind),
]


@dataclass(frozen=True)
class Settlement:
    """``further`` more of ``what`` (images, defects, samples) would settle it."""

    further: int
    what: str


class CriterionVerdict(DocumentPart):
    """One criterion with its verdict and the evidence, which is complete."""

    criterion: str
    required: str
    verdict: Verdict
    reason: str
    evidence: Evidence
    settles_with: Settlement | None = None
