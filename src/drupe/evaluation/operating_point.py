"""Operating points: thresholds certified or given, and what they do on calibration and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.evaluation.certificate import (
    Certificate,
    NotCertifiableError,
    Promise,
    certify_threshold,
    check_target,
    joint_confidence,
    misses_allowed,
    refutation_p_value,
)
from drupe.evaluation.lanes import (
    Costs,
    LaneCounts,
    LineLoad,
    Thresholds,
    check_targets,
    choose_high,
)
from drupe.evaluation.metrics import Counts
from drupe.evaluation.model_predictions import ModelPredictions
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.pricing import Offer, price
from drupe.evaluation.promises import promises_about, unknown_types
from drupe.evaluation.slice_refutation import SliceRefutation, refute
from drupe.evaluation.slices import Slices
from drupe.runs.evaluation_file import (
    CertifiedFigures,
    RecordedCertificate,
    RecordedReview,
)
from drupe.runs.results import own_certificate

CHOOSES_HIGH = ("review_budget", "reject_precision", "prevalence", "high")
"""The fields of a :class:`Request` that :attr:`Thresholds.high` follows from."""

GIVEN = "given"
"""The method of a threshold that a person chose: judged, never certified."""


@dataclass(frozen=True)
class Request:
    """Requirements of a threshold; see :func:`operating_point`.

    ``candidates``: from how many models the one to deploy is chosen. ``recall_of_types``: (type of
    defect, its recall), to hold as well; ``per_group``: ``min_recall`` in every group as well.
    ``low`` and ``high`` given by hand are taken as they are; None: certified, and chosen by budget
    or precision.
    """

    min_recall: float = 0.99
    confidence: float = 0.95
    candidates: int = 1
    recall_of_types: tuple[tuple[str, float], ...] = ()
    per_group: bool = False
    review_budget: float = 0.0
    reject_precision: float | None = None
    prevalence: float | None = None
    costs: Costs | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check_target(self.min_recall, self.confidence)
        for _, recall in self.recall_of_types:
            check_target(recall, self.confidence)
        check_targets(self.review_budget, self.reject_precision, self.prevalence)
        if self.low is not None:
            Thresholds(self.low, self.low if self.high is None else self.high)
        elif self.high is not None:
            Thresholds(0.0, self.high)
        problems = [
            f"min_recall: must be given once for a type, got {name} {count} times"
            for name, count in Counter(name for name, _ in self.recall_of_types).items()
            if count > 1
        ]
        if self.low is not None and (self.recall_of_types or self.per_group):
            problems.append("low: a given one is not certified, so nothing is promised of slices")
        if self.high is not None and (self.review_budget or self.reject_precision is not None):
            problems.append(
                "high: a given one can't be chosen by review_budget or reject_precision"
            )
        if self.costs is not None and self.prevalence is None:
            problems.append("costs: need the prevalence (share of defects on the line)")
        if problems:
            raise InputError(problems)

    def promises_about(
        self, table: Predictions, known_types: Iterable[str] = ()
    ) -> tuple[Promise, ...]:
        """Return what is asked of the slices of ``table``, whose items are distinct.

        known_types: of defects, which ``table`` need not have.

        Raises :class:`InputError` where its items don't tell of them.
        """
        in_each_group = self.min_recall if self.per_group else None
        return promises_about(table, self.recall_of_types, in_each_group, known_types)

    def promises(self, model: ModelPredictions) -> tuple[Promise, ...]:
        """Return what is asked of the slices of the distinct calibration items of ``model``."""
        assert model.calibration is not None
        return self.promises_about(model.calibration.distinct, _types_in_test(model))


def _types_in_test(model: ModelPredictions) -> tuple[str, ...]:
    return (model.test.table.types if model.test else None) or ()


@dataclass(frozen=True)
class SplitFigures:
    """Counts and rates at the thresholds, on the distinct items of one split."""

    items: int
    counts: LaneCounts
    confidence: float
    min_recall: float
    load: LineLoad | None
    slices: Slices | None = None

    @classmethod
    def of(cls, table: Predictions, thresholds: Thresholds, request: Request) -> SplitFigures:
        """Count ``table``, one item per duplicate group."""
        counts = LaneCounts.of(table.scores, table.is_defect, thresholds)
        slices = Slices.of(table, thresholds.low)
        of_types = {one.name: one.misses for one in (slices and slices.types) or ()}
        load = None
        if request.prevalence is not None:
            load = LineLoad.of(counts, request.prevalence, request.costs, of_types)
        return cls(len(table), counts, request.confidence, request.min_recall, load, slices)

    @property
    def refutation(self) -> float:
        """P(at least so many misses) if recall were ``min_recall``: small refutes the claim."""
        counts = self.counts
        return refutation_p_value(counts.defects_accepted, counts.defects, self.min_recall)

    def to_json(self) -> dict[str, Any]:
        """Return counts, rates (``recall`` one-sided, as it is claimed), lanes and load."""
        counts = self.counts
        return {
            "items": self.items,
            "defects": counts.defects,
            "misses": counts.defects_accepted,
            "recall": counts.recall(self.confidence, sides=1).to_json(),
            "clean_yield": counts.clean_yield(self.confidence).to_json(),
            "reject_precision": counts.precision(self.confidence).to_json(),
            "refutation_p_value": self.refutation,
            "lanes": counts.to_json(),
            "per_thousand": self.load.to_json() if self.load else None,
            **({"slices": self.slices.to_json()} if self.slices else {}),
        }


@dataclass(frozen=True)
class OperatingPoint:
    """The thresholds of a model with their evidence, or why there are none."""

    model: ModelPredictions
    request: Request
    thresholds: Thresholds | None
    certificate: Certificate | None
    refusal: NotCertifiableError | None
    calibration: SplitFigures | None
    test: SplitFigures | None

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What other calibration sets would bring; none for a threshold given by hand."""
        calibration, request = self.model.calibration, self.request
        if request.low is not None or calibration is None or self.model.in_sample:
            return ()
        if request.recall_of_types or request.per_group:  # prices are those of all defects alone
            return ()
        return price(
            calibration.distinct,
            min_recall=request.min_recall,
            confidence=request.confidence,
            candidates=request.candidates,
            fit_items=self.model.fit_items,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe threshold``: calibration at the top, test inside."""
        request, certificate = self.request, self.certificate
        distinct = None if self.model.calibration is None else self.model.calibration.distinct
        defects = 0 if distinct is None else int(distinct.is_defect.sum())
        if self.refusal:
            defects = self.refusal.defects
        document: dict[str, Any] = {
            "model": self.model.name,
            "caveats": list(self.model.caveats),
            "certified": certificate is not None,
            "approximate": self.model.inexact is not None,
            "threshold": self.thresholds.low if self.thresholds else None,
            "high": self.thresholds.high if self.thresholds else None,
            "min_recall": request.min_recall,
            "confidence": request.confidence,
            "defects": defects,
            "misses_allowed": misses_allowed(
                defects,
                request.min_recall,
                joint_confidence(request.confidence, request.candidates),
            ),
            "misses": None,
            "recall": None,
            "clean_yield": None,
            "copies": "unknown" if self.model.seed is None else "counted once",
            "method": GIVEN if request.low is not None else "order-statistic",
        }
        if self.calibration:
            document |= self.calibration.to_json()
        if certificate:
            document["recall"] = certificate.recall.to_json()
        if self.refusal:
            document["needed_defects"] = self.refusal.needed_defects
            document["in_sample"] = self.refusal.in_sample
            if self.refusal.lacking:
                document["lacking"] = [vars(one) for one in self.refusal.lacking]
        if refuted := self.slice_refutations:
            document["slice_refutations"] = [one.to_json() for one in refuted]
        return document | {
            "certificate": certificate.to_json() if certificate else None,
            "test": self.test.to_json() if self.test else None,
            "offers": [offer.to_json() for offer in self.offers],
        }

    @property
    def slice_refutations(self) -> tuple[SliceRefutation, ...]:
        """What the test items say of each promise; none where there is no promise or no test."""
        if self.certificate is None or self.test is None or self.test.slices is None:
            return ()
        return refute(self.certificate.slices, self.test.slices)

    def certified_figures(self) -> CertifiedFigures:
        """Return what the run records: the certificate, and what it does on the test items.

        Beside the certificate stands how ``high`` was chosen, so that an export can choose it
        alike (:func:`read_recorded`).
        """
        certificate, test = self.certificate, self.model.test
        if test is None:
            raise ValueError("point: must hold test predictions")
        if certificate is None:
            return CertifiedFigures(None, None, None)
        slices = Slices.of(test.distinct, certificate.threshold)
        chosen = {name: getattr(self.request, name) for name in CHOOSES_HIGH}
        return CertifiedFigures(
            certificate.to_json() | {"review": chosen},
            _figures(test.table, certificate),
            _figures(test.distinct, certificate),
            slices.to_json() if slices else None,
        )


def operating_point(model: ModelPredictions, request: Request) -> OperatingPoint:
    """Certify ``low`` on the model's calibration (or take the given one) and choose ``high``.

    Too few defects are an answer, not an error: ``thresholds`` is then None and ``refusal`` says
    how many it takes. So is a calibration that the network has learnt from.

    Raises:
        InputError: values out of range, or targets that contradict each other.
    """
    if model.calibration is None:
        raise InputError(
            f"{model.name}: has no calibration items to certify a threshold on, because it learnt "
            "from all training items: give --cross-fit K, or fresh crops with --data"
        )
    table = model.calibration.distinct
    if request.costs is not None:
        priced = [name for name, _ in request.costs.miss_of_types]
        if wrong := unknown_types("costs", priced, table, _types_in_test(model)):
            raise InputError(wrong)
    certificate, low = None, request.low
    if low is None:
        if model.in_sample:
            joint = joint_confidence(request.confidence, request.candidates)
            in_sample = NotCertifiableError(0, request.min_recall, joint, model.in_sample)
            return OperatingPoint(model, request, None, None, in_sample, None, None)
        try:
            certificate = certify_threshold(
                table.scores,
                table.is_defect,
                min_recall=request.min_recall,
                confidence=request.confidence,
                candidates=request.candidates,
                promises=request.promises(model),
                approximate=model.inexact,
                data_fingerprint=model.data_fingerprint,
                measured_on=model.measured_on,
            )
        except NotCertifiableError as refusal:
            return OperatingPoint(model, request, None, None, refusal, None, None)
        low = certificate.threshold
    high = request.high
    if high is None:
        high = choose_high(
            table.scores,
            table.is_defect,
            low,
            review_budget=request.review_budget,
            reject_precision=request.reject_precision,
            prevalence=request.prevalence,
        )
    if request.low is None and high < low:
        raise InputError(f"high: must be at least the certified threshold {low:g}, got {high:g}")
    thresholds = Thresholds(low, high)
    test = None
    if model.test is not None and model.test is not model.calibration:
        test = SplitFigures.of(model.test.distinct, thresholds, request)
    calibration = SplitFigures.of(table, thresholds, request)
    return OperatingPoint(model, request, thresholds, certificate, None, calibration, test)


@dataclass(frozen=True)
class Recorded:
    """The request that a run's certificate was made for, and its data's fingerprint.

    Without a certificate the request is the default one and the fingerprint None.
    """

    request: Request = Request()
    data_fingerprint: str | None = None


def read_recorded(run: Path) -> Recorded:
    """Return what the certificate in a run's ``evaluation.json`` was made for.

    Raises:
        InputError: the file is missing or damaged, or its certificate is of other weights.
    """
    certificate = own_certificate(run)
    if certificate is None:
        return Recorded()
    review = certificate.review or RecordedReview()
    request = replace(
        request_for(certificate), **{name: getattr(review, name) for name in CHOOSES_HIGH}
    )
    return Recorded(request, certificate.data_fingerprint)


def request_for(certificate: Certificate | RecordedCertificate) -> Request:
    """Return the request that a certificate answers; whoever certifies anew raises it again."""
    confidence, candidates = certificate.confidence, certificate.candidates
    if candidates > 1:
        confidence = 1 - (1 - confidence) * candidates
    return Request(
        min_recall=certificate.min_recall,
        confidence=confidence,
        candidates=candidates,
        recall_of_types=tuple(
            (one.name, one.min_recall) for one in certificate.slices if one.kind == "type"
        ),
        per_group=any(one.kind == "group" for one in certificate.slices),
    )


def _figures(table: Predictions, certificate: Certificate) -> dict[str, Any]:
    return Counts.at_threshold(table.scores, table.is_defect, certificate.threshold).to_json()
