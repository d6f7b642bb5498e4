"""What a repair of labels bought, in words and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from drupe.evaluation.intervals import (
    format_confidence,
    format_percent,
    format_points,
    format_points_interval,
    format_target,
)
from drupe.evaluation.label_effect import CERTIFIED, EffectFigure
from drupe.labels.effect import RepairEffect
from drupe.reporting.markdown import render

NAMES = {"certified_recall": "recall", "clean_yield": "clean yield"}
THROUGH_CALIBRATION = "by calibration"


@dataclass(frozen=True)
class EffectRow:
    """A line of the table of figures."""

    name: str
    before: str
    after: str
    difference: str
    interval: str
    items_interval: str


def effect_rows(found: RepairEffect) -> tuple[EffectRow, ...]:
    """Return a row per figure; under clean yield what of it calibration alone brought."""
    rows = []
    for one in found.effect.figures:
        at = "" if one.at == CERTIFIED else f" at {one.at}"
        rows.append(_row(NAMES.get(one.metric, one.metric) + at, one))
        through = found.effect.through_calibration
        if one.metric == "clean_yield" and through is not None:
            rows.append(_row(THROUGH_CALIBRATION, through))
    return tuple(rows)


def _row(name: str, one: EffectFigure) -> EffectRow:
    return EffectRow(
        name,
        format_percent(one.before.mean),
        format_percent(one.after.mean),
        format_points(one.difference),
        format_points_interval(one.low, one.high),
        format_points_interval(one.items_low, one.items_high),
    )


def effect_meaning(found: RepairEffect) -> str:
    """Return in a sentence what is shown of clean yield."""
    effect, figure = found.effect, found.effect.clean_yield
    if figure is None:
        return "No threshold can be certified before and after, so no clean yield is compared."
    points = (
        f"{format_points(figure.difference)} percentage points "
        f"({format_points_interval(figure.low, figure.high)})"
    )
    return {
        "gained": f"The repair bought {points} of clean yield at the certified threshold.",
        "lost": f"The repair cost clean yield at the certified threshold: {points}.",
        "undecided": "Undecided, because what it rests on is in doubt: clean yield at the "
        f"certified threshold is higher by {points}.",
    }.get(effect.conclusion, f"No difference in clean yield is shown: {points}.")


def effect_lines(found: RepairEffect) -> Iterator[str]:
    """Yield what is to be known beside the figures, a paragraph each."""
    effect = found.effect
    if effect.through_calibration is not None:
        yield (
            f"{THROUGH_CALIBRATION.capitalize()}: what certifying the networks of before on the "
            "calibration labels of after brings alone, without training."
        )
    for note in effect.notes:
        yield f"No clean yield: {note}."
    for doubt in effect.doubts:
        yield f"Doubt: {doubt}."
    if found.excluded:
        yield f"Left out of fit: {len(found.excluded):,} items, copies included."
    for caveat in found.caveats:
        yield f"Mind: {caveat}."


def effect_markdown(found: RepairEffect) -> str:
    """Return the comparison as a Markdown document."""
    effect = found.effect
    return render(
        "label_effect.md.j2",
        found=found,
        meaning=effect_meaning(found),
        target=format_target(effect.min_recall),
        confidence=format_confidence(effect.confidence),
        seeds=", ".join(map(str, effect.seeds)),
        figures=effect_rows(found),
        lines=list(effect_lines(found)),
    )
