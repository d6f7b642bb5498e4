"""The pages' arithmetic and fix lists in JavaScript against Python's, by Node."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drupe.data.fixes import Fix, read_fix_list
from drupe.evaluation.intervals import Proportion, clopper_pearson, format_percent, lower_bounds
from drupe.evaluation.lanes import Costs, LaneCounts, LineLoad, Thresholds
from drupe.evaluation.predictions import Predictions
from drupe.reporting.explorer import ExplorerRun, _packed, lower_bound_tables
from node import needs_node, run_js
from run_files import predictions

pytestmark = [pytest.mark.thorough, needs_node]


def packed(table: Predictions) -> dict[str, str]:
    return {
        "clean": _packed(np.sort(table.scores[~table.is_defect])),
        "defects": _packed(np.sort(table.scores[table.is_defect])),
    }


def thresholds(table: Predictions) -> list[tuple[float, float]]:
    """25 pairs: at scores, a float64 step beside them, at the ends, and anywhere."""
    random = np.random.default_rng(3)
    chosen = random.choice(table.scores, 8, replace=False).astype(float).tolist()
    lows = [*chosen, *(value * (1 + 1e-12) for value in chosen[:4]), 0.0, 1.0, 0.5, 0.1, 0.7]
    lows += random.random(8).tolist()
    assert len(lows) == 25
    return [(low, low if index % 2 else low + (1 - low) / 3) for index, low in enumerate(lows)]


def test_counts_and_loads_are_pythons_at_25_thresholds():
    # Scores that float32 can't hold exactly, and ties.
    table = predictions(1226, 4)
    tied = np.round(table.scores, 2)
    for scores in (table.scores, tied):
        data = Predictions(table.paths, table.is_defect, None, scores, table.classes)
        pairs = thresholds(data)
        costs = Costs(miss=120, false_reject=0.7, review=0.25)
        found = run_js(
            """
            const run = { clean: decodeFloats(given.clean), defects: decodeFloats(given.defects) };
            return given.pairs.map(([low, high]) => {
              const counts = laneCounts(run, low, high);
              const load = lineLoad(counts, 0.03, { miss: 120, falseReject: 0.7, review: 0.25 });
              return { counts, load };
            });
            """,
            {**packed(data), "pairs": pairs},
        )
        for (low, high), one in zip(pairs, found, strict=True):
            counts = LaneCounts.of(data.scores, data.is_defect, Thresholds(low, high))
            clean, defects = one["counts"]["clean"], one["counts"]["defects"]
            assert list(clean.values()) + list(defects.values()) == list(counts.to_json().values())
            load = LineLoad.of(counts, 0.03, costs)
            assert one["load"]["misses"] == pytest.approx(load.misses, rel=1e-12)
            assert one["load"]["reviews"] == pytest.approx(load.reviews, rel=1e-12)
            assert one["load"]["rejects"] == pytest.approx(load.rejects, rel=1e-12)
            assert one["load"]["falseRejects"] == pytest.approx(load.false_rejects, rel=1e-12)
            assert one["load"]["cost"] == pytest.approx(load.cost, rel=1e-12)


def test_the_intervals_are_clopper_and_pearsons():
    cases = [(0, 1), (1, 1), (0, 386), (386, 386), (1, 386), (385, 386), (342, 386), (450, 484)]
    cases += [(1, 25_000), (24_999, 25_000), (12_345, 25_000), (3, 1_000_000), (5, 7)]
    tables = {n: _packed(lower_bounds(n, 0.95, 2)) for n in {n for _, n in cases}}
    found = run_js(
        """
        const lows = (n) => decodeFloats(given.tables[n], Float64Array);
        return given.cases.map(([k, n]) => exactBounds(k, lows(n)));
        """,
        {"cases": cases, "tables": tables},
    )
    for (successes, trials), bounds in zip(cases, found, strict=True):
        assert bounds == pytest.approx(clopper_pearson(successes, trials, 0.95, 2), abs=1e-15)


def test_a_rate_reads_as_pythons_does_at_every_count():
    for trials in (1, 7, 386, 1226):
        table = _packed(lower_bounds(trials, 0.95, 2))
        found = run_js(
            """
            const lows = decodeFloats(given.table, Float64Array);
            return Array.from(lows, (_, k) => {
              const { rate, counts, interval } = describeRate(k, lows);
              return `${rate} (${counts}; 95 % interval ${interval})`.replaceAll("\\u00a0", " ");
            });
            """,
            {"table": table},
        )
        assert found == [Proportion(k, trials).describe() for k in range(trials + 1)]


def test_the_page_holds_the_bounds_of_every_class_size_once():
    table = predictions(300, 4)
    clean, defects = table.scores[~table.is_defect], table.scores[table.is_defect]
    runs = [ExplorerRun(name, name, np.sort(clean), np.sort(defects), None) for name in ("a", "b")]
    assert lower_bound_tables(runs) == {
        "recall": {len(defects): _packed(lower_bounds(len(defects), 0.95, 1))},
        "yield": {len(clean): _packed(lower_bounds(len(clean), 0.95, 2))},
    }


@pytest.mark.parametrize("rounding", ["nearest", "down", "up"])
def test_percentages_read_as_pythons_do(rounding):
    rates = [0.0, 1.0, 0.5, 0.9405, 0.94049999, 12259 / 12260, 1e-7, 3.2e-12, 1 / 3, 0.0005, 0.9995]
    rates += [0.8886, 0.00005, 1 - 1e-9, 0.1, 0.0625, 0.99049, *np.random.default_rng(1).random(40)]
    found = run_js(
        "return given.rates.map((rate) => formatPercent(rate, given.rounding, 1, ' %'));",
        {"rates": [float(rate) for rate in rates], "rounding": rounding},
    )
    assert found == [format_percent(float(rate), rounding=rounding) for rate in rates]


def test_a_threshold_is_certified_up_to_the_certified_one():
    limit = float(np.float32(0.0022626551799476147))
    found = run_js(
        "return given.lows.map((low) => isCertified({ threshold: given.limit }, low));",
        {"limit": limit, "lows": [0.0, limit, float(np.nextafter(np.float32(limit), 1)), 0.5]},
    )
    assert found == [True, True, False, False]
    assert run_js("return isCertified(null, 0);", None) is False


def test_the_sliders_place_and_score_are_inverse():
    scores = [0.0, 1.0, 0.5, 0.002, 0.9991]
    found = run_js("return given.map((score) => scoreOfPlace(placeOfScore(score)));", scores)
    assert found == pytest.approx(scores, abs=1e-12)


def test_the_histogram_counts_every_item_once():
    table = predictions(500, 9)
    found = run_js(
        "return Object.values(given).map((scores) => histogram(decodeFloats(scores), 96));",
        packed(table),
    )
    assert [sum(counts) for counts in found] == [
        int((~table.is_defect).sum()),
        int(table.is_defect.sum()),
    ]


def test_the_fix_list_is_one_that_audit_takes(tmp_path: Path):
    hostile = 'val/pit/a "b", <script>é🍒\n.png'
    formula, digest = "=SUM(A1)/'=1.png", "0a" * 32
    fixes = [
        {
            "item": {"path": hostile, "other": 'cle"an', "reason": "looks, clean", "sha256": ""},
            "action": "relabel",
        },
        {
            "item": {"path": formula, "other": "clean", "reason": "'+x", "sha256": digest},
            "action": "exclude",
        },
    ]
    file = tmp_path / "fixes.csv"
    file.write_text(run_js("return fixList(given);", fixes), encoding="utf-8", newline="")

    assert read_fix_list(file) == (
        Fix(hostile, "relabel", 'cle"an', "looks, clean"),
        Fix(formula, "exclude", reason="'+x", sha256=digest),
    )
    assert "\n'=SUM" in file.read_text(encoding="utf-8")


def test_fifty_thousand_items_are_counted_within_a_frame():
    table = predictions(50_000, 4)
    milliseconds = run_js(
        """
        const run = { clean: decodeFloats(given.clean), defects: decodeFloats(given.defects) };
        const lows = {
          clean: decodeFloats(given.cleanLows, Float64Array),
          defects: decodeFloats(given.defectLows, Float64Array),
        };
        const drag = (low) => {
          const { clean, defects } = laneCounts(run, low, low);
          describeRate(defects.rejected, lows.defects);
          describeRate(clean.accepted, lows.clean);
        };
        for (let i = 0; i < 20; i += 1) drag(i / 20);
        const times = [];
        for (let i = 0; i < 50; i += 1) {
          const start = performance.now();
          drag(i / 50);
          times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b)[25];
        """,
        {
            **packed(table),
            "cleanLows": _packed(lower_bounds(int((~table.is_defect).sum()), 0.95, 2)),
            "defectLows": _packed(lower_bounds(int(table.is_defect.sum()), 0.95, 2)),
        },
    )
    assert milliseconds < 25  # half of what a drag may take; about 1 on an idle machine
