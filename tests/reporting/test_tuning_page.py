from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from drupe.reporting.tuning_page import build_page, render_page
from drupe.tuning.request import Search
from drupe.tuning.result import Findings, FoldScores, Tried
from drupe.tuning.space import parse_space
from drupe.tuning.winner import write_winner

HOSTILE = '<img src=x onerror="stolen()">'
DOCUMENT: dict[str, Any] = {
    "name": "tiny",
    "model": {"architecture": "test_resnet", "pretrained": False},
}
SPACE = {
    "training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "input.views": [1, 2],
}


def scored(number: int, rate: float, views: int, *values: float) -> Tried:
    settings = {"training.learning_rate": rate, "input.views": views}
    return Tried(number, settings, "scored", FoldScores(values), 1.5, 90.0)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(
        document=DOCUMENT,
        data={"root": str(tmp_path)},
        source="tiny.yaml",
        space=parse_space(SPACE, DOCUMENT, "space.yaml"),
        command=f"drupe tune tiny.yaml {HOSTILE}",
        latency_ms=5.0,
    )


@pytest.fixture
def found(search: Search) -> Findings:
    settings = {"training.learning_rate": 0.09, "input.views": 2}
    trials = [
        scored(0, 1e-4, 1, 0.5, 0.6, 0.7),
        scored(1, 2e-3, 2, 0.6, 0.8, 0.7),
        Tried(2, settings, "failed", None, 2.5, 4.0, HOSTILE),
        Tried(3, settings, "stopped early", FoldScores((0.1,)), 2.5, 30.0, "after 1 of 3 folds"),
        Tried(4, settings, "too slow", None, 9.0, None, "p95 9.00 ms, allowed 5 ms"),
    ]
    return Findings(search, trials, {"training.learning_rate": 0.9, "input.views": 0.1})


def test_the_page_holds_every_trial_and_key(found: Findings) -> None:
    page = build_page(found)
    assert [row[0] for row in page.rows] == ["1", "0", "2", "3", "4"]
    assert page.rows[0][1:3] == ("70.0 % ± 10.0", "60.0 %, 80.0 %, 70.0 %")
    assert page.rows[1][3] == "as given"
    assert [chart.title for chart in page.slices] == ["training.learning_rate", "input.views"]
    history, importance = page.charts
    assert history.traces[0]["y"] == pytest.approx([0.6, 0.7])
    assert history.rows[1] == ("1", "70.0 % ± 10.0", "70.0 %")
    assert importance.traces[0]["y"] == ["training.learning_rate", "input.views"]
    assert page.slices[0].layout["xaxis"]["type"] == "log"
    assert page.slices[1].traces[0]["x"] == ["1", "2"]
    # +10, +20 and 0 points: their mean and deviation.
    assert page.headline == (
        "The best of 4 trials is trial 1: 70.0 % ± 10.0. "
        "As given: 60.0 % ± 10.0; fold by fold +10.0 ± 10.0 points."
    )


def test_the_page_is_one_file_that_runs_nothing_of_others(found: Findings) -> None:
    page = render_page(build_page(found))
    assert HOSTILE not in page
    assert "stolen()" in page
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', outside)
    policy = re.search(r'content="(default-src[^"]*)"', page)
    assert policy is not None
    assert policy[1].count("sha256-") == 3
    for anchor in ("answer", "curves", "keys", "trials"):
        assert f'<section id="{anchor}"' in page
    assert "training.learning_rate: 0.002" in page
    assert page.lstrip().startswith("<!doctype html>")


def test_a_search_without_scores_has_a_page(search: Search) -> None:
    page = build_page(Findings(search, [Tried(0, {}, "unfinished")], {}))
    assert page.headline == "No trial has a score on every fold yet."
    assert {chart.missing for chart in (*page.charts, *page.slices)} != {""}
    assert "There are too few trials" in render_page(page)


def test_the_experiment_as_given_may_be_the_best(search: Search, tmp_path: Path) -> None:
    found = Findings(search, [scored(0, 1e-4, 1, 0.5, 0.6)], {})
    assert build_page(found).headline == (
        "The best of 1 trials is the experiment as given: 55.0 % ± 7.1."
    )
    write_winner(tmp_path / "winner.yaml", Findings(search, [], {}))
    assert not (tmp_path / "winner.yaml").exists(), "there is none yet"
