"""One recommendation, by a rule that was fixed in advance, and what would change it.

Among the experiments that fail no criterion: the fastest whose clean yield at its certified
threshold is within ``margin`` of the best one's, by the lower bound of the paired difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.evaluation.criteria import Judged
from drupe.evaluation.intervals import format_percent
from drupe.evaluation.operating_point import OperatingPoint
from drupe.evaluation.paired import paired_difference
from drupe.study.definition.spec import Baseline

MENDED_BY = {
    "accuracy": "a better model",
    "recall": "a better model",
    "latency": "a faster model or line PC",
    "size": "a smaller model",
}
"""What a failed criterion takes to be passed."""


@dataclass(frozen=True)
class Candidate:
    """An experiment with its verdicts, and the median milliseconds of its run.

    ``point`` is where the run would operate as the one chosen of all candidates.
    """

    name: str
    run: Path
    judged: tuple[Judged, ...]
    point: OperatingPoint | None
    p50_ms: float | None

    @property
    def fails(self) -> tuple[str, ...]:
        """The criteria that it fails."""
        return tuple(item.criterion for item in self.judged if item.verdict == "fail")

    @property
    def is_certified(self) -> bool:
        """Whether it has a certificate, exact or approximate, and a test that shows its yield."""
        return (
            self.point is not None and self.point.test is not None and bool(self.point.certificate)
        )

    @property
    def is_useful(self) -> bool:
        """Whether it is certified and accepts anything: rejecting everything misses nothing."""
        return self.is_certified and bool(self.accepted().any())

    def accepted(self) -> NDArray[np.bool_]:
        """Return which distinct clean test items it accepts, bool [n]."""
        point = self.point
        assert point is not None
        assert point.thresholds is not None
        assert point.model.test is not None
        table = point.model.test.distinct
        decided: NDArray[np.bool_] = point.thresholds.decide(table.scores) == "accept"
        return decided[~table.is_defect]


@dataclass(frozen=True)
class Recommendation:
    """The experiment to take further (None: keep the baseline), why, and what would change it."""

    experiment: str | None
    run: Path | None
    text: str
    changes_with: str

    def to_json(self) -> dict[str, Any]:
        """Return every field; the run as a path."""
        return {**vars(self), "run": str(self.run) if self.run else None}


def recommend(
    candidates: Sequence[Candidate], baseline: Baseline, margin: float, confidence: float
) -> Recommendation:
    """Apply the rule. ``baseline`` is kept where nothing beats it."""
    good = [one for one in candidates if not one.fails and one.is_useful]
    if not good:
        return Recommendation(None, None, _nothing(candidates, baseline.label), _ways(candidates))
    yields = {one.name: float(one.accepted().mean()) for one in good}
    best = max(good, key=lambda one: yields[one.name])
    near = [one for one in good if one is best or _is_near(one, best, margin, confidence)]
    chosen = min(near, key=lambda one: (one.p50_ms is None, one.p50_ms or 0.0))
    if chosen.p50_ms is None:
        chosen = best
    text = _chosen(chosen, best, yields, near, margin)
    if chosen.name == baseline.id:
        text = f"Keep the baseline. {text}"
    return Recommendation(chosen.name, chosen.run, text, _settling(chosen))


def _is_near(one: Candidate, best: Candidate, margin: float, confidence: float) -> bool:
    accepted, most = one.accepted(), best.accepted()
    items = np.arange(accepted.size)
    found = paired_difference(accepted[None], most[None], items, confidence, sides=1)
    return found.low >= -margin


def _chosen(
    chosen: Candidate,
    best: Candidate,
    yields: Mapping[str, float],
    near: Sequence[Candidate],
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
        f"{format_percent(certificate.min_recall)} recall{kind}, {speed}."
    )
    if chosen is not best:
        text += (
            f" {best.name} accepts {format_percent(yields[best.name])}, but is slower, and the "
            f"difference is within {100 * margin:g} points by its lower bound."
        )
    elif len(near) > 1:
        text += f" {', '.join(one.name for one in near if one is not chosen)} would do as well."
    undecided = [item.criterion for item in chosen.judged if item.verdict == "undecided"]
    if undecided:
        text += f" Still undecided: {', '.join(undecided)}."
    return text


def _settling(chosen: Candidate) -> str:
    """Say how much more would settle what is undecided about the chosen model."""
    parts = [
        f"{item.criterion}: {item.settles_with.further:,} further {item.settles_with.what}"
        if item.settles_with
        else f"{item.criterion}: {item.reason}"
        for item in chosen.judged
        if item.verdict == "undecided"
    ]
    return "; ".join(parts) or "nothing: every criterion is met"


def _nothing(candidates: Sequence[Candidate], baseline: str) -> str:
    keep = f"Keep the baseline ({baseline}). " if baseline else "No model can be recommended. "
    if not candidates:
        return keep + "No run finished."
    reasons = grouped((one.name, _obstacle(one)) for one in candidates)
    said = [
        f"{', '.join(names)}{': ' if len(names) > 1 else ' '}{reason}"
        for reason, names in reasons.items()
    ]
    return keep + "; ".join(said) + "."


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return, for each second part in order of appearance, its first parts."""
    found: dict[str, list[str]] = {}
    for name, said in pairs:
        found.setdefault(said, []).append(name)
    return found


def _obstacle(one: Candidate) -> str:
    """Say why a candidate can't be recommended."""
    if one.fails:
        return f"fails {', '.join(one.fails)}"
    if not one.is_certified:
        return _uncertified(one)
    return "accepts no clean item at its certified threshold"


def _uncertified(one: Candidate) -> str:
    """Say why a candidate has no certificate that holds for the one chosen of all."""
    if one.point is None or one.point.refusal is None:
        return "has no certificate"
    return f"can't be certified as the one chosen of {one.point.request.candidates}"


def _ways(candidates: Sequence[Candidate]) -> str:
    """Say what it would take for a model to be recommended."""
    said = [
        f"{', '.join(names)}, {what}"
        for what, names in grouped(
            (one.name, what) for one in candidates for what in _own_ways(one)
        ).items()
    ]
    return "; ".join(said) or "finished runs"


def _own_ways(one: Candidate) -> Iterator[str]:
    for item in one.judged:
        if item.settles_with:
            further = f"{item.settles_with.further:,} further {item.settles_with.what}"
            yield f"{item.criterion}: {further}"
    for name in one.fails:
        yield f"{name}: {MENDED_BY[name]}"
    if one.point and one.point.refusal and not one.fails:
        refusal = one.point.refusal
        missing = refusal.needed_defects - (0 if refusal.in_sample else refusal.defects)
        yield f"to be the one chosen: {missing:,} further calibration defects"
