"""Ways to more clean yield, priced from the scores at hand, in the order of what they bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from drupe.evaluation.certificate import NotCertifiableError, certify_threshold
from drupe.evaluation.holding import threshold_holders
from drupe.evaluation.intervals import format_target
from drupe.evaluation.lanes import LaneCounts, Thresholds, choose_high
from drupe.evaluation.model_predictions import ModelPredictions
from drupe.evaluation.operating_point import OperatingPoint, Request
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.pricing import FOLDS, Offer, price

WEAKER = (0.995, 0.99, 0.98, 0.97, 0.95, 0.9)
"""Promises that are priced: the next two below the one asked for."""

REVIEWED = 0.05
"""The share of items in the review lane that is priced."""

Kind = Literal["as it is", "labels", "crops", "share", "cross-fit", "promise", "review"]


@dataclass(frozen=True)
class NextStep:
    """A way on, and the clean yield that is to be expected of it.

    ``clean_yield`` is that of an average calibration set, in [0, 1], 90 % of sets lie in [``low``,
    ``high``]; all None where it still certifies nothing. ``command``: what does it. ``caveat``:
    what must hold for the figure, or what it costs. ``defects`` and ``misses_allowed``: of the
    calibration set.
    """

    kind: Kind
    what: str
    command: str
    caveat: str
    clean_yield: float | None
    low: float | None
    high: float | None
    defects: int
    misses_allowed: int | None

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


def next_steps(point: OperatingPoint, source: str) -> tuple[NextStep, ...]:
    """Return the calibration set as it is, then every way on, the one that brings most first.

    ``source`` is the run or CSV, for the commands. All figures are expected ones over calibration
    sets drawn anew (:func:`drupe.evaluation.pricing.price`), so that they can be compared: the draw
    at hand may have been a lucky one. Empty for a threshold given by hand, and where nothing can be
    certified whatever the number of items.
    """
    offers = point.offers
    if not offers:
        return ()
    assert point.model.calibration is not None
    table, request = point.model.calibration.distinct, point.request
    now = _step("as it is", "as it is", "", "", offers[0])
    found = [
        *(_of_offer(offer, source) for offer in offers[1:]),
        *_weaker(table, request, source),
        *_labels(table, request, source, point.model),
        *_review(table, request, now, source),
    ]
    found.sort(key=lambda step: -1.0 if step.clean_yield is None else -step.clean_yield)
    found.sort(key=lambda step: step.clean_yield is None)
    return (now, *found)


def _step(kind: Kind, what: str, command: str, caveat: str, offer: Offer) -> NextStep:
    return NextStep(
        kind,
        what,
        command,
        caveat,
        offer.clean_yield,
        offer.low,
        offer.high,
        offer.defects,
        offer.misses_allowed,
    )


def _of_offer(offer: Offer, source: str) -> NextStep:
    """Return a step that changes the calibration set."""
    if offer.more:
        what = f"{offer.more:,} more labelled defects"
        caveat = f"{offer.defects:,} new ones with --data DIR; or so many more, and trained anew"
        return _step("crops", what, f"drupe threshold {source} --data DIR", caveat, offer)
    if "cross-fit" in offer.way:
        command = f"drupe threshold {source} --cross-fit {FOLDS}"
        what = "every training defect scored by a fold, approximate (--cross-fit)"
        caveat = f"trains {FOLDS} more networks; the guarantee is approximate"
        return _step("cross-fit", what, command, caveat, offer)
    command = "drupe train EXPERIMENT calibration.holdout=0.5 --data DIR"
    what = "half of the training crops set aside (calibration.holdout=0.5)"
    return _step("share", what, command, "the network learns from fewer: not priced", offer)


def _weaker(table: Predictions, request: Request, source: str) -> Iterator[NextStep]:
    """Yield the next two weaker promises."""
    for recall in [level for level in WEAKER if level < request.min_recall][:2]:
        offer = price(
            table,
            min_recall=recall,
            confidence=request.confidence,
            candidates=request.candidates,
        )[0]
        what = f"recall ≥ {format_target(recall)} instead of {format_target(request.min_recall)}"
        what += f" (--min-recall {recall:g})"
        command = f"drupe threshold {source} --min-recall {recall:g}"
        caveat = "another promise: decide on it before looking at the figure"
        yield _step("promise", what, command, caveat, offer)


def _labels(
    table: Predictions, request: Request, source: str, model: ModelPredictions
) -> Iterator[NextStep]:
    """Yield what the lowest defects cost, if they turn out to be labelled wrongly."""
    try:
        holders = threshold_holders(table, request)
    except NotCertifiableError:
        return
    kept = [path not in set(holders.paths) for path in table.paths]
    offer = price(
        table.take(np.flatnonzero(kept)),
        min_recall=request.min_recall,
        confidence=request.confidence,
        candidates=request.candidates,
    )
    if not offer:
        return
    first, others = holders.paths[0], len(holders.paths) - 1
    which = f"{first} is" if not others else f"{first} and {others:,} more are"
    is_run = model.seed is not None
    what = f"if {which} labelled wrongly" + (" (drupe labels rank)" if is_run else "")
    command = f"drupe labels rank --run {source}" if is_run else "look at them"
    caveat = "at most, as leaving out the lowest always helps"
    if is_run and (model.fit_items or model.approximate):  # others rank by themselves
        caveat += f"; ranking trains {FOLDS} networks"
    yield _step("labels", what, command, caveat, offer[0])


def _review(table: Predictions, request: Request, now: NextStep, source: str) -> Iterator[NextStep]:
    """Yield what a lane of people brings: the clean items among those that they look at."""
    if request.review_budget or request.reject_precision is not None or now.clean_yield is None:
        return
    certificate = certify_threshold(
        table.scores,
        table.is_defect,
        min_recall=request.min_recall,
        confidence=request.confidence,
        candidates=request.candidates,
    )
    low = certificate.threshold
    high = choose_high(
        table.scores,
        table.is_defect,
        low,
        review_budget=REVIEWED,
        prevalence=request.prevalence,
    )
    counts = LaneCounts.of(table.scores, table.is_defect, Thresholds(low, high))
    if not counts.clean_reviewed:
        return
    saved = counts.clean_reviewed / counts.clean
    expected = min(now.clean_yield + saved, 1.0)
    offer = Offer("", now.defects, 0, now.misses_allowed, expected, None, None)
    what = f"a person looks at {format_target(REVIEWED)} of the items (--review-budget)"
    command = f"drupe threshold {source} --review-budget {REVIEWED:g}"
    here = (
        f"at {format_target(counts.defects / (counts.clean + counts.defects))} defects as in this "
        "set; fewer on the line leave less to gain: --prevalence"
    )
    mix = "" if request.prevalence else f"; {here}"
    yield _step("review", what, command, f"if people accept every clean one of them{mix}", offer)
