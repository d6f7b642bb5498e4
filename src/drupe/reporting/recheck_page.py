"""The page of rechecks: what the line let pass and stopped, week by week, beside the promise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from drupe.evaluation.intervals import format_interval, format_percent
from drupe.labels.capture.recheck import Recheck
from drupe.labels.design import DesignRate
from drupe.reporting.charts import Chart, Trace
from drupe.reporting.page_parts import page_parts
from drupe.templates import template_environment

SCRIPTS = ("charts.js", "page.js", "start_charts.js")

Value = Callable[[Recheck], DesignRate]


@dataclass(frozen=True)
class RecheckPage:
    """All that the page shows; ``rechecks`` in the order of time."""

    rechecks: tuple[Recheck, ...]
    charts: tuple[Chart, ...]

    @property
    def headline(self) -> str:
        """What the last recheck says of the promise."""
        last = self.rechecks[-1]
        bounds = format_interval(last.recall.low, last.recall.high)
        found = f"recall {format_percent(last.recall.estimate)} (95 % interval {bounds})"
        if last.promised is None:
            return f"Last: {found}; the function is certified for no recall."
        words = {
            "holds": "holds",
            "broken": "is broken",
            "undecided": "is neither shown nor refuted by what was judged",
        }
        promise = f"the promised {format_percent(last.promised)} {words[last.verdict]}"
        return f"Last: {found}; {promise}."

    def page_data(self) -> dict[str, Any]:
        """Return what the page's scripts read."""
        return {"charts": [chart.to_json() for chart in self.charts]}


def render_rechecks(rechecks: Sequence[Recheck]) -> str:
    """Return the page: one HTML file that asks nothing of a network."""
    promised = rechecks[-1].promised
    page = RecheckPage(
        tuple(rechecks),
        (
            _chart("recall", "Recall on the line", rechecks, lambda one: one.recall, promised),
            _chart("yield", "Clean yield on the line", rechecks, lambda one: one.clean_yield),
            _chart(
                "wrong", "Defects among what was accepted", rechecks, lambda one: one.wrong_accepted
            ),
        ),
    )
    environment = template_environment("drupe.reporting", {}, is_html=True)
    template = environment.get_template("recheck.html.j2")
    return template.render(page=page, **page_parts(SCRIPTS))


def _chart(
    anchor: str,
    title: str,
    rechecks: Sequence[Recheck],
    value: Value,
    promised: float | None = None,
) -> Chart:
    """Draw a rate of each recheck with its bounds, at the time in the middle of it."""
    times = [one.since[:10] for one in rechecks]
    rates = [value(one) for one in rechecks]
    middles = [_middle(rate) for rate in rates]
    traces: list[Trace] = [
        {
            "x": times,
            "y": middles,
            "error_y": {
                "type": "data",
                "array": [rate.high - at for rate, at in zip(rates, middles, strict=True)],
                "arrayminus": [at - rate.low for rate, at in zip(rates, middles, strict=True)],
            },
            "mode": "markers",
            "name": "95 % interval",
            "hovertemplate": "%{x}: %{y:.2%}<extra></extra>",
            "meta": {"series": 0, "part": "dots"},
        }
    ]
    if promised is not None:
        traces.append(
            {
                "x": [times[0], times[-1]],
                "y": [promised, promised],
                "mode": "lines",
                "name": "promised",
                "hoverinfo": "skip",
                "meta": {"part": "reference"},
            }
        )
    return Chart(
        anchor,
        title,
        "Each judged picture stands for as many decisions as it was drawn from.",
        tuple(traces),
        {
            "xaxis": {"title": {"text": "kept since"}, "type": "category"},
            "yaxis": {"title": {"text": title.split(" on ")[0].lower()}, "tickformat": ".3~%"},
        },
        ("since", title.lower(), "95 % interval"),
        tuple(
            (time, format_percent(rate.estimate), format_interval(rate.low, rate.high))
            for time, rate in zip(times, rates, strict=True)
        ),
    )


def _middle(rate: DesignRate) -> float:
    """Return the estimate, or the middle of the bounds where nothing was found to take it of."""
    return (rate.low + rate.high) / 2 if rate.estimate is None else rate.estimate
