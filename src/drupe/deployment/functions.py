"""Each way to run an export, judged: against the tested network, and by a certificate of its own.

A function is a graph × backend × precision. fp32 must decide every crop as the tested network did,
so it shares that network's thresholds. int8 and bf16 give other scores: theirs are certified anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.backends import Backend, Session, open_session
from drupe.deployment.bench import medians_ms
from drupe.deployment.drift import CalibrationScores
from drupe.deployment.gate import Crops, compare_scores, require_no_flips, run_all
from drupe.deployment.manifest import Function, file_digest
from drupe.evaluation.certificate import (
    MeasuredOn,
    NotCertifiableError,
    joint_confidence,
    misses_allowed,
)
from drupe.evaluation.lanes import Thresholds
from drupe.evaluation.metrics import Counts
from drupe.evaluation.model_predictions import JudgedSplit, ModelPredictions
from drupe.evaluation.operating_point import OperatingPoint, Request, SplitFigures, operating_point
from drupe.progress import Progress

FunctionPrecision = Literal["fp32", "bf16", "int8"]

NO_CERTIFICATE = Thresholds(0.5, 0.5)

YIELD_MARGIN = 0.02
"""A faster function whose certified clean yield on calibration is lower by more comes later."""


@dataclass(frozen=True)
class Way:
    """A graph file, and what is to run it how."""

    graph: str
    backend: Backend
    precision: FunctionPrecision

    @property
    def name(self) -> str:
        """``onnxruntime int8``."""
        return f"{self.backend} {self.precision}"

    @property
    def is_fp32(self) -> bool:
        """Whether it must decide as the tested network did."""
        return self.precision == "fp32"


@dataclass(frozen=True)
class Tested:
    """What thresholds do on the distinct test items; ``argmax`` counts at 0.5."""

    argmax: Counts
    at_thresholds: SplitFigures

    @classmethod
    def of(cls, model: ModelPredictions, thresholds: Thresholds, request: Request) -> Tested:
        """Count the test items of ``model``."""
        assert model.test is not None
        table = model.test.distinct
        return cls(
            Counts.at_threshold(table.scores, table.is_defect),
            SplitFigures.of(table, thresholds, request),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the accuracy at 0.5, and recall and clean yield at the thresholds."""
        counts, confidence = self.at_thresholds.counts, self.at_thresholds.confidence
        return {
            "accuracy": self.argmax.accuracy(confidence).to_json(),
            "misses": counts.defects_accepted,
            "recall": counts.recall(confidence, sides=1).to_json(),
            "clean_yield": counts.clean_yield(confidence).to_json(),
        }


@dataclass(frozen=True)
class Judged:
    """A function with its evidence. ``refusal`` says why it has no certificate, if it has none."""

    function: Function
    model: ModelPredictions
    test: Tested
    refusal: NotCertifiableError | None
    golden: NDArray[np.float32]

    @property
    def clean_yield(self) -> float:
        """Share of the clean calibration items accepted at the certified threshold, else 0."""
        certificate = self.function.certificate
        return float(certificate["clean_yield"]["rate"]) if certificate else 0.0


def line_reference(model: ModelPredictions) -> CalibrationScores:
    """Return the scores that a line can be compared with, one item per duplicate group.

    Those of calibration; where the network learnt from these items too (cross-fitting, or an
    imported network), they would look better than any line, and those of test stand in.
    """
    split = model.test if model.approximate or model.in_sample else model.calibration
    assert split is not None
    return CalibrationScores.of(split.distinct.scores, split.distinct.is_defect)


@dataclass(frozen=True)
class Judgement:
    """All functions, the one to prefer first, beside what the tested network does.

    ``thresholds`` are the tested network's. Of the ``alternatives``, ``certified`` many (m) have
    certificates that hold together.
    """

    functions: tuple[Judged, ...]
    reference: Tested
    thresholds: Thresholds
    alternatives: int
    certified: int


@dataclass(frozen=True)
class Judge:
    """What every function is judged on: the tested model, its crops, and what is asked of it.

    ``splits`` are calibration and test, or test alone where calibration's scores are those of
    other networks (cross-fitting): then no function but fp32 can be certified. Splits of other
    names are only compared.
    """

    model: ModelPredictions
    splits: Sequence[Crops]
    request: Request
    golden: NDArray[np.uint8]
    threads: int | None
    progress: Progress

    def judge(self, ways: Sequence[Way], graphs: Mapping[str, bytes], exported: bytes) -> Judgement:
        """Run every way on all crops, certify it and compare it with the tested network.

        ``exported``: the float graph that all of ``graphs`` come from. Where no way runs it in
        fp32, it is run so all the same: what comes from another network must not be certified.

        All fp32 ways are one alternative; each other way is one. As many are certified, jointly,
        as the calibration's defects can bear: fp32 first, then the fastest. How many that is
        depends on counts alone, not on scores.

        Raises:
            GateError: a way in fp32 turned a decision.
        """
        sessions = [
            open_session(graphs[w.graph], w.backend, w.precision, self.threads) for w in ways
        ]
        times = medians_ms(sessions, self.splits[0].images[:1])
        timed = sorted(
            zip(ways, sessions, times, strict=True), key=lambda one: (not one[0].is_fp32, one[2])
        )
        exact = sum(way.is_fp32 for way in ways)
        alternatives = min(1, exact) + len(ways) - exact
        borne = _borne(self.model, self.request, alternatives)
        tested = operating_point(self.model, _joint(self.request, borne))
        if not exact:
            self._require_tested(exported, tested)
        found = []
        for place, (way, session, p50_ms) in enumerate(timed):
            number = 1 if way.is_fp32 else place - exact + min(1, exact) + 1
            request = _joint(self.request, borne if number <= borne else alternatives)
            measured_on = MeasuredOn(file_digest(graphs[way.graph]), way.backend, way.precision)
            found.append(self._judge(way, session, p50_ms, measured_on, tested, request))
        found = sorted(found, key=lambda one: _preference(one, found))
        thresholds = tested.thresholds or NO_CERTIFICATE
        reference = Tested.of(self.model, thresholds, tested.request)
        return Judgement(tuple(found), reference, thresholds, alternatives, borne)

    def _require_tested(self, exported: bytes, tested: OperatingPoint) -> None:
        """Refuse a float graph that turns a decision of the tested network."""
        session = open_session(exported, "onnxruntime", "fp32", self.threads)
        thresholds = tested.thresholds or NO_CERTIFICATE
        for one in self.splits:
            scores = run_all(session, one.images, self.progress, f"fp32 on {one.name}")
            gate = compare_scores(one.expected, scores, thresholds)
            require_no_flips("onnxruntime fp32", gate)

    def _judge(
        self,
        way: Way,
        session: Session,
        p50_ms: float,
        measured_on: MeasuredOn,
        tested: OperatingPoint,
        request: Request,
    ) -> Judged:
        scores = {
            one.name: run_all(session, one.images, self.progress, f"{way.name} on {one.name}")
            for one in self.splits
        }
        own = _with_scores(self.model, scores, measured_on)
        point = _carried_over(tested, own) if way.is_fp32 else operating_point(own, request)
        deployed = tested.thresholds or NO_CERTIFICATE
        thresholds = point.thresholds or deployed
        expected = np.concatenate([one.expected for one in self.splits])
        found = np.concatenate([scores[one.name] for one in self.splits])
        gate = compare_scores(expected, found, deployed, thresholds)
        if way.is_fp32:
            require_no_flips(way.name, gate)
        function = Function(
            graph=way.graph,
            backend=way.backend,
            precision=way.precision,
            low=thresholds.low,
            high=thresholds.high,
            certificate=point.certificate.to_json() if point.certificate else None,
            gate=gate,
            p50_ms=p50_ms,
        )
        test = Tested.of(own, thresholds, point.request)
        return Judged(function, own, test, point.refusal, session(self.golden))


def _borne(model: ModelPredictions, request: Request, alternatives: int) -> int:
    """Return how many of the alternatives can be certified together: all, or fewer, at least 1."""
    assert model.calibration is not None
    defects = int(model.calibration.distinct.is_defect.sum())
    for count in range(alternatives, 1, -1):
        confidence = joint_confidence(request.confidence, request.candidates * count)
        if misses_allowed(defects, request.min_recall, confidence) is not None:
            return count
    return 1


def _joint(request: Request, alternatives: int) -> Request:
    return replace(request, candidates=request.candidates * alternatives)


def _with_scores(
    model: ModelPredictions, scores: Mapping[str, NDArray[np.float32]], measured_on: MeasuredOn
) -> ModelPredictions:
    """Return ``model`` with the function's own scores of calibration and test.

    Without its own of calibration, nothing can be certified on what stands there.
    """

    def own(name: str, split: JudgedSplit | None) -> JudgedSplit | None:
        if split is None or name not in scores:
            return split
        # 32-bit sigmoids may end a rounding step outside [0, 1].
        values = np.clip(scores[name], 0, 1)
        return JudgedSplit(replace(split.table, scores=values, logits=None), split.groups)

    in_sample = model.in_sample
    if "calibration" not in scores:
        in_sample = f"calibration is not its own: {model.approximate}"
    return replace(
        model,
        calibration=own("calibration", model.calibration),
        test=own("test", model.test),
        measured_on=measured_on,
        in_sample=in_sample,
    )


def _carried_over(tested: OperatingPoint, own: ModelPredictions) -> OperatingPoint:
    """Return the tested network's point for a function that decides every calibration item alike.

    The same items lie on the same side of the threshold, so its counts hold for this function too.
    """
    certificate = tested.certificate
    if certificate is not None:
        certificate = replace(certificate, measured_on=own.measured_on)
    return replace(tested, model=own, certificate=certificate)


def _preference(one: Judged, among: Sequence[Judged]) -> tuple[bool, bool, float]:
    """Sort by: a certificate, then a clean yield near the best certified one's, then speed."""
    best = max(other.clean_yield for other in among)
    wasteful = one.clean_yield < best - YIELD_MARGIN
    return not one.function.is_certified, wasteful, one.function.p50_ms or np.inf
