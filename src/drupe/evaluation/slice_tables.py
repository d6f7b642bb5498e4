"""Types of defects and groups in words: rows of a table, the worst first, and who is worst."""

from __future__ import annotations

from collections.abc import Sequence

from drupe.evaluation.intervals import Proportion, format_interval, format_percent
from drupe.evaluation.slices import CONFIDENCE, Slice, worst_recall, worst_yield

UNKNOWN = "(not given)"
"""Shown for items that don't tell their type or group."""

TYPE_COLUMNS = ("", "defects", "missed", "recall", "95 % interval")
GROUP_COLUMNS = ("", "defects", "missed", "recall", "interval", "clean yield", "interval")

Row = tuple[str, ...]


def type_rows(types: Sequence[Slice]) -> list[Row]:
    """Return a row of :data:`TYPE_COLUMNS` for each type."""
    return [_defects(one) for one in _worst_first(types)]


def group_rows(groups: Sequence[Slice]) -> list[Row]:
    """Return a row of :data:`GROUP_COLUMNS` for each group."""
    return [(*_defects(one), *_rate(one.clean_yield())) for one in _worst_first(groups)]


def worst_in_words(groups: Sequence[Slice]) -> list[tuple[str, bool]]:
    """Return who is worst by recall and by clean yield, and whether each is shown to be worse."""
    by_recall, by_yield = worst_recall(groups), worst_yield(groups)
    judged = (
        ("recall", by_recall, by_recall.worse_recall if by_recall else None),
        ("clean yield", by_yield, by_yield.worse_yield if by_yield else None),
    )
    sentences = []
    for what, worst, chance in judged:
        if worst is None or chance is None:
            continue
        is_shown = chance <= 1 - CONFIDENCE
        verdict = "shown to be worse than the others" if is_shown else "not shown to be worse"
        sentence = (
            f"Worst {what}: {worst.name or UNKNOWN}, {verdict} (chance of so many mistakes were "
            f"all alike: {format_percent(chance)}, adjusted for {len(groups)} groups)."
        )
        sentences.append((sentence, is_shown))
    return sentences


def _worst_first(slices: Sequence[Slice]) -> list[Slice]:
    def rank(one: Slice) -> tuple[float, float, str]:
        rate = one.recall().rate
        return (2.0 if one.worse_recall is None else one.worse_recall, rate or 0.0, one.name)

    return sorted(slices, key=rank)


def _defects(one: Slice) -> Row:
    return (one.name or UNKNOWN, f"{one.defects:,}", f"{one.misses:,}", *_rate(one.recall()))


def _rate(rate: Proportion) -> tuple[str, str]:
    if not rate.trials:
        return "", ""
    return rate.percent(), format_interval(rate.low, rate.high, dash="-", sign="")
