"""The charts' values, each against a direct count on the scores, or scikit-learn's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.reporting.charts import (
    Chart,
    Trace,
    accuracy_forest,
    difference_forest,
    pareto_chart,
    recall_yield_chart,
    reliability_chart,
    roc_chart,
)
from drupe.reporting.study_files import StudyFiles, read_study_files
from drupe.study.verdict.document import StudyVerdict
from run_files import predictions
from study_folder import write_study_run, write_verdict

QUALITY = {"A": 2.5, "B & co": 1.5, "C": 0.4, "D": 1.0, "E": 1.1}
SEEDS = {"A": [1, 2, 3], "B & co": [1, 2], "C": [1], "D": [1], "E": [1]}
NAMES = [name.replace("&", "&amp;") for name in QUALITY]
"""As Plotly, which knows some HTML, has to be told them."""
BENCH = {
    "A": [("onnxruntime", 1, 4.0), ("openvino", 1, 2.5), ("tensorrt", 8, 0.5)],
    "B & co": [("onnxruntime", 1, 1.25)],
    "C": [("openvino", 1, 9.0)],
    "E": [("openvino", 1, 0.25)],
}
"""Experiment → (backend, batch, p95 in ms). D has no bench, E no certificate."""
COMPARISONS = [
    ("B & co", "A", "Is B as good?", "accuracy", -0.0123, -0.03131, 0.00842, 0.4, 0.0212),
    ("C", "A", "", "clean_yield", -0.151, -0.2004, -0.1007, 0.00032, 0.0307),
]
"""a, b, question, metric, difference, low, high, adjusted p, detectable."""
Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
FIVE_DECIMALS = 5.01e-6


@dataclass(frozen=True)
class Small:
    """A small study: its files, its verdict's document, and one of each copies it was made of."""

    files: StudyFiles
    document: dict[str, Any]
    tables: dict[str, list[Predictions]]

    @property
    def verdict(self) -> StudyVerdict:
        assert self.files.verdict is not None
        return self.files.verdict


def tied(count: int, seed: int, quality: float) -> Predictions:
    """Return items with many ties of both classes, at 0.5 too, and with the scores 0 and 1."""
    table = predictions(count, seed, quality=quality)
    assert table.logits is not None
    logits = np.round(table.logits, 1)
    logits[[20, 30]] = -300, 300
    return replace(table, logits=logits, scores=scores_from_logits(logits, 1.3))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("store") / "runs" / "small"
    tables: dict[str, list[Predictions]] = {name: [] for name in QUALITY}
    for number, (name, quality) in enumerate(QUALITY.items()):
        for seed in SEEDS[name]:
            table = tied(263, 10 * number + seed, quality)
            write_study_run(folder, name, seed, test=table, copies=2)
            tables[name].append(table.take(np.delete(np.arange(263), [1, 2])))  # copies of 0
    path = write_verdict(folder, SEEDS, comparisons=[comparison(*one) for one in COMPARISONS])
    document = json.loads(path.read_text())
    for item in document["experiments"]:
        item["bench"] = bench(item["id"]) if item["id"] in BENCH else None
        if item["id"] == "E":
            item["certificate"] = item["certified_test"] = None
    path.write_text(json.dumps(document))
    return Small(read_study_files(folder), document, tables)


def comparison(
    a: str,
    b: str,
    question: str,
    metric: str,
    difference: float,
    low: float,
    high: float,
    p_adjusted: float,
    detectable: float,
) -> dict[str, Any]:
    bounds = {"difference": difference, "low": low, "high": high, "standard_error": 0.01}
    test = {"p_value": 0.2, "confidence": 0.95, "sides": 2, "p_adjusted": p_adjusted}
    counts = {"seeds": [1], "images": 261, "groups": 261, "discordant_groups": 90}
    named = {"a": a, "b": b, "question": question, "metric": metric, "detectable": detectable}
    return {**named, **bounds, **test, **counts}


def bench(name: str) -> dict[str, Any]:
    return {
        "results": [
            {
                "name": name,
                "backend": backend,
                "precision": "fp32",
                "threads": 1,
                "batch": batch,
                "p50_ms": p95 / 2,
                "p95_ms": p95,
                "p99_ms": 2 * p95,
                "samples": 500,
            }
            for backend, batch, p95 in BENCH[name]
        ]
    }


def parts(chart: Chart, part: str) -> list[Trace]:
    return [trace for trace in chart.traces if trace["meta"]["part"] == part]


def near(values: Any) -> Any:
    return pytest.approx(values, abs=FIVE_DECIMALS, rel=0)


def bounds(trace: Trace, error: str) -> tuple[float, float]:
    """Return the ends of the first point's error bar."""
    middle = trace[error[-1]][0]
    bar = trace[error]
    assert bar["type"] == "data"
    return middle - bar["arrayminus"][0], middle + bar["array"][0]


def wilson_roots(rate: float, trials: int) -> tuple[float, float]:
    """Return the p with (rate − p)² = z² p (1 − p) / n, which the Wilson bounds solve."""
    pull = Z * Z / trials
    low, high = sorted(np.roots([1 + pull, -2 * rate - pull, rate * rate]).real)
    return float(low), float(high)


def percent(rate: float) -> str:
    return f"{100 * rate:.1f} %" if rate < 1 else "100 %"


def outward(low: float, high: float, digits: int, sign: str = "") -> tuple[str, str]:
    step = 10**digits
    start, end = math.floor(100 * low * step) / step, math.ceil(100 * high * step) / step
    return f"{start:{sign}.{digits}f}", f"{end:{sign}.{digits}f}"


def test_the_accuracy_forest_has_the_share_of_right_decisions_and_its_interval(small):
    chart = accuracy_forest(small.verdict)
    intervals, dots = parts(chart, "interval"), parts(chart, "seeds")
    assert len(chart.traces) == len(intervals) + len(dots) == 2 * len(QUALITY)
    assert [trace["y"] for trace in intervals] == [[name] for name in NAMES]
    assert chart.layout["yaxis"]["categoryarray"] == NAMES[::-1]  # Plotly counts from below
    assert len(chart.rows) == len(QUALITY)
    for item, interval, dot, row in zip(
        small.document["experiments"], intervals, dots, chart.rows, strict=True
    ):
        name, low, high = item["id"], item["accuracy"]["low"], item["accuracy"]["high"]
        right = [float(((one.scores >= 0.5) == one.is_defect).mean()) for one in small.tables[name]]
        mean = sum(right) / len(right)
        assert interval["x"] == pytest.approx([mean])
        assert bounds(interval, "error_x") == pytest.approx((low, high))
        assert "–".join(outward(low, high, 2)) in interval["hovertemplate"]
        assert dot["x"] == pytest.approx(right)
        assert dot["y"] == interval["y"] * len(right)
        spread = f"{100 * np.std(right, ddof=1):.2f}" if len(right) > 1 else "–"
        assert row == (name, percent(mean), "–".join(outward(low, high, 1)) + " %", spread)


def test_the_difference_forest_has_the_differences_and_their_intervals(small):
    chart = difference_forest(small.verdict)
    names = ["B &amp; co − A", "C − A"]
    assert [trace["y"] for trace in chart.traces] == [[name] for name in names]
    assert chart.layout["yaxis"]["categoryarray"] == names[::-1]
    for (*_, difference, low, high, _, _), trace in zip(COMPARISONS, chart.traces, strict=True):
        assert trace["x"] == [difference]
        assert bounds(trace, "error_x") == pytest.approx((low, high))
        assert f"({' to '.join(outward(low, high, 2, '+'))} points)" in trace["hovertemplate"]
    assert chart.rows == (
        ("B & co − A: Is B as good?", "accuracy", "-1.23", "-3.14 to +0.85", "0.4", "2.1"),
        ("C − A", "clean yield", "-15.10", "-20.04 to -10.07", "0.00032", "3.1"),
    )


def recall_at(table: Predictions, rejected: NDArray[Any]) -> list[float]:
    """Return the best recall of all thresholds that reject at most these shares of the clean."""
    false, true, _ = roc_curve(table.is_defect, table.scores, drop_intermediate=False)
    return [true[false <= share + 1e-9].max() for share in rejected]


def yield_at(table: Predictions, recall: NDArray[Any]) -> list[float]:
    """Return the best clean yield of all thresholds that reach these recalls."""
    false, true, _ = roc_curve(table.is_defect, table.scores, drop_intermediate=False)
    return [1 - false[true >= least - 1e-9].min() for least in recall]


def defects(table: Predictions) -> int:
    return int(table.is_defect.sum())


def clean(table: Predictions) -> int:
    return len(table) - defects(table)


@pytest.mark.parametrize(
    ("draw", "rate_at", "start", "trials", "steps"),
    [
        (roc_chart, recall_at, 0.0, defects, [0.01, 0.05, 0.1, 0.2]),
        (recall_yield_chart, yield_at, 0.9, clean, [0.9, 0.95, 0.98, 0.99, 1.0]),
    ],
)
def test_a_curve_has_the_best_of_all_thresholds(
    small: Small,
    draw: Callable[[StudyFiles], Chart],
    rate_at: Callable[[Predictions, NDArray[Any]], list[float]],
    start: float,
    trials: Callable[[Predictions], int],
    steps: Sequence[float],
):
    chart = draw(small.files)
    x = np.linspace(start, 1, 201)
    traces = list(chart.traces)
    for series, (name, tables) in enumerate(small.tables.items()):
        seeds = [rate_at(table, x) for table in tables]
        mean = np.mean(seeds, axis=0)
        band = np.array([wilson_roots(rate, trials(tables[0])) for rate in mean])
        drawn = len(seeds) if len(seeds) > 1 else 0
        area, *lines, line = traces[: drawn + 2]
        del traces[: drawn + 2]

        assert area["x"] == near([*x, *x[::-1]])
        assert area["y"] == near([*band[:, 1], *band[::-1, 0]])
        assert [one["x"] for one in lines] == [near(list(x))] * drawn
        assert [one["y"] for one in lines] == [near(seed) for seed in seeds[:drawn]]
        assert (line["x"], line["y"]) == (near(list(x)), near(list(mean)))
        assert [one["meta"]["part"] for one in (area, *lines, line)] == [
            "band",
            *["seed-line"] * drawn,
            "line",
        ]
        assert {one["meta"]["series"] for one in (area, *lines, line)} == {series}
        assert {one["legendgroup"] for one in (area, *lines, line)} == {line["name"]}
        assert line["name"] == NAMES[series]
        at_steps = np.mean([rate_at(table, np.array(steps)) for table in tables], axis=0)
        assert chart.rows[series] == (name, *map(percent, at_steps))
    assert traces == []
    assert len(chart.rows) == len(QUALITY)
    assert [column.split(" %")[0].split(" ")[-1] for column in chart.columns[1:]] == [
        f"{100 * step:g}" for step in steps
    ]


def test_the_reliability_is_that_of_fifteen_bins_counted_one_by_one(small):
    chart = reliability_chart(small.files)
    diagonal, *traces = chart.traces
    assert (diagonal["x"], diagonal["y"]) == ([0, 1], [0, 1])
    rows = []
    for series, (name, (deployed, *_)) in enumerate(small.tables.items()):
        scores = deployed.scores.astype(float)
        bins = [
            (scores >= place / 15) & ((scores < (place + 1) / 15) | (place == 14))
            for place in range(15)
        ]
        held = [
            (scores[one].mean(), int(deployed.is_defect[one].sum()), int(one.sum()))
            for one in bins
            if one.any()
        ]
        shares = [positive / items for _, positive, items in held]
        reach = np.array(
            [wilson_roots(share, one[2]) for share, one in zip(shares, held, strict=True)]
        )
        trace = traces[series]
        assert trace["x"] == near([mean for mean, _, _ in held])
        assert trace["y"] == near(shares)
        assert trace["error_y"]["array"] == near(list(reach[:, 1] - shares))
        assert trace["error_y"]["arrayminus"] == near(list(shares - reach[:, 0]))
        assert trace["text"] == [
            f"{positive} of {items} are defects" for _, positive, items in held
        ]
        assert (trace["name"], trace["meta"]["series"]) == (NAMES[series], series)
        rows += [
            (
                name,
                f"{mean:.3f}",
                percent(share) if share else "0 %",
                f"{positive:,} of {items:,}",
            )
            for (mean, positive, items), share in zip(held, shares, strict=True)
        ]
    assert len(traces) == len(QUALITY)
    assert list(chart.rows) == rows


def test_the_pareto_chart_has_the_fastest_single_decision_and_the_yield_when_certified(small):
    chart = pareto_chart(small.verdict)
    fastest = {"A": ("openvino", 2.5), "B & co": ("onnxruntime", 1.25), "C": ("openvino", 9.0)}
    line, *points = chart.traces
    yields = {}
    for item, trace, row in zip(small.document["experiments"][:3], points, chart.rows, strict=True):
        name, table = item["id"], small.tables[item["id"]][0]
        accepted = table.scores[~table.is_defect] < item["certificate"]["threshold"]
        yields[name] = accepted.mean()
        exact = binomtest(int(accepted.sum()), accepted.size).proportion_ci(0.95, "exact")
        backend, p95 = fastest[name]
        assert (trace["x"], trace["y"]) == ([p95], pytest.approx([yields[name]]))
        assert bounds(trace, "error_y") == pytest.approx((exact.low, exact.high))
        assert trace["text"] == [name.replace("&", "&amp;") + "  "]
        assert trace["meta"]["part"] == ("behind" if name == "C" else "front")
        interval = "–".join(outward(exact.low, exact.high, 1)) + " %"
        kept = "no" if name == "C" else "yes"
        shown = (f"{backend} fp32", f"{p95:.2f} ms", percent(yields[name]), interval, kept)
        assert row == (name, *shown)
    assert yields["C"] < yields["B & co"] < yields["A"]
    assert line["x"] == [1.25, 2.5]
    assert line["y"] == pytest.approx([yields["B & co"], yields["A"]])
