"""The page's explorer and ``drupe threshold`` say the same of 200 random thresholds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drupe.evaluation.intervals import format_percent
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.reporting.report import build_run_report, render
from node import needs_node, run_js
from run_files import predictions
from study_folder import write_study_run

pytestmark = [pytest.mark.thorough, needs_node]

LANES = ("accept", "review", "reject")
SHOWN_BY_THE_PAGE = """
const { runs: [{ clean, defects }], lowerBounds } = given.page;
const run = { clean: decodeFloats(clean), defects: decodeFloats(defects) };
const bounds = (text) => decodeFloats(text, Float64Array);
const recalls = bounds(lowerBounds.recall[run.defects.length]);
const yields = bounds(lowerBounds.yield[run.clean.length]);
return given.thresholds.map(([low, high]) => {
  const counts = laneCounts(run, low, high);
  const recall = describeRecall(run.defects.length - counts.defects.accepted, recalls);
  const clean = describeRate(counts.clean.accepted, yields);
  return {
    lanes: [Object.values(counts.clean), Object.values(counts.defects)],
    rates: [recall.rate, recall.bound, clean.rate, clean.interval],
  };
});
"""
"""What ``explorer.js`` writes into the page, by the functions and the data that it takes."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    return write_study_run(folder, "A", 1, test=predictions(431, 7), copies=3)


@pytest.fixture(scope="module")
def thresholds(run: Path) -> list[tuple[float, float]]:
    """200 pairs (low, high): anywhere, on scores, a float64's step beside them, and at the ends."""
    model = read_run_predictions(run)
    assert model.test is not None
    random = np.random.default_rng(200)
    scores = random.choice(model.test.table.scores, 90, replace=False).astype(float)
    beside = [np.nextafter(score, random.choice([0, 1])) for score in scores[:40]]
    lows = np.array([0.0, 1.0, *scores, *beside, *random.random(68)])
    highs = np.where(np.arange(200) % 2, lows, lows + (1 - lows) * random.random(200))
    return list(zip(lows.tolist(), highs.tolist(), strict=True))


@pytest.fixture(scope="module")
def of_page(run: Path, thresholds: list[tuple[float, float]]) -> list[dict[str, Any]]:
    html = render(build_run_report([run], None, run))
    data = re.search(r'id="page-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    given = {"page": json.loads(data[1]), "thresholds": thresholds}
    return run_js(SHOWN_BY_THE_PAGE, given)


def plain(text: str) -> str:
    """Return a figure without what only a page or only a terminal writes: dashes, signs, spaces."""
    return re.sub(r"[\s\u00a0%≥]", "", text).replace("–", "-")


def test_the_terminal_says_what_the_page_shows(quick, run, thresholds, of_page):
    for (low, high), shown in zip(thresholds, of_page, strict=True):
        told = quick("threshold", run, "--low", repr(low), "--high", repr(high)).stdout
        clean, defects, rates = (
            [plain(cell) for cell in re.split(r"\s{2,}", line.strip()) if plain(cell)][1:]
            for line in told.splitlines()
            if re.match(r"\s*(test, clean|test, defects|test) {2,}", line)
        )
        kept = [place for place, lane in enumerate(LANES) if lane != "review" or high > low]
        for cells, counts in zip((clean, defects), shown["lanes"], strict=True):
            assert cells == [f"{counts[place]:,}" for place in kept], (low, high)
        assert rates == [plain(text) for text in shown["rates"]], (low, high)


def test_the_json_says_what_the_page_shows(quick, run, thresholds, of_page):
    for (low, high), shown in zip(thresholds, of_page, strict=True):
        words = ("threshold", run, "--low", repr(low), "--high", repr(high), "--json")
        document = json.loads(quick(*words).stdout)["test"]
        clean, defects = shown["lanes"]
        assert list(document["lanes"].values()) == [*clean, *defects], (low, high)
        recall, yields = document["recall"], document["clean_yield"]
        figures = [
            format_percent(recall["rate"], 2),
            format_percent(recall["low"], 2, rounding="down"),
            format_percent(yields["rate"]),
            f"{format_percent(yields['low'], sign='', rounding='down')}–"
            f"{format_percent(yields['high'], rounding='up')}",
        ]
        assert list(map(plain, figures)) == [plain(text) for text in shown["rates"]], (low, high)
