"""Curves of how the runs learnt: loss and accuracy per epoch, the seeds of a model as a band."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from drupe.evaluation.intervals import format_percent
from drupe.reporting.charts import Chart, Trace
from drupe.reporting.study_files import Model, StudyFiles
from drupe.runs.epoch_log import EpochResult

TICKS = 10
"""At most, and only where an epoch ends."""
NO_EPOCHS = "No run recorded any epoch: the networks were trained elsewhere."


def training_charts(study: StudyFiles) -> tuple[Chart, ...]:
    """Return a chart of the loss and one of the accuracy on the fit split."""
    trained = [model for model in study.models if any(run.epochs for run in model.runs)]
    return (
        _chart(
            trained,
            "training-loss",
            "Training loss",
            "loss",
            lambda epoch: epoch.loss,
            lambda value: f"{value:.4f}",
        ),
        _chart(
            trained,
            "training-accuracy",
            "Training accuracy",
            "accuracy",
            lambda epoch: epoch.accuracy,
            format_percent,
        ),
    )


def _chart(
    models: Sequence[Model],
    identifier: str,
    title: str,
    axis: str,
    value: Callable[[EpochResult], float],
    shown: Callable[[float], str],
) -> Chart:
    if not models:
        return Chart(identifier, title, "", missing=NO_EPOCHS)
    traces: list[Trace] = []
    rows = []
    for series, model in enumerate(models):
        seeds = [[value(epoch) for epoch in run.epochs] for run in model.runs if run.epochs]
        traces += _traces(html.escape(model.name, quote=False), seeds, series)
        last = [seed[-1] for seed in seeds]
        ends = f"{shown(min(last))} to {shown(max(last))}" if len(last) > 1 else "–"
        rows.append(
            (
                model.name,
                str(len(seeds)),
                str(max(map(len, seeds))),
                shown(sum(last) / len(last)),
                ends,
            )
        )
    epochs = max(len(run.epochs) for model in models for run in model.runs)
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": "epoch"}, "tick0": 1, "dtick": -(-epochs // TICKS)},
        "yaxis": {"title": {"text": axis}},
    }
    if axis == "accuracy":
        layout["yaxis"] |= {"tickformat": ".3~%"}
    return Chart(
        identifier,
        title,
        "On the fit split, augmented as in training: what the optimiser saw, no evidence about new "
        "crops. Line: mean over seeds; band: from the lowest to the highest seed.",
        tuple(traces),
        layout,
        ("model", "seeds", "epochs", f"last {axis}, mean", "seeds from – to"),
        tuple(rows),
    )


def _traces(name: str, seeds: Sequence[Sequence[float]], series: int) -> list[Trace]:
    """Return a band and a line; an epoch that only some seeds reached averages those."""
    epochs = [[value for value in values if value is not None] for values in zip_longest(*seeds)]
    x = list(range(1, len(epochs) + 1))
    band = {
        "x": x + x[::-1],
        "y": [max(values) for values in epochs] + [min(values) for values in epochs][::-1],
        "fill": "toself",
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
        "meta": {"series": series, "part": "band"},
    }
    line = {
        "x": x,
        "y": [sum(values) / len(values) for values in epochs],
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "hovertemplate": "epoch %{x}: %{y:.4f}",
        "meta": {"series": series, "part": "line"},
    }
    return [band, line]
