"""The report's page of a small study against the one that was looked at and kept.

A page that is meant to change is written anew by

    DRUPE_WRITE_GOLD=1 python -m pytest tests/reporting/test_gold_page.py

and looked at in the difference that git shows.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import drupe
from drupe.reporting.report import Source, build_report, render
from run_files import predictions
from study_folder import write_study_run, write_verdict

GOLD = Path(__file__).parent / "gold" / "report.html"

CUT_OUT = [
    (r"(<script[^>]*>).*?(</script>)", r"\1…\2"),  # code, and the data that other tests read
    (r"(<style[^>]*>).*?(</style>)", r"\1…\2"),
    (r"data:[a-z]+/[a-z+]+;base64,[A-Za-z0-9+/=]+", "data:…"),
    (r"(?:&#39; )?&#39;sha256-[A-Za-z0-9+/=]+", "…"),
    (r"[ \t]+\n", "\n"),
    (r"\n{2,}", "\n"),
]
"""What of a page is not kept: what stands in files of its own, and pictures."""


def kept(page: str, folder: Path) -> str:
    """Return a page without scripts, styles, pictures, Drupe's version and the study's place."""
    for expression, placeholder in CUT_OUT:
        page = re.sub(expression, placeholder, page, flags=re.DOTALL)
    return page.replace(drupe.__version__, "VERSION").replace(str(folder), "STORE").strip() + "\n"


@pytest.fixture
def page(tmp_path: Path) -> str:
    folder = tmp_path / "store" / "runs" / "small"
    for experiment, quality in (("A", 2.0), ("B", 1.6)):
        for seed in (1, 2):
            table = predictions(800, 20 + seed, quality=quality)
            write_study_run(folder, experiment, seed, test=table, copies=2)
    write_verdict(folder, {"A": [1, 2], "B": [1, 2]})
    report = build_report(folder, Source("small.yaml", (), None, folder.parents[1]))
    return kept(render(report), folder.parents[1])


def test_the_page_is_the_one_that_was_kept(page: str) -> None:
    if os.environ.get("DRUPE_WRITE_GOLD"):
        GOLD.parent.mkdir(exist_ok=True)
        GOLD.write_text(page, encoding="utf-8")
    assert page.splitlines() == GOLD.read_text(encoding="utf-8").splitlines()


def test_a_changed_figure_is_found(page: str) -> None:
    gold = GOLD.read_text(encoding="utf-8")
    figures = re.findall(r"\d\d\.\d %", gold)
    assert len(figures) > 20
    assert page.replace(figures[0], "12.3 %") != gold
