"""The page of a search: what was tried, what it came to, which keys mattered."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drupe.evaluation.intervals import format_percent, format_points
from drupe.progress import duration
from drupe.reporting.charts import Chart, Trace
from drupe.reporting.page_parts import page_parts
from drupe.templates import template_environment
from drupe.tuning.result import Findings, Tried, gain, shown
from drupe.tuning.space import Choices, Dimension, label

SCRIPTS = ("charts.js", "page.js", "start_charts.js")
TOO_FEW = "There are too few trials with a score on every fold."


@dataclass(frozen=True)
class TuningPage:
    """All that the page shows."""

    found: Findings
    charts: tuple[Chart, ...]
    slices: tuple[Chart, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """The experiment that the search began with."""
        return self.found.search.config.name

    @property
    def headline(self) -> str:
        """The best trial's score beside that of the experiment as given, in a sentence."""
        best, given = self.found.best, self.found.given
        if best is None:
            return "No trial has a score on every fold yet."
        if best.number == 0 or given is None:
            own = "the experiment as given" if best.number == 0 else f"trial {best.number}"
            return f"The best of {self.found.counted} trials is {own}: {best.scores}."
        more = gain(best, given)
        spread = "" if more.deviation is None else f" ± {100 * more.deviation:.1f}"
        return (
            f"The best of {self.found.counted} trials is trial {best.number}: {best.scores}. "
            f"As given: {given.scores}; fold by fold {format_points(more.mean)}{spread} points."
        )

    def page_data(self) -> dict[str, Any]:
        """Return what the page's scripts read."""
        charts = (*self.charts, *self.slices)
        return {"charts": [chart.to_json() for chart in charts if not chart.missing]}


def build_page(found: Findings) -> TuningPage:
    """Collect the page of everything tried so far."""
    weight = found.importance
    ordered = sorted(found.search.space.dimensions, key=lambda one: -weight.get(one.key, 0.0))
    return TuningPage(
        found=found,
        charts=(_history(found), _importance(found)),
        slices=tuple(_slice(found, one, place) for place, one in enumerate(ordered)),
        columns=("trial", "score", "folds", "settings", "what came of it", "time", "p95"),
        rows=tuple(_row(one) for one in _ranked(found)),
    )


def _ranked(found: Findings) -> list[Tried]:
    """Return the trials, the best first, those without a whole score last."""
    whole = sorted(found.whole, key=_mean, reverse=True)
    return [*whole, *(one for one in found.trials if one.outcome != "scored")]


def _mean(one: Tried) -> float:
    return one.scores.mean if one.scores else 0.0


def _row(one: Tried) -> tuple[str, ...]:
    folds = ", ".join(map(format_percent, one.scores.values)) if one.scores else "–"
    return (
        str(one.number),
        str(one.scores) if one.scores and one.outcome == "scored" else "–",
        folds,
        one.described,
        f"{one.outcome}: {one.reason}" if one.reason else one.outcome,
        "–" if one.seconds is None else duration(one.seconds),
        "–" if one.latency_ms is None else f"{one.latency_ms:.2f} ms",
    )


def _history(found: Findings) -> Chart:
    title = "Scores, in the order of the trials"
    whole = found.whole
    if not whole:
        return Chart("history", title, "", missing=TOO_FEW)
    best, steps = 0.0, []
    for one in whole:
        best = max(best, _mean(one))
        steps.append(best)
    deviations = [(one.scores.deviation or 0.0) if one.scores else 0.0 for one in whole]
    numbers = [one.number for one in whole]
    traces: list[Trace] = [
        {
            "x": numbers,
            "y": steps,
            "mode": "lines",
            "line": {"shape": "hv"},
            "name": "best so far",
            "hoverinfo": "skip",
            "meta": {"part": "reference"},
        },
        {
            "x": numbers,
            "y": [_mean(one) for one in whole],
            "error_y": {"type": "data", "array": deviations},
            "mode": "markers",
            "name": "a trial, ± between folds",
            "text": [html.escape(one.described, quote=False) for one in whole],
            "hovertemplate": "trial %{x}: %{y:.1%}<br>%{text}<extra></extra>",
            "meta": {"series": 0, "part": "dots"},
        },
    ]
    return Chart(
        "history",
        title,
        f"{found.search.objective.describe().capitalize()}, mean over inner folds. Trial 0 is the "
        "experiment as given. Trials that were stopped early have no score.",
        tuple(traces),
        {
            "xaxis": {"title": {"text": "trial"}, "range": [-0.5, numbers[-1] + 0.5]},
            "yaxis": {"title": {"text": "score"}, "tickformat": ".3~%"},
        },
        ("trial", "score", "best so far"),
        tuple(
            (str(one.number), str(one.scores), format_percent(top))
            for one, top in zip(whole, steps, strict=True)
        ),
    )


def _importance(found: Findings) -> Chart:
    title = "Importance of the keys"
    weight = found.importance
    if not weight:
        return Chart("importance", title, "", missing=TOO_FEW)
    keys = list(weight)
    return Chart(
        "importance",
        title,
        "Each key's share in what sets the better trials apart (PED-ANOVA, Watanabe, Bansal & "
        "Hutter 2023). With few trials it is a hint, no finding.",
        (
            {
                "type": "bar",
                "orientation": "h",
                "x": [round(weight[key], 4) for key in keys],
                "y": keys,
                "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
                "meta": {"series": 0, "part": "bar"},
            },
        ),
        {
            "xaxis": {"title": {"text": "share"}, "tickformat": ".3~%", "rangemode": "tozero"},
            "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
            "showlegend": False,
            "height": 130 + 44 * len(keys),
        },
        ("key", "share"),
        tuple((key, format_percent(weight[key])) for key in keys),
    )


def _slice(found: Findings, dimension: Dimension, place: int) -> Chart:
    """Draw the score against one key's value, whatever the other keys were."""
    key = dimension.key
    tried = [one for one in found.whole if key in one.settings]
    if not tried:
        return Chart(f"slice-{place}", key, "", missing=TOO_FEW)
    values = [one.settings[key] for one in tried]
    shows: Callable[[Any], str] = label if isinstance(dimension, Choices) else shown
    axis: dict[str, Any] = {"title": {"text": key}}
    if isinstance(dimension, Choices):
        axis |= {"type": "category", "categoryarray": list(dimension.labels)}
    elif dimension.log:
        axis |= {"type": "log", "exponentformat": "e"}
    return Chart(
        f"slice-{place}",
        key,
        f"Searched: {dimension}. Each dot is a trial; the other keys differ, too.",
        (
            {
                "x": list(map(shows, values)) if isinstance(dimension, Choices) else values,
                "y": [_mean(one) for one in tried],
                "mode": "markers",
                "text": [f"trial {one.number}" for one in tried],
                "hovertemplate": "%{text}: %{x}, %{y:.1%}<extra></extra>",
                "meta": {"series": place, "part": "dots"},
            },
        ),
        {
            "xaxis": axis,
            "yaxis": {"title": {"text": "score"}, "tickformat": ".3~%"},
            "showlegend": False,
            "height": 320,
        },
        ("trial", key, "score"),
        tuple((str(one.number), shows(one.settings[key]), str(one.scores)) for one in tried),
    )


def render_page(page: TuningPage) -> str:
    """Return the page: one HTML file that asks nothing of a network."""
    environment = template_environment("drupe.reporting", {"percent": format_percent}, is_html=True)
    template = environment.get_template("tuning.html.j2")
    return template.render(page=page, **page_parts(SCRIPTS))
