"""The answer of ``drupe tune`` for a person: the best trial beside the experiment as given."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from drupe.cli.console import print_fitting, print_line, print_prose

if TYPE_CHECKING:
    from drupe.tuning.folder import TuneFolder
    from drupe.tuning.result import Findings, Tried

SHOWN_TRIALS = 5


def print_found(found: Findings, folder: TuneFolder, data: Path | None, wanted: int) -> None:
    """Print what was found, where it lies, and what to do next; ``wanted``: trials in all."""
    if found.counted < wanted:
        print_line(f"{found.counted} of {wanted} trials; the same command continues")
    best = found.best
    if best is None:
        print_line("No trial has a score on every fold yet.")
        return
    objective, folds = found.search.objective.describe(), found.search.folds
    print_prose(f"{objective.capitalize()}, on {folds} inner folds of the fit split:", style="bold")
    ranked = sorted(found.whole, key=lambda one: -one.scores.mean if one.scores else 0.0)
    rows = [_row(one) for one in ranked[:SHOWN_TRIALS]]
    if found.given is not None and found.given not in ranked[:SHOWN_TRIALS]:
        rows.append(_row(found.given))
    print_fitting(("", "score", "settings"), rows, texts=(0, 2))
    print_line("")
    print_line(f"{_verdict(found, best)}")
    print_line(f"{folder.winner}: the experiment to train")
    print_line(f"{folder.page}: all that was tried")
    where = shlex.quote(str(data)) if data else "DIR"
    print_line(f"Next: drupe train {shlex.quote(str(folder.winner))} --data {where}")


def _row(one: Tried) -> tuple[str, str, str]:
    return f"trial {one.number}", str(one.scores), one.described


def _verdict(found: Findings, best: Tried) -> str:
    from drupe.evaluation.intervals import format_points
    from drupe.tuning.result import gain

    if best.number == 0:
        return "Nothing that was tried is better than the experiment as given."
    text = f"Best: trial {best.number} of {found.counted}, {best.scores}"
    if found.given is None:
        return f"{text}."
    more = gain(best, found.given)
    spread = "" if more.deviation is None else f" ± {100 * more.deviation:.1f}"
    points = f"{format_points(more.mean)}{spread} points fold by fold"
    return f"{text}; as given {found.given.scores}: {points}."
