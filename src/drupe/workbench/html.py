"""What results show of themselves in a notebook: small HTML, everything from outside escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import exp

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.export import Exported
from drupe.evaluation.intervals import (
    format_confidence,
    format_interval,
    format_percent,
    format_target,
)
from drupe.evaluation.next_steps import NextStep
from drupe.evaluation.operating_point import OperatingPoint
from drupe.evaluation.predictions import Predictions
from drupe.runs.evaluation_file import Evaluation
from drupe.runs.record import RunRecord

BINS, WIDTH, HEIGHT = 60, 480, 90
REACH = 12.0
"""Logits at the ends of the chart: certified thresholds lie close to 0, where scores crowd."""

STEPS_SHOWN = 4


def run_html(folder: str, record: RunRecord, evaluation: Evaluation) -> str:
    """Return a run's figures at 0.5 on its test split, and what it is certified for."""
    counted = evaluation.test.distinct
    rows = [
        (
            name,
            format_percent(rate.rate) if rate.rate is not None else "–",
            format_interval(rate.low, rate.high),
        )
        for name, rate in (
            ("accuracy", counted.argmax.accuracy),
            ("recall", counted.argmax.recall),
            ("clean yield", counted.argmax.clean_yield),
        )
    ]
    rows.append(("AUROC", f"{evaluation.auroc:.4f}", ""))
    certificate = evaluation.certificate
    promise = (
        f"certified: recall ≥ {format_target(certificate.min_recall)} below "
        f"{certificate.threshold:.4g}"
        if certificate
        else "not certified"
    )
    title = f"{record.name}: {counted.images:,} test crops, {counted.defects:,} defects; {promise}"
    return f"<p><b>{escape(title)}</b><br><code>{escape(folder)}</code></p>" + html_table(
        ("at 0.5", "", "95 % interval"), rows
    )


def threshold_html(point: OperatingPoint, steps: Sequence[NextStep]) -> str:
    """Return what is promised, a chart of the scores with the threshold, and the next steps."""
    parts = [f"<p><b>{escape(threshold_line(point))}</b></p>"]
    split = point.model.test or point.model.calibration
    if split is not None:
        low = point.thresholds.low if point.thresholds else None
        parts.append(_chart(split.distinct, low))
    if point.test:
        counts = point.test.counts
        rows = [
            ("clean", f"{counts.clean_accepted:,}", f"{counts.clean - counts.clean_accepted:,}"),
            (
                "defects",
                f"{counts.defects_accepted:,}",
                f"{counts.defects - counts.defects_accepted:,}",
            ),
        ]
        parts.append(html_table(("test", "accepted", "kept out"), rows))
    parts.append(_steps(steps))
    return "".join(parts)


def threshold_line(point: OperatingPoint) -> str:
    """Return in one line what is promised, or why nothing is."""
    certificate = point.certificate
    if certificate:
        return (
            f"{point.model.name}: recall ≥ {format_target(certificate.min_recall)} certified at "
            f"{format_confidence(point.request.confidence)}, accept below "
            f"{certificate.threshold:.6g}"
        )
    return f"{point.model.name}: {point.refusal or 'a threshold given by hand'}"


def bundle_html(exported: Exported) -> str:
    """Return a bundle's functions: speed, gate, certificate."""
    rows = [
        (
            one.function.name,
            f"{one.function.p50_ms:.2f} ms" if one.function.p50_ms is not None else "–",
            f"{one.function.gate.flips} of {one.function.gate.images:,}",
            "yes" if one.function.is_certified else "no",
        )
        for one in exported.evaluation.functions
    ]
    return f"<p><b>{escape(str(exported.bundle))}</b></p>" + html_table(
        ("function", "p50", "decisions turned", "certified"), rows
    )


def _steps(steps: Sequence[NextStep]) -> str:
    rows = [
        (
            step.what,
            "too few" if step.clean_yield is None else format_percent(step.clean_yield),
            step.command,
        )
        for step in steps[: STEPS_SHOWN + 1]
    ]
    return html_table(("next steps", "clean yield", ""), rows) if rows else ""


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all text is escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _chart(table: Predictions, low: float | None) -> str:
    """Draw both classes' scores on a logit axis as SVG, with the threshold as a line."""
    shapes = []
    for label, colour in ((False, "#2a78d6"), (True, "#c2185b")):
        counts = _heights(table.scores[table.is_defect == label])
        step = WIDTH / BINS
        points = [f"0,{HEIGHT}"]
        for place, height in enumerate(counts):
            y = HEIGHT * (1 - height)
            points += [f"{place * step:.1f},{y:.1f}", f"{(place + 1) * step:.1f},{y:.1f}"]
        points.append(f"{WIDTH},{HEIGHT}")
        shapes.append(f'<polygon points="{" ".join(points)}" fill="{colour}" fill-opacity="0.45"/>')
    if low is not None:
        x = WIDTH * (_place(np.array([low]))[0] + REACH) / (2 * REACH)
        shapes.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#888" '
            'stroke-dasharray="4 3"/>'
        )
    clean, defect = (escape(name) for name in table.classes)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Scores of {clean} and {defect}">{"".join(shapes)}</svg>'
        f"<br><small>blue: {clean}, red: {defect}; score from {1 / (1 + exp(REACH)):.0e} to "
        "nearly 1 on a logit axis, heights are square roots within each class</small>"
    )


def _place(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return each score's logit, at most ``REACH`` away from 0."""
    inside = np.clip(scores.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.clip(np.log(inside / (1 - inside)), -REACH, REACH)


def _heights(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    counts, _ = np.histogram(_place(scores), bins=BINS, range=(-REACH, REACH))
    roots = np.sqrt(counts)
    return np.asarray(roots / max(roots.max(initial=0), 1), np.float64)
