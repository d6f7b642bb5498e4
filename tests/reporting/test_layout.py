"""No page is wider than a phone, in either theme: nothing to push aside, no navigation cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from browser import PATIENCE, needs_browser
from drupe.data.audit import audit
from drupe.data.synthetic.generation import synthesise
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.predictions import Predictions
from drupe.reporting.audit_page import build_audit_page, render_audit_page
from drupe.reporting.report import Source, build_report, build_run_report, render
from drupe.runs.evaluation_file import record_certificate
from run_files import predictions
from study_folder import renamed, write_study_run, write_verdict

pytestmark = [pytest.mark.thorough, needs_browser]

LONG = "a-long-name-without-a-space-as-cameras-give-them-2026-03-02T10-11-12-lane-4"
PAGES = ("study", "run", "change", "audit")

MEASURED = """() => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const beyond = (element) => element.getBoundingClientRect().right > innerWidth + 0.5;
  const shown = (element) => element.getClientRects().length > 0;
  const section = (element) => element.closest("section")?.id;
  const named = (element) =>
    [element.tagName, section(element), element.textContent.trim().slice(0, 60)].join(" ");
  const wanted = "table, .top, .top a, .top button, h1, h2, h3, .card, .tile, .plot";
  const parts = [...document.querySelectorAll(wanted)];
  const nav = document.querySelector(".top nav");
  return {
    width: document.documentElement.scrollWidth,
    beyond: parts.filter((one) => shown(one) && beyond(one)).map(named),
    cutOff: nav.scrollWidth > nav.clientWidth || nav.scrollHeight > nav.clientHeight + 1,
  };
}"""


def long_named(table: Predictions, folder: Path) -> Predictions:
    """Name the items after crops of ``folder``, and the classes at length."""
    crops = sorted((folder / "val").rglob("*.png"))[: len(table)]
    paths = [crop.relative_to(folder).as_posix() for crop in crops]
    return renamed(table, paths, (f"clean-{LONG}", f"pit-{LONG}"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("layout")
    crops, study = root / "crops", root / "store/runs" / LONG
    faults = {"leaks": 2, "duplicates": 2, "near_duplicates": 2, "contradictions": 2}
    synthesise(crops, images=240, size=32, seed=3, blanks=1, corrupt=1, **faults)
    first = min((crops / "val/cherry_pit").glob("*.png"))
    (crops / "train/cherry_pit" / f"{LONG}.png").write_bytes(first.read_bytes())
    (crops / "train/cherry_pit" / f"{LONG}.txt").write_text("no picture")
    count = len(list((crops / "val").rglob("*.png")))
    runs = []
    for experiment, quality in ((f"A-{LONG}", 0.8), ("B", 0.9)):
        for seed in (1, 2):
            table = predictions(count, 20 + seed, quality=quality)
            table = replace(table, types=("pit-and-stem", "") * (count // 2) + ("",) * (count % 2))
            table = long_named(table, crops)
            run = write_study_run(study, experiment, seed, test=table, root=crops, copies=2)
            point = operating_point(read_run_predictions(run), Request(min_recall=0.9))
            record_certificate(run, point.certified_figures())
            runs.append(run)
    write_verdict(study, {f"A-{LONG}": [1, 2], "B": [1, 2]})
    found = audit(crops, store=root / "store")
    html = {
        "study": render(build_report(study, Source("s.yaml", (), crops, root / "store"))),
        "run": render(build_run_report(runs[:1], None, root)),
        "change": render(build_run_report([runs[0], runs[2]], None, root)),
        "audit": render_audit_page(build_audit_page(found)),
    }
    for name, text in html.items():
        (root / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: root / f"{name}.html" for name in html}


@pytest.mark.parametrize("name", PAGES)
def test_no_page_is_wider_than_the_screen(chromium, pages, name):
    page = chromium.new_page(viewport={"width": 390, "height": 900})  # charts shrink in their time
    page.set_default_timeout(PATIENCE)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(pages[name].as_uri())
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_selector(f"html[data-theme={scheme}]")
            found = page.evaluate(MEASURED)
            assert found == {"width": width, "beyond": [], "cutOff": False}, (width, scheme)
    assert problems == []
    page.close()
