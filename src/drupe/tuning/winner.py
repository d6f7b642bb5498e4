"""``winner.yaml``: the best experiment so far, ready to be trained or to enter a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from drupe.evaluation.intervals import format_percent, format_points
from drupe.files import write_text
from drupe.progress import duration
from drupe.tuning.result import Findings, Tried, gain, shown


def write_winner(path: Path, found: Findings) -> None:
    """Write the best trial of ``found`` as an experiment file, if any has a score.

    The header says what trains it, what made it, the time and the score.
    """
    best = found.best
    if best is None:
        return
    document = dict(found.search.written(best.settings))
    document["name"] = f"{document['name']}-tuned"
    head = "\n".join(f"# {line}".rstrip() for line in _header(path, found, best))
    body = yaml.safe_dump(_plain(document), sort_keys=False, allow_unicode=True)
    write_text(path, f"{head}\n{body}")


def _plain(document: Any) -> Any:
    """Return the document with paths as text."""
    if isinstance(document, dict):
        return {key: _plain(value) for key, value in document.items()}
    return str(document) if isinstance(document, Path) else document


def _header(path: Path, found: Findings, best: Tried) -> list[str]:
    search, given = found.search, found.given
    assert best.scores is not None
    folds = ", ".join(format_percent(value) for value in best.scores.values)
    lines = [
        f"The best of {found.counted} trials of a search that began with {search.source}.",
        "",
        f"  drupe train {path} --data DIR",
        "",
        f"Made by: {search.command}",
    ]
    if best.seconds is not None:
        one = duration(best.seconds / search.folds)
        lines.append(f"Time: {one} of training for each of {search.folds} inner folds.")
    lines += [
        f"Score: {search.objective.describe()}: {best.scores}",
        f"over {search.folds} inner folds of the fit split ({folds}; ± between folds).",
    ]
    if given is not None and best.number != 0:
        more = gain(best, given)
        spread = "" if more.deviation is None else f" ± {100 * more.deviation:.1f}"
        lines.append(
            f"As given: {given.scores}; fold by fold {format_points(more.mean)}{spread} points."
        )
    elif best.number == 0:
        lines.append("Nothing that was tried is better than the experiment as given: this is it.")
    if best.latency_ms is not None:
        lines.append(f"A decision takes {best.latency_ms:.2f} ms (p95, ONNX Runtime fp32, here).")
    lines.append("Searched:")
    lines += [
        f"  {one.key}: {one}"
        + (f"; found {shown(best.settings[one.key])}" if one.key in best.settings else "")
        for one in search.space.dimensions
    ]
    return [
        *lines,
        "The best of many looks better than it is. Calibration and test were not read: a study",
        "judges this as one candidate.",
    ]
