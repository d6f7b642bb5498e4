"""Criteria and evidence in, ``pass`` / ``fail`` / ``undecided`` out.

``pass``: the evidence shows the requirement with the stated confidence. ``fail``: it shows the
opposite. ``undecided``: it shows neither, and ``settles_with`` says how much more would, if what
was seen so far holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from drupe.evaluation.bisection import smallest_above
from drupe.evaluation.certificate import (
    Certificate,
    joint_confidence,
    needed_defects,
    refutation_p_value,
)
from drupe.evaluation.criterion_verdict import (
    CriterionVerdict,
    LatencyEvidence,
    NotMeasured,
    RecallEvidence,
    Settlement,
    SizeEvidence,
    Verdict,
)
from drupe.evaluation.intervals import Proportion, check_confidence, clopper_pearson
from drupe.evaluation.order_statistics import quantile_bounds
from drupe.evaluation.paired import ClusteredMean, PairedDifference

MOST = 10**9
"""Further items beyond which nothing is promised to settle a criterion."""


def judge_rate(
    criterion: str, rate: Proportion | ClusteredMean, required: float, what: str = "images"
) -> CriterionVerdict:
    """Judge "``rate`` is at least ``required``" by its one-sided bounds.

    ``rate`` must have ``sides=1``: accuracy, clean yield, precision, of one run or averaged over
    seeds. ``what`` the rate counts.
    """
    if rate.sides != 1:
        raise ValueError(f"rate: must have one-sided bounds, got sides={rate.sides}")
    if isinstance(rate, Proportion):
        value, weight, size = rate.rate, float(rate.trials), rate.trials
    else:
        value, weight, size = rate.mean, rate.effective_images, rate.images
    verdict = _by_bounds(rate.low >= required, rate.high < required)
    settles = None
    if verdict == "undecided" and value is not None and weight:
        needed = _trials_that_settle(value, required, weight, rate.confidence)
        # A seed's average over copies is worth fewer images than it counts: so will further ones.
        settles = needed and Settlement(max(1, round((needed - weight) * size / weight)), what)
    reasons: dict[Verdict, str] = {
        "pass": "the lower bound reaches it",
        "fail": "the upper bound stays below it",
        "undecided": "it lies between the bounds",
    }
    return CriterionVerdict(
        criterion=criterion,
        required=f"≥ {100 * required:g} %",
        verdict=verdict,
        reason=reasons[verdict],
        evidence=rate,
        settles_with=settles or None,
    )


def judge_better(
    criterion: str, difference: PairedDifference, baseline: str, margin: float = 0.0
) -> CriterionVerdict:
    """Judge "at least as good as ``baseline`` on the same images" by the paired difference.

    ``difference`` (candidate minus baseline) must have one-sided bounds. ``margin``: how much
    worse, as a rate, still passes.
    """
    if difference.sides != 1:
        raise ValueError(f"difference: must have one-sided bounds, got sides={difference.sides}")
    verdict = _by_bounds(difference.low >= -margin, difference.high < -margin)
    settles = None
    distance = difference.difference + margin
    if verdict == "undecided" and distance:
        # The bound's distance shrinks with the root of the number of images.
        bound = difference.low if distance > 0 else difference.high
        growth = ((difference.difference - bound) / distance) ** 2
        further = int(np.ceil(difference.images * max(growth - 1, 0))) or 1
        settles = Settlement(further, "images") if further <= MOST else None
    return CriterionVerdict(
        criterion=criterion,
        required=f"≥ {baseline}" + (f" − {100 * margin:g} points" if margin else ""),
        verdict=verdict,
        reason=f"paired with {baseline} on {difference.images:,} images",
        evidence=difference,
        settles_with=settles,
    )


def judge_certified_recall(
    certificate: Certificate | None,
    *,
    required: float,
    confidence: float,
    candidates: int = 1,
    calibration_defects: int,
    test_misses: int,
    test_defects: int,
) -> CriterionVerdict:
    """Judge "recall is at least ``required``" at a threshold certified on calibration.

    ``pass``: an exact certificate, which the test does not refute: were recall exactly
    ``required``, at least so many misses would have more than a chance of 1 − confidence. ``fail``:
    the test refutes it. An approximate certificate, or none, is ``undecided`` at best.
    ``test_misses`` are those at the certificate's threshold; ``candidates`` as for
    :func:`drupe.evaluation.certificate.certify_threshold`.
    """
    chance = refutation_p_value(test_misses, test_defects, required)
    evidence = RecallEvidence(
        certificate=certificate,
        test=Proportion(test_defects - test_misses, test_defects, confidence, sides=1),
        refutation_p_value=chance,
    )
    joint = joint_confidence(confidence, candidates)
    needed = needed_defects(required, joint)
    verdict: Verdict = "undecided"
    settles = None
    if certificate and not (certificate.min_recall >= required and certificate.confidence >= joint):
        raise ValueError(
            "certificate: must be for the required recall and joint confidence, or stricter"
        )
    if certificate is None:
        reason = "too few calibration defects for a certificate"
        settles = Settlement(max(1, needed - calibration_defects), "calibration defects")
    elif chance <= 1 - confidence:
        verdict, reason = "fail", "the test refutes the certificate"
    elif certificate.approximate:
        reason = f"the certificate is approximate: {certificate.approximate}"
        settles = Settlement(needed, "fresh defects (--data)")
    else:
        verdict, reason = "pass", "certified exactly, and the test does not refute it"
    return CriterionVerdict(
        criterion="recall",
        required=f"≥ {100 * required:g} %",
        verdict=verdict,
        reason=reason,
        evidence=evidence,
        settles_with=settles,
    )


def judge_fixed_threshold_recall(
    misses: int, defects: int, required: float, confidence: float
) -> CriterionVerdict:
    """Judge recall at one threshold that was fixed before the test: by its exact bounds."""
    rate = Proportion(defects - misses, defects, confidence, sides=1)
    return judge_rate("recall", rate, required, what="defects")


def judge_latency(
    samples: ArrayLike, limit: float, *, share: float = 0.95, confidence: float = 0.95
) -> CriterionVerdict:
    """Judge "the ``share`` quantile of latency lies below ``limit``" (both in milliseconds).

    ``samples`` are float [n], one per decision. The bounds are order statistics, free of any
    distribution (David & Nagaraja 2003, 7.1), for independent samples.
    """
    check_confidence(confidence, 1)
    ordered = np.sort(np.asarray(samples, np.float64))
    count = ordered.size
    if not count or not np.isfinite(ordered).all():
        raise ValueError("samples: must hold finite milliseconds, at least one")
    low, high = quantile_bounds(ordered, share, confidence, sides=1)
    verdict = _by_bounds(high is not None and high < limit, low is not None and low >= limit)
    settles = None
    if high is None:
        settles = Settlement(
            int(np.ceil(np.log(1 - confidence) / np.log(share))) - count, "samples"
        )
    value = float(np.quantile(ordered, share))
    return CriterionVerdict(
        criterion="latency",
        required=f"p{100 * share:g} < {limit:g} ms",
        verdict=verdict,
        reason=f"the p{100 * share:g} is {value:.3g} ms",
        evidence=LatencyEvidence(
            quantile=share,
            value_ms=value,
            low_ms=low,
            high_ms=high,
            samples=count,
            confidence=confidence,
        ),
        settles_with=settles,
    )


def judge_size(size_bytes: int, limit_bytes: int) -> CriterionVerdict:
    """Judge "the exported artefact is smaller than ``limit_bytes``": a fact, never undecided."""
    fits = size_bytes < limit_bytes
    return CriterionVerdict(
        criterion="size",
        required=f"< {limit_bytes / 1e6:g} MB",
        verdict="pass" if fits else "fail",
        reason=f"it has {size_bytes / 1e6:.1f} MB",
        evidence=SizeEvidence(size_bytes=size_bytes),
    )


def without_pass(verdict: CriterionVerdict, doubt: str | None) -> CriterionVerdict:
    """Return ``verdict``, but ``undecided`` in place of ``pass`` where there is a ``doubt``.

    A ``fail`` stays: the doubt is whether the figures are too good.
    """
    if doubt is None or verdict.verdict != "pass":
        return verdict
    return verdict.model_copy(
        update={"verdict": "undecided", "reason": f"{verdict.reason}; but {doubt}"}
    )


def not_measured(criterion: str, required: str) -> CriterionVerdict:
    """Return the verdict on a criterion that nothing is known about."""
    return CriterionVerdict(
        criterion=criterion,
        required=required,
        verdict="undecided",
        reason="not measured",
        evidence=NotMeasured(),
    )


def _by_bounds(passes: bool, fails: bool) -> Verdict:
    return "pass" if passes else "fail" if fails else "undecided"


def _trials_that_settle(
    rate: float, required: float, trials: float, confidence: float
) -> int | None:
    """Return the fewest trials at which ``rate`` would lie on one side of ``required`` for sure."""

    def settled(n: float) -> bool:
        low, high = clopper_pearson(rate * n, n, confidence, 1)
        return low >= required if rate > required else high < required

    if rate == required:
        return None
    return smallest_above(int(np.ceil(trials)), settled, MOST)
