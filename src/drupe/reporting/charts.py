"""The report's charts: Plotly traces without colours, each with a table that says the same.

A trace's ``meta`` holds ``series`` (which colour of the palette, see ``charts.js``) and ``part``
(how it is drawn), so that one page serves the light and the dark theme.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

from drupe.deployment.answers import BenchedFunction
from drupe.evaluation.intervals import (
    Proportion,
    format_interval,
    format_percent,
    format_points,
    format_points_interval,
)
from drupe.evaluation.predictions import Predictions
from drupe.reporting.figures import (
    Curve,
    pareto_front,
    recall_yield,
    reliability,
    roc,
)
from drupe.reporting.study_files import Model, StudyFiles
from drupe.study.verdict.document import ExperimentVerdict, StudyVerdict

DIGITS = 5
"""Decimals kept of a rate in a curve: far below a pixel."""

Trace = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """One chart. ``explanation`` is the caption; ``columns`` and ``rows`` are the same as a table.

    ``missing`` says why there is nothing to draw, where there isn't.
    """

    id: str
    title: str
    explanation: str
    traces: tuple[Trace, ...] = ()
    layout: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what ``charts.js`` draws."""
        return {"id": self.id, "traces": list(self.traces), "layout": self.layout}


def _plain(text: str) -> str:
    """Return text that Plotly, which knows some HTML, shows as it is."""
    return html.escape(text, quote=False)


def _rounded(values: NDArray[Any] | Sequence[float]) -> list[float]:
    return [round(float(value), DIGITS) for value in values]


def _percent_axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}, "tickformat": ".3~%", **more}


def accuracy_forest(verdict: StudyVerdict) -> Chart:
    """Draw every experiment's accuracy with its interval, and each seed's as a dot."""
    found = [(item.id, item.figures) for item in verdict.experiments if item.figures]
    title = "Accuracy at the threshold 0.5"
    if not found:
        return Chart("accuracy-forest", title, "", missing="No experiment has an accuracy yet.")
    traces: list[Trace] = []
    rows = []
    for experiment, figures in found:
        mean, seeds = figures.accuracy, figures.accuracy_by_seed
        name = _plain(experiment)
        fine = format_interval(mean.low, mean.high, 2)
        traces.append(_interval_trace(name, mean.mean, mean.low, mean.high, fine))
        traces.append(
            {
                "x": list(seeds.values),
                "y": [name] * len(seeds.values),
                "mode": "markers",
                "hovertemplate": "one seed: %{x:.2%}<extra></extra>",
                "meta": {"series": 0, "part": "seeds"},
            }
        )
        spread = "–" if seeds.deviation is None else f"{100 * seeds.deviation:.2f}"
        rows.append(
            (experiment, format_percent(mean.mean), format_interval(mean.low, mean.high), spread)
        )
    return Chart(
        "accuracy-forest",
        title,
        "Mean over seeds with its interval over images; hollow dots are the single seeds. "
        "Overlapping intervals say little about a difference: see the paired differences.",
        tuple(traces),
        {
            "xaxis": _percent_axis("accuracy"),
            "yaxis": _names_axis([_plain(experiment) for experiment, _ in found]),
            "showlegend": False,
            "height": 130 + 44 * len(found),
        },
        ("experiment", "accuracy", "interval", "± seeds (points)"),
        tuple(rows),
    )


def _names_axis(names: Sequence[str]) -> dict[str, Any]:
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(reversed(names)),
        "range": [-0.6, len(names) - 0.4],
        "automargin": True,
    }


def _interval_trace(name: str, middle: float, low: float, high: float, bounds: str) -> Trace:
    """Return a point with its interval; ``bounds`` is the interval as text."""
    return {
        "x": [middle],
        "y": [name],
        "error_x": {"type": "data", "array": [high - middle], "arrayminus": [middle - low]},
        "mode": "markers",
        "hovertemplate": f"%{{x:.2%}} ({bounds})<extra></extra>",
        "meta": {"series": 0, "part": "interval"},
    }


def difference_forest(verdict: StudyVerdict) -> Chart:
    """Draw the planned comparisons: paired differences with their intervals around zero."""
    title = "Planned comparisons"
    made = verdict.comparisons
    if not made:
        return Chart(
            "difference-forest", title, "", missing="No planned comparison could be made yet."
        )
    names = [_plain(f"{item.a} − {item.b}") for item in made]
    intervals = [format_points_interval(item.paired.low, item.paired.high, 2) for item in made]
    return Chart(
        "difference-forest",
        title,
        "Paired differences on the same images (a minus b), in rate. An interval that crosses zero "
        "shows no difference; p is adjusted (Holm) for all planned comparisons. Detectable is the "
        "smallest true difference that this test set would have shown with 80 % power.",
        tuple(
            _interval_trace(
                name, item.paired.difference, item.paired.low, item.paired.high, f"{bounds} points"
            )
            for name, item, bounds in zip(names, made, intervals, strict=True)
        ),
        {
            "xaxis": _percent_axis("difference", zeroline=True, rangemode="tozero"),
            "yaxis": _names_axis(names),
            "showlegend": False,
            "height": 130 + 44 * len(made),
        },
        ("comparison", "metric", "difference (points)", "interval", "adjusted p", "detectable"),
        tuple(
            (
                f"{item.a} − {item.b}" + (f": {item.question}" if item.question else ""),
                item.metric.replace("_", " "),
                format_points(item.paired.difference, 2),
                bounds,
                f"{item.p_adjusted:.2g}",
                f"{100 * item.detectable:.1f}",
            )
            for item, bounds in zip(made, intervals, strict=True)
        ),
    )


def _distinct(model: Model) -> list[Predictions]:
    return [run.test.distinct for run in model.runs]


def _curve_traces(name: str, curve: Curve, series: int) -> list[Trace]:
    x = _rounded(curve.x)
    group = {"legendgroup": name, "hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    traces = [
        {
            **group,
            "x": x + x[::-1],
            "y": _rounded(curve.high) + _rounded(curve.low[::-1]),
            "fill": "toself",
            "meta": {"series": series, "part": "band"},
        }
    ]
    traces += [
        {**group, "x": x, "y": _rounded(seed), "meta": {"series": series, "part": "seed-line"}}
        for seed in (curve.seeds if len(curve.seeds) > 1 else ())
    ]
    traces.append(
        {
            "x": x,
            "y": _rounded(curve.mean),
            "name": name,
            "legendgroup": name,
            "mode": "lines",
            "hovertemplate": "%{x:.1%} → %{y:.1%}",
            "meta": {"series": series, "part": "line"},
        }
    )
    return traces


BANDS = (
    "Line: mean over seeds; thin lines: the seeds; band: pointwise 95 % Wilson interval over "
    "images, for looking, not for claims."
)


def roc_chart(study: StudyFiles) -> Chart:
    """Draw recall against the share of clean items rejected, a curve per model."""
    return _curve_chart(
        [(model.name, roc(_distinct(model))) for model in study.models],
        Chart(
            "roc",
            "ROC",
            f"Recall against the share of clean items rejected. {BANDS}",
            layout={
                "xaxis": _percent_axis("clean items rejected", range=[0, 1.005]),
                "yaxis": _percent_axis("recall", range=[0, 1.005]),
            },
        ),
        {step: f"recall, {100 * step:g} % of clean rejected" for step in (0.01, 0.05, 0.1, 0.2)},
    )


def recall_yield_chart(study: StudyFiles) -> Chart:
    """Draw what each recall costs in clean items, a curve per model."""
    return _curve_chart(
        [(model.name, recall_yield(_distinct(model))) for model in study.models],
        Chart(
            "recall-yield",
            "Recall and clean yield",
            "Clean yield at the highest threshold that reaches a recall on the test items. It was "
            "found on the very items it is judged on, so it promises nothing: certify on "
            f"calibration. {BANDS}",
            layout={
                "xaxis": _percent_axis("recall", range=[0.9, 1.0005]),
                "yaxis": _percent_axis("clean yield", range=[0, 1.005]),
            },
        ),
        {step: f"yield at recall {100 * step:g} %" for step in (0.9, 0.95, 0.98, 0.99, 1.0)},
    )


def _curve_chart(
    curves: Sequence[tuple[str, Curve]], empty: Chart, columns: Mapping[float, str]
) -> Chart:
    """Return ``empty`` with a curve per model, and a table of what each reaches at some x."""
    return replace(
        empty,
        traces=tuple(
            trace
            for series, (name, curve) in enumerate(curves)
            for trace in _curve_traces(_plain(name), curve, series)
        ),
        columns=("model", *columns.values()),
        rows=tuple((name, *_at(curve, list(columns))) for name, curve in curves),
    )


def _at(curve: Curve, steps: Sequence[float]) -> list[str]:
    places = [int(abs(curve.x - step).argmin()) for step in steps]
    return [format_percent(float(curve.mean[place])) for place in places]


def reliability_chart(study: StudyFiles) -> Chart:
    """Draw the share of defects against the mean score, bin by bin, of each deployed run."""
    traces: list[Trace] = [
        {
            "x": [0, 1],
            "y": [0, 1],
            "mode": "lines",
            "name": "perfect",
            "hoverinfo": "skip",
            "meta": {"part": "reference"},
        }
    ]
    rows = []
    for series, model in enumerate(study.models):
        bins = reliability(model.deployed.test.distinct)
        bounds = [one.bounds for one in bins]
        traces.append(
            {
                "x": _rounded([one.mean_score for one in bins]),
                "y": _rounded([one.share for one in bins]),
                "error_y": {
                    "type": "data",
                    "array": _rounded(
                        [high - one.share for one, (_, high) in zip(bins, bounds, strict=True)]
                    ),
                    "arrayminus": _rounded(
                        [one.share - low for one, (low, _) in zip(bins, bounds, strict=True)]
                    ),
                },
                "text": [f"{one.defects} of {one.items} are defects" for one in bins],
                "mode": "lines+markers",
                "name": _plain(model.name),
                "hovertemplate": "score %{x:.2f}: %{text}",
                "meta": {"series": series, "part": "interval-line"},
            }
        )
        rows += [
            (
                model.name,
                f"{one.mean_score:.3f}",
                format_percent(one.share),
                f"{one.defects:,} of {one.items:,}",
            )
            for one in bins
        ]
    return Chart(
        "reliability",
        "Reliability",
        "Of the items with about this score, how many are defects? On the diagonal a score is a "
        "probability. The deployed run of each model, with 95 % Wilson intervals; only bins that "
        "hold items.",
        tuple(traces),
        {
            "xaxis": _percent_axis("mean score", range=[-0.02, 1.02]),
            "yaxis": _percent_axis("share of defects", range=[-0.02, 1.02]),
        },
        ("model", "mean score", "defects", "counts"),
        tuple(rows),
    )


def _fastest(item: ExperimentVerdict) -> BenchedFunction | None:
    timings = [one for one in item.bench.results if one.batch == 1] if item.bench else []
    return min(timings, key=lambda one: one.p95_ms, default=None)


_Point = tuple[str, BenchedFunction, Proportion]


def pareto_chart(verdict: StudyVerdict) -> Chart:
    """Draw latency against clean yield at the certified threshold, the Pareto front marked."""
    title = "Latency and clean yield"
    points = [
        (item.id, timing, item.certified_test.clean_yield)
        for item in verdict.experiments
        if (timing := _fastest(item)) and item.certified_test
    ]
    if not points:
        return Chart(
            "pareto",
            title,
            "",
            missing="Nothing to draw yet: it takes a certified threshold and a latency, measured "
            "on the exported bundle, of the same experiment.",
        )
    front = pareto_front([(timing.p95_ms, rate.rate or 0.0) for _, timing, rate in points])
    return Chart(
        "pareto",
        title,
        "p95 of one decision (batch 1, decoding excluded) on the fastest backend measured, and "
        "clean yield on test at the certified threshold. Filled: on the Pareto front, no other is "
        "both as fast and as sparing. Experiments without both figures are left out.",
        tuple(_pareto_traces(points, front)),
        {
            "xaxis": {"title": {"text": "p95 latency (ms)"}, "rangemode": "tozero"},
            "yaxis": _percent_axis("clean yield"),
        },
        ("experiment", "function", "p95", "clean yield", "interval", "on the front"),
        tuple(
            (
                name,
                f"{timing.backend} {timing.precision}",
                f"{timing.p95_ms:.2f} ms",
                format_percent(rate.rate),
                format_interval(rate.low, rate.high),
                "yes" if kept else "no",
            )
            for (name, timing, rate), kept in zip(points, front, strict=True)
        ),
    )


def _pareto_traces(points: Sequence[_Point], front: Sequence[bool]) -> list[Trace]:
    traces: list[Trace] = []
    best = sorted(
        (timing.p95_ms, rate.rate or 0.0)
        for (_, timing, rate), kept in zip(points, front, strict=True)
        if kept
    )
    traces.append(
        {
            "x": [x for x, _ in best],
            "y": [y for _, y in best],
            "mode": "lines",
            "name": "Pareto front",
            "hoverinfo": "skip",
            "line": {"shape": "hv"},
            "meta": {"part": "reference"},
        }
    )
    for (name, timing, rate), kept in zip(points, front, strict=True):
        middle = rate.rate or 0.0
        traces.append(
            {
                "x": [timing.p95_ms],
                "y": [middle],
                "error_y": {
                    "type": "data",
                    "array": [rate.high - middle],
                    "arrayminus": [middle - rate.low],
                },
                "text": [_plain(f"{name}  ")],
                "mode": "markers+text",
                "textposition": "middle left",
                "cliponaxis": False,
                "showlegend": False,
                "hovertemplate": "%{text}: %{x:.2f} ms, %{y:.1%}<extra></extra>",
                "meta": {"series": 0, "part": "front" if kept else "behind"},
            }
        )
    return traces
