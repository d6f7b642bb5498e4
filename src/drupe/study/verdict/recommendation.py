"""One recommendation, by a rule that was fixed in advance, and what would change it.

Among the experiments that fail no criterion: the fastest whose clean yield at its certified
threshold is within ``margin`` of the best one's, by the lower bound of the paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.criterion_verdict import CriterionVerdict
from drupe.evaluation.intervals import format_percent, format_target
from drupe.evaluation.operating_point import OperatingPoint
from drupe.evaluation.paired import paired_difference
from drupe.study.definition.spec import Baseline
from drupe.study.verdict.document import Recommendation

REMEDIES = {
    "accuracy": "a better model",
    "recall": "a better model",
    "latency": "a faster model or line PC",
    "size": "a smaller model",
}
"""By criterion, the change that would make a model pass that fails it."""


@dataclass(frozen=True)
class RecommendationCandidate:
    """An experiment with its verdicts, and the median milliseconds of its run.

    ``run`` is the run's folder, relative to the study's; ``point`` is where it would operate as the
    one chosen of all candidates, ``alone`` where as the only one there is.
    """

    name: str
    run: str | None
    criteria: tuple[CriterionVerdict, ...]
    point: OperatingPoint | None
    p50_ms: float | None
    alone: OperatingPoint | None = None

    @property
    def fails(self) -> tuple[str, ...]:
        """The criteria that it fails."""
        return tuple(item.criterion for item in self.criteria if item.verdict == "fail")

    @property
    def is_certified(self) -> bool:
        """Return whether a certificate, exact or approximate, and a test show its clean yield."""
        return (
            self.point is not None and self.point.test is not None and bool(self.point.certificate)
        )

    @property
    def is_useful(self) -> bool:
        """Return whether it is certified and accepts anything: to reject all misses nothing."""
        return self.is_certified and bool(self.accepted().any())

    def accepted(self) -> NDArray[np.bool_]:
        """Return a mask of the distinct clean test items that it accepts: bool [n]."""
        point = self.point
        assert point is not None
        assert point.thresholds is not None
        assert point.model.test is not None
        table = point.model.test.distinct
        decided: NDArray[np.bool_] = point.thresholds.decide(table.scores) == "accept"
        return decided[~table.is_defect]


def recommend(
    candidates: Sequence[RecommendationCandidate],
    baseline: Baseline,
    margin: float,
    confidence: float,
) -> Recommendation:
    """Apply the rule. ``baseline`` is kept where nothing beats it."""
    good = [one for one in candidates if not one.fails and one.is_useful]
    if not good:
        return Recommendation(
            text=_no_recommendation(candidates, baseline.label),
            changes_with=_needed_for_any(candidates),
        )
    yields = {one.name: float(one.accepted().mean()) for one in good}
    best = max(good, key=lambda one: yields[one.name])
    near = [one for one in good if one is best or _is_near(one, best, margin, confidence)]
    chosen = min(near, key=lambda one: (one.p50_ms is None, one.p50_ms or 0.0))
    if chosen.p50_ms is None:
        chosen = best
    text = _recommendation_text(chosen, best, yields, near, margin)
    if chosen.name == baseline.id:
        text = f"Keep the baseline. {text}"
    return Recommendation(
        experiment=chosen.name,
        run=chosen.run,
        text=text,
        changes_with=_needed_to_settle(chosen),
    )


def _is_near(
    one: RecommendationCandidate, best: RecommendationCandidate, margin: float, confidence: float
) -> bool:
    accepted, most = one.accepted(), best.accepted()
    items = np.arange(accepted.size)
    found = paired_difference(accepted[None], most[None], items, confidence, sides=1)
    return found.low >= -margin


def _recommendation_text(
    chosen: RecommendationCandidate,
    best: RecommendationCandidate,
    yields: Mapping[str, float],
    near: Sequence[RecommendationCandidate],
    margin: float,
) -> str:
    assert chosen.point is not None
    certificate = chosen.point.certificate
    assert certificate is not None
    speed = "latency was not measured" if chosen.p50_ms is None else f"{chosen.p50_ms:.3g} ms"
    kind = "" if certificate.is_exact else " (an approximate certificate)"
    text = (
        f"Take {chosen.name} further: it fails no criterion and accepts "
        f"{format_percent(yields[chosen.name])} of clean test items at the threshold certified for "
        f"{format_target(certificate.min_recall)} recall{kind}, {speed}."
    )
    if chosen is not best:
        text += (
            f" {best.name} accepts {format_percent(yields[best.name])}, but is slower, and the "
            f"difference is within {100 * margin:g} points by its lower bound."
        )
    elif len(near) > 1:
        text += f" {', '.join(one.name for one in near if one is not chosen)} would do as well."
    undecided = [item.criterion for item in chosen.criteria if item.verdict == "undecided"]
    if undecided:
        text += f" Still undecided: {', '.join(undecided)}."
    return text


def _needed_to_settle(chosen: RecommendationCandidate) -> str:
    """Say how much more would settle what is undecided about the chosen model."""
    parts = [
        f"{item.criterion}: {item.settles_with.further:,} further {item.settles_with.what}"
        if item.settles_with
        else f"{item.criterion}: {item.reason}"
        for item in chosen.criteria
        if item.verdict == "undecided"
    ]
    return "; ".join(parts) or "nothing: every criterion is met"


def _no_recommendation(candidates: Sequence[RecommendationCandidate], baseline: str) -> str:
    keep = f"Keep the baseline ({baseline}). " if baseline else "No model can be recommended. "
    if not candidates:
        return keep + "No run finished."
    reasons = names_by_text((one.name, _obstacle(one)) for one in candidates)
    said = [
        f"{', '.join(names)}{': ' if len(names) > 1 else ' '}{reason}"
        for reason, names in reasons.items()
    ]
    return keep + "; ".join(said) + "."


def names_by_text(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names by the text that was said of them, texts in the order of appearance."""
    found: dict[str, list[str]] = {}
    for name, text in pairs:
        found.setdefault(text, []).append(name)
    return found


def _obstacle(one: RecommendationCandidate) -> str:
    """Say why a candidate can't be recommended."""
    if one.fails:
        return f"fails {', '.join(one.fails)}"
    if not one.is_certified:
        return _uncertified(one)
    return "accepts no clean item at its certified threshold"


def _uncertified(one: RecommendationCandidate) -> str:
    """Say why a candidate has no certificate that holds for the one chosen of all."""
    if one.point is None or one.point.refusal is None:
        return "has no certificate"
    joint = f"can't be certified as the one chosen of {one.point.request.candidates}"
    alone = one.alone
    if alone is None or alone.certificate is None or alone.test is None:
        return joint
    accepted = alone.test.counts.clean_yield().rate
    return (
        f"is certified by itself for {format_target(alone.certificate.min_recall)} recall and "
        f"accepts {format_percent(accepted)} of clean test items there, but {joint}"
    )


def _needed_for_any(candidates: Sequence[RecommendationCandidate]) -> str:
    """Say what it would take for a model to be recommended."""
    said = [
        f"{', '.join(names)}, {what}"
        for what, names in names_by_text(
            (one.name, what) for one in candidates for what in _needed_for(one)
        ).items()
    ]
    if any(one.alone and one.alone.certificate and not one.is_certified for one in candidates):
        said.append(
            "or one model settled on before its results are seen: its own certificate holds"
        )
    return "; ".join(said) or "finished runs"


def _needed_for(one: RecommendationCandidate) -> Iterator[str]:
    for item in one.criteria:
        if item.settles_with:
            further = f"{item.settles_with.further:,} further {item.settles_with.what}"
            yield f"{item.criterion}: {further}"
    for name in one.fails:
        yield f"{name}: {REMEDIES[name]}"
    if one.point and one.point.refusal and not one.fails:
        refusal = one.point.refusal
        missing = refusal.needed_defects - (0 if refusal.in_sample else refusal.defects)
        labelled = _labelled(one, missing)
        yield f"to be the one chosen: {missing:,} further calibration defects{labelled}"


def _labelled(one: RecommendationCandidate, missing: int) -> str:
    """Say how many labelled defects it takes, where only a share of them is set aside."""
    model = one.point.model if one.point else None
    if model is None or model.calibration is None or not model.fit_items or model.approximate:
        return ""
    held = len(model.calibration.table)
    share = held / (held + model.fit_items)
    return f" (about {math.ceil(missing / share):,} labelled ones, of which a share is set aside)"
