"""What a bundle doesn't know: learnt at export, limited by calibration, compared across runtimes.

Letters: n items of a split, G golden samples, N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from drupe.deployment.backends import Images, Session, open_session
from drupe.deployment.evidence import Evidence
from drupe.deployment.functions import (
    EvaluatedFunction,
    FunctionEvaluation,
    FunctionSpec,
)
from drupe.deployment.gate import BATCH, GateError
from drupe.deployment.manifest import UnknownFigures, UnknownOutput
from drupe.deployment.unknown import (
    DEFAULT_RATE,
    CalibrationDistances,
    Distances,
    UnknownCheck,
    UnknownLane,
    check_rate,
    fewest,
    least_rate,
)
from drupe.evaluation.grouping import first_of_each_group
from drupe.evaluation.lanes import LaneCounts, Thresholds
from drupe.evaluation.model_predictions import JudgedSplit
from drupe.models.early_features import DistanceLayer, early_features
from drupe.models.ensemble import AnyNetwork, Ensemble
from drupe.models.type_head import NoFeaturesError
from drupe.progress import Progress

MOST_ITEMS = 5_000
"""Items of ``fit`` that distances start from, evenly spaced among more."""

FEWEST_FIT = 100
"""With fewer items in ``fit`` there is no telling what is like them."""

NOT_WANTED = "switched off"


@dataclass(frozen=True)
class UnknownRequest:
    """What is asked of a bundle: ``is_wanted``: False switches the check off.

    rate: α, None: the default one, if it can be had; lane: where what is unknown goes.
    """

    rate: float | None = None
    lane: UnknownLane = "review"
    is_wanted: bool = True

    def __post_init__(self) -> None:
        if self.rate is not None:
            check_rate(self.rate)

    @property
    def alpha(self) -> float:
        """The rate in force."""
        return DEFAULT_RATE if self.rate is None else self.rate


@dataclass(frozen=True)
class Familiarity:
    """How distances are measured: by ``layer``, learnt from ``fit`` items; or why they are not."""

    layer: DistanceLayer | None
    fit: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class ExportedUnknown:
    """What a bundle says of unknown items, and the distances behind it, by function.

    golden: float32 [G]; flags: by split, bool [n], which items each function calls unknown.
    """

    output: UnknownOutput
    golden: Mapping[str, Distances]
    calibration: Mapping[str, CalibrationDistances]
    flags: Mapping[str, Mapping[str, NDArray[np.bool_]]]


def learn_familiarity(
    network: AnyNetwork, evidence: Evidence, asked: UnknownRequest, progress: Progress
) -> Familiarity:
    """Learn from the run's ``fit`` items what is familiar, where calibration can limit it.

    Raises:
        GateError: a rate was asked for that can't be had; nothing is exported.
    """
    if not asked.is_wanted:
        return Familiarity(None, reason=NOT_WANTED)
    reason = _hindrance(network, evidence, asked.alpha)
    if reason is None:
        try:
            return _learn(network, evidence, progress)
        except NoFeaturesError as error:
            reason = str(error)
    if asked.rate is not None:
        raise GateError(
            f"--unknown-rate {asked.rate:g}: what is unknown can't be told: {reason}: nothing was "
            "exported"
        )
    return Familiarity(None, reason=reason)


def _hindrance(network: AnyNetwork, evidence: Evidence, rate: float) -> str | None:
    """Return why calibration can't say what is unknown; None where it can."""
    model = evidence.model
    if isinstance(network, Ensemble):
        return "an ensemble's members see an image in different ways"
    assert model.calibration is not None
    if learnt := model.approximate or model.in_sample:
        return f"the network has learnt from calibration ({learnt})"
    if len(evidence.data.split.fit) < FEWEST_FIT:
        return f"takes {FEWEST_FIT} items to learn from (fit), got {len(evidence.data.split.fit)}"
    is_defect = model.calibration.distinct.is_defect
    defects, clean = int(is_defect.sum()), int((~is_defect).sum())
    if min(defects, clean) < fewest(rate):
        return (
            f"at a rate of {rate:g} takes {fewest(rate):,} distinct calibration items of each "
            f"class, got {clean:,} clean and {defects:,} defects; --unknown-rate "
            f"{least_rate(min(defects, clean)):.2g} is the least that they allow"
        )
    return None


def _learn(network: AnyNetwork, evidence: Evidence, progress: Progress) -> Familiarity:
    assert not isinstance(network, Ensemble)
    fit = evidence.data.split.fit
    if len(fit) > MOST_ITEMS:
        fit = fit[np.linspace(0, len(fit) - 1, MOST_ITEMS).astype(np.intp)]
    with progress("what is known", len(fit), "images") as tracker:
        parts = []
        for start in range(0, len(fit), BATCH):
            images = evidence.data.dataset.images[fit[start : start + BATCH]]
            parts.append(early_features(network, images))
            tracker.advance(len(images))
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise NoFeaturesError("its first stages give numbers that are not finite")
    return Familiarity(DistanceLayer.of(features), len(fit))


def compare_distances(
    specs: Sequence[FunctionSpec],
    graphs: Mapping[str, bytes],
    network: AnyNetwork,
    learnt: Familiarity,
    asked: UnknownRequest,
    evidence: Evidence,
    golden: Images,
    threads: int | None,
    progress: Progress,
) -> ExportedUnknown | None:
    """Run every function on all crops and limit it by its own distances of calibration.

    None where nothing was ``learnt``. Each function has its own limit, and must call unknown what
    PyTorch does by its own.

    Raises:
        GateError: a function in fp32 calls an item otherwise; nothing is exported.
    """
    if learnt.layer is None:
        return None
    assert not isinstance(network, Ensemble)
    measured = {
        # Networks are trained on RGB; ordering twice is no order.
        crops.name: _torch_distances(network, learnt.layer, evidence.contract.ordered(crops.images))
        for crops in evidence.splits
    }
    expected, limit = measured, _calibration(evidence, measured).limit(asked.alpha)
    figures, kept, calibration, flags = {}, {}, {}, {}
    for spec in specs:
        session = open_session(graphs[spec.graph], spec.backend, spec.precision, threads)
        found = {
            crops.name: _distances(session, crops.images, progress, f"{spec.name}: {crops.name}")
            for crops in evidence.splits
        }
        own = calibration[spec.name] = _calibration(evidence, found)
        check = UnknownCheck(own.limit(asked.alpha), asked.lane, own)
        flags[spec.name] = {name: check.are_unknown(values) for name, values in found.items()}
        turned = sum(
            int(np.count_nonzero(flags[spec.name][name] != ~(values <= np.float32(limit))))
            for name, values in expected.items()
        )
        off = max(_difference(values, found[name]) for name, values in expected.items())
        if spec.is_fp32 and turned:
            raise GateError(
                f"{spec.name}: calls {turned:,} items unknown or known otherwise than the tested "
                f"network (distances off by up to {off:.2g} of their own): nothing was exported"
            )
        figures[spec.name] = _figures(evidence, check, asked.alpha, flags[spec.name], turned, off)
        kept[spec.name] = session.outputs(golden)[-1]
    output = UnknownOutput(rate=asked.alpha, lane=asked.lane, fit=learnt.fit, functions=figures)
    return ExportedUnknown(output, kept, calibration, flags)


@torch.inference_mode()
def _torch_distances(network: Any, layer: DistanceLayer, images: Images) -> Distances:
    found: Distances = layer(torch.from_numpy(early_features(network, images))).numpy()
    return found


def _distances(session: Session, images: Images, progress: Progress, what: str) -> Distances:
    parts = []
    with progress(f"distances, {what}", len(images), "images") as tracker:
        for start in range(0, len(images), BATCH):
            batch = np.ascontiguousarray(images[start : start + BATCH])
            parts.append(session.outputs(batch)[-1])
            tracker.advance(len(batch))
    return np.concatenate(parts)


def _difference(expected: Distances, found: Distances) -> float:
    """Return the largest difference, as a share of the expected distance."""
    return float((np.abs(found - expected) / np.maximum(expected, 1e-6)).max(initial=0))


def _calibration(evidence: Evidence, found: Mapping[str, Distances]) -> CalibrationDistances:
    split = evidence.model.calibration
    assert split is not None
    items = _distinct(split)
    return CalibrationDistances.of(found["calibration"][items], split.table.is_defect[items])


def _distinct(split: JudgedSplit) -> NDArray[np.intp]:
    """Return one item per duplicate group, as claims count them."""
    table = split.table
    return first_of_each_group(table.paths, split.groups, table.is_defect)


def _figures(
    evidence: Evidence,
    check: UnknownCheck,
    rate: float,
    flags: Mapping[str, NDArray[np.bool_]],
    turned: int,
    off: float,
) -> UnknownFigures:
    test, own = evidence.model.test, check.calibration
    assert test is not None
    items = _distinct(test)
    flagged, is_defect = flags["test"][items], test.table.is_defect[items]
    clean_rate, defect_rate = own.false_alarm_rates(rate)
    return UnknownFigures(
        limit=check.limit,
        clean=len(own.clean),
        defects=len(own.defect),
        clean_rate=clean_rate,
        defect_rate=defect_rate,
        test_clean=int((flagged & ~is_defect).sum()),
        of_test_clean=int((~is_defect).sum()),
        test_defects=int((flagged & is_defect).sum()),
        of_test_defects=int(is_defect.sum()),
        images=sum(map(len, flags.values())),
        turned=turned,
        max_difference=off,
    )


def with_unknown(
    evaluation: FunctionEvaluation, unknown: ExportedUnknown | None
) -> FunctionEvaluation:
    """Return the figures as the bundle decides: unknown items aren't accepted.

    A certificate's promise of recall stays that of scores alone: it can only be kept more often.
    """
    if unknown is None:
        return evaluation
    lane = unknown.output.lane
    functions = tuple(
        _counted(one, unknown.flags[one.function.name], lane) for one in evaluation.functions
    )
    return replace(evaluation, functions=functions)


def _counted(
    one: EvaluatedFunction, flags: Mapping[str, NDArray[np.bool_]], lane: UnknownLane
) -> EvaluatedFunction:
    function, model = one.function, one.model
    assert model.calibration is not None
    assert model.test is not None
    thresholds = Thresholds(function.low, function.high)
    at = one.test.at_thresholds
    counts = _lanes(model.test, thresholds, flags["test"], lane)
    test = replace(one.test, at_thresholds=replace(at, counts=counts))
    if function.certificate is None:
        return replace(one, test=test)
    held = _lanes(model.calibration, thresholds, flags["calibration"], lane)
    confidence = function.certificate["clean_yield"]["confidence"]
    certificate = {
        **function.certificate,
        "clean_accepted": held.clean_accepted,
        "clean_yield": held.clean_yield(confidence).to_json(),
    }
    function = function.model_copy(update={"certificate": certificate})
    return replace(one, test=test, function=function)


def _lanes(
    split: JudgedSplit, thresholds: Thresholds, flags: NDArray[np.bool_], lane: UnknownLane
) -> LaneCounts:
    items = _distinct(split)
    decisions = thresholds.decide(split.table.scores[items])
    decisions[flags[items]] = lane
    return LaneCounts.of_decisions(decisions, split.table.is_defect[items])
