"""Evaluating the functions of an export: compared with the tested network, and certified.

A function is a graph × backend × precision. fp32 must decide every crop as the tested network did,
so it shares that network's thresholds, on whatever device. Every other precision gives other
scores: those are certified anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.backends import (
    Images,
    Precision,
    Session,
    open_session,
    require_scores,
)
from drupe.deployment.drift import CalibrationScores
from drupe.deployment.gate import Crops, compare_scores, require_no_flips, run_all
from drupe.deployment.manifest import Function, Gate, file_digest
from drupe.deployment.timing import medians_ms
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

NO_CERTIFICATE = Thresholds(0.5, 0.5)

YIELD_MARGIN = 0.02
"""A faster function whose certified clean yield on calibration is lower by more comes later."""


@dataclass(frozen=True)
class FunctionSpec:
    """A function to be evaluated: a graph file, the backend that runs it, and the precision."""

    graph: str
    backend: str
    precision: Precision

    @property
    def name(self) -> str:
        """``onnxruntime int8``."""
        return f"{self.backend} {self.precision}"

    @property
    def is_fp32(self) -> bool:
        """True where it must decide as the tested network did."""
        return self.precision == "fp32"

    @property
    def alternative(self) -> str:
        """The alternative it belongs to: all fp32 functions decide alike, so they are one."""
        return "fp32" if self.is_fp32 else self.name


@dataclass(frozen=True)
class TestFigures:
    """Counts of the distinct test items: ``argmax`` at 0.5, and at the thresholds."""

    argmax: Counts
    at_thresholds: SplitFigures

    @classmethod
    def of(cls, model: ModelPredictions, thresholds: Thresholds, request: Request) -> TestFigures:
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
class EvaluatedFunction:
    """A function with its evidence. ``refusal`` says why it has no certificate, if it has none.

    ``model`` holds its scores of calibration and test, ``golden`` those of the golden samples
    (float32 [G]).
    """

    function: Function
    model: ModelPredictions
    test: TestFigures
    refusal: NotCertifiableError | None
    golden: NDArray[np.float32]

    @property
    def clean_yield(self) -> float:
        """Share of the clean calibration items accepted at the certified threshold, else 0."""
        certificate = self.function.certificate
        return float(certificate["clean_yield"]["rate"]) if certificate else 0.0


@dataclass(frozen=True)
class FunctionEvaluation:
    """All functions, the one to prefer first, beside the figures of the tested network.

    ``thresholds`` are the tested network's. Of the ``alternatives``, ``certified_together`` many
    (m) have certificates that hold together.
    """

    functions: tuple[EvaluatedFunction, ...]
    tested_network: TestFigures
    thresholds: Thresholds
    alternatives: int
    certified_together: int


@dataclass(frozen=True)
class _TestedNetwork:
    """The network that functions are compared with: its predictions, crops and operating point."""

    model: ModelPredictions
    splits: Sequence[Crops]
    point: OperatingPoint

    @property
    def thresholds(self) -> Thresholds:
        return self.point.thresholds or NO_CERTIFICATE

    def compare(self, scores: Mapping[str, NDArray[np.float32]], own: Thresholds) -> Gate:
        """Compare a function's scores of every split, decided at its ``own`` thresholds."""
        expected = np.concatenate([crops.expected for crops in self.splits])
        found = np.concatenate([scores[crops.name] for crops in self.splits])
        return compare_scores(expected, found, self.thresholds, own)


@dataclass(frozen=True)
class _OpenFunction:
    """A function ready to run, the digest of its graph, and its median time for one image."""

    spec: FunctionSpec
    session: Session
    digest: str
    p50_ms: float

    def scores(self, splits: Sequence[Crops], progress: Progress) -> dict[str, NDArray[np.float32]]:
        """Return its scores of each split, float32 [n], by the split's name."""
        name = self.spec.name
        return {
            crops.name: run_all(self.session, crops.images, progress, f"{name} on {crops.name}")
            for crops in splits
        }


def evaluate_functions(
    specs: Sequence[FunctionSpec],
    graphs: Mapping[str, bytes],
    *,
    exported: bytes,
    model: ModelPredictions,
    splits: Sequence[Crops],
    request: Request,
    golden: Images,
    threads: int | None,
    progress: Progress,
) -> FunctionEvaluation:
    """Run every function on all crops, certify it and compare it with the tested network.

    All fp32 functions are one alternative; each other function is one. As many are certified,
    jointly, as the calibration's defects can bear: fp32 first, then the fastest. How many that is
    depends on counts alone, not on scores.

    Parameters
    ----------
    specs, graphs
        The functions, and the content of each graph file that they name.
    exported
        The float graph that all of ``graphs`` come from. Where no function runs it in fp32, it is
        run so all the same: what comes from another network must not be certified.
    model
        The tested network's predictions, whose calibration certifies.
    splits
        Calibration and test, or test alone where calibration's scores are those of other networks
        (cross-fitting): then no function but fp32 can be certified. Splits of other names are only
        compared.
    request
        The recall that certificates must prove, and how ``high`` is chosen.
    golden
        The golden samples, [G, H, W, C].
    threads
        CPU threads of one call; None: all cores that the process may use.
    progress
        Told of every split that a function runs on.

    Raises
    ------
    GateError
        A function in fp32 turned a decision.
    """
    functions = _open_in_order(specs, graphs, splits[0].images[:1], threads)
    alternatives = list(dict.fromkeys(one.spec.alternative for one in functions))
    certified = alternatives[: _most_certified_together(model, request, len(alternatives))]
    point = operating_point(model, _jointly(request, len(certified)))
    tested = _TestedNetwork(model, splits, point)
    if "fp32" not in alternatives:
        _require_tested_network(exported, tested, threads, progress)
    evaluated = []
    for one in functions:
        # At the confidence of all alternatives, which takes more defects than there are, the others
        # are refused, and the refusal says how many it would take.
        together = certified if one.spec.alternative in certified else alternatives
        asked = _jointly(request, len(together))
        evaluated.append(_evaluate(one, tested, asked, golden, progress))
    return FunctionEvaluation(
        functions=_by_preference(evaluated),
        tested_network=TestFigures.of(model, tested.thresholds, point.request),
        thresholds=tested.thresholds,
        alternatives=len(alternatives),
        certified_together=len(certified),
    )


def _open_in_order(
    specs: Sequence[FunctionSpec],
    graphs: Mapping[str, bytes],
    image: Images,
    threads: int | None,
) -> list[_OpenFunction]:
    """Open every function and time it on ``image`` ([1, H, W, C]): fp32 first, then speed."""
    sessions = [
        open_session(graphs[spec.graph], spec.backend, spec.precision, threads) for spec in specs
    ]
    times = medians_ms(sessions, image)
    functions = [
        _OpenFunction(spec, session, file_digest(graphs[spec.graph]), p50_ms)
        for spec, session, p50_ms in zip(specs, sessions, times, strict=True)
    ]
    return sorted(functions, key=lambda one: (not one.spec.is_fp32, one.p50_ms))


def _most_certified_together(model: ModelPredictions, request: Request, alternatives: int) -> int:
    """Return how many alternatives calibration's defects can certify jointly, at least 1."""
    assert model.calibration is not None
    is_defect = model.calibration.distinct.is_defect
    asked = [(int(is_defect.sum()), request.min_recall)]
    asked += [
        (int((is_defect & one.members).sum()), one.min_recall) for one in request.promises(model)
    ]
    for count in range(alternatives, 1, -1):
        joint = joint_confidence(request.confidence, request.candidates * count)
        if all(misses_allowed(n, recall, joint) is not None for n, recall in asked):
            return count
    return 1


def _jointly(request: Request, alternatives: int) -> Request:
    """Return ``request`` for certificates of so many alternatives that hold together."""
    return replace(request, candidates=request.candidates * alternatives)


def _require_tested_network(
    exported: bytes, tested: _TestedNetwork, threads: int | None, progress: Progress
) -> None:
    """Refuse a float graph that turns a decision of the tested network."""
    session = open_session(exported, "onnxruntime", "fp32", threads)
    for crops in tested.splits:
        scores = run_all(session, crops.images, progress, f"fp32 on {crops.name}")
        gate = compare_scores(crops.expected, scores, tested.thresholds)
        require_no_flips("onnxruntime fp32", gate)


def _evaluate(
    one: _OpenFunction,
    tested: _TestedNetwork,
    request: Request,
    golden: Images,
    progress: Progress,
) -> EvaluatedFunction:
    """Run one function on all crops, certify it as ``request`` asks, and compare it."""
    spec = one.spec
    scores = one.scores(tested.splits, progress)
    model = _with_scores(tested.model, scores, MeasuredOn(one.digest, spec.backend, spec.precision))
    point = _carried_over(tested.point, model) if spec.is_fp32 else operating_point(model, request)
    thresholds = point.thresholds or tested.thresholds
    gate = tested.compare(scores, thresholds)
    if spec.is_fp32:
        require_no_flips(spec.name, gate)
    function = Function(
        graph=spec.graph,
        backend=spec.backend,
        precision=spec.precision,
        low=thresholds.low,
        high=thresholds.high,
        certificate=point.certificate.to_json() if point.certificate else None,
        gate=gate,
        p50_ms=one.p50_ms,
    )
    test = TestFigures.of(model, thresholds, point.request)
    answers = one.session(golden)
    require_scores(answers)
    return EvaluatedFunction(function, model, test, point.refusal, answers)


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


def _carried_over(point: OperatingPoint, model: ModelPredictions) -> OperatingPoint:
    """Return the tested network's point for a function that decides every calibration item alike.

    The same items lie on the same side of the threshold, so its counts hold for this function too.
    """
    certificate = point.certificate
    if certificate is not None:
        certificate = replace(certificate, measured_on=model.measured_on)
    return replace(point, model=model, certificate=certificate)


def _by_preference(functions: Sequence[EvaluatedFunction]) -> tuple[EvaluatedFunction, ...]:
    """Sort by: a certificate, then a clean yield near the best certified one's, then speed."""
    least_yield = max(one.clean_yield for one in functions) - YIELD_MARGIN

    def place(one: EvaluatedFunction) -> tuple[bool, bool, float]:
        is_wasteful = one.clean_yield < least_yield
        return not one.function.is_certified, is_wasteful, one.function.p50_ms or np.inf

    return tuple(sorted(functions, key=place))


def line_reference(model: ModelPredictions) -> CalibrationScores:
    """Return the scores that a line can be compared with, one item per duplicate group.

    Those of calibration; where the network learnt from these items too (cross-fitting, or an
    imported network), they would look better than any line, and those of test stand in.
    """
    split = model.test if model.approximate or model.in_sample else model.calibration
    assert split is not None
    return CalibrationScores.of(split.distinct.scores, split.distinct.is_defect)
