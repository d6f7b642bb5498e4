"""The page in a real browser: Chromium alone, and driven by Playwright where it is installed."""

from __future__ import annotations

import csv
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import AS_ROOT, BROWSER, PATIENCE, needs_browser
from drupe.data.fixes import Fixes, read_fix_list
from drupe.evaluation.intervals import Proportion, format_percent
from drupe.evaluation.lanes import LaneCounts, LineLoad, Thresholds
from drupe.evaluation.predictions import Predictions
from drupe.reporting.pdf import write_pdf
from drupe.reporting.report import Source, build_report, build_run_report, render
from drupe.reporting.study_files import read_study_files
from run_files import predictions
from study_folder import renamed, write_study_run, write_verdict

pytestmark = [pytest.mark.thorough, needs_browser]

CLASSES = ("clean", '<script>document.title="stolen"</script>')
HOSTILE_PATH = 'val/"><img src=x onerror="document.title=`stolen`">,é🍒\'.png'


def hostile(table: Predictions) -> Predictions:
    """Name one defect and the classes so that they would run, and have that defect missed."""
    item = int(np.flatnonzero(table.is_defect)[5])
    paths, scores = list(table.paths), table.scores.copy()
    paths[item], scores[item] = HOSTILE_PATH, 0.25
    return renamed(replace(table, scores=scores), paths, CLASSES)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "runs" / "small"
    for experiment, quality in (("A", 2.0), ("B", 1.6)):
        for seed in (1, 2):
            table = hostile(predictions(1226, 20, quality=quality + seed / 20))
            write_study_run(folder, experiment, seed, test=table, copies=2)
    write_verdict(folder, {"A": [1, 2], "B": [1, 2]})
    (folder / "report.html").write_text(
        render(build_report(folder, Source("small.yaml", (), None, folder.parents[1]))),
        encoding="utf-8",
    )
    return folder


def shown_at(study: Path, run: int, low: float, high: float) -> dict[str, str]:
    """Return what the explorer must show, from Python."""
    table = read_study_files(study).runs[run].test.distinct
    counts = LaneCounts.of(table.scores, table.is_defect, Thresholds(low, high))
    shown = {
        f"{name}-{lane}": f"{getattr(counts, f'{name}_{lane}'):,}"
        for name in ("clean", "defects")
        for lane in ("accepted", "reviewed", "rejected")
    }
    recall, clean = counts.recall(sides=1), counts.clean_yield()
    sign = "\u00a0%"
    bound = format_percent(recall.low, 2, sign, "down")
    shown["recall"] = format_percent(recall.rate, 2, sign)
    shown["recall-more"] = (
        f"{recall.successes:,} of {recall.trials:,}; one-sided 95 % bound {bound}"
    )
    shown["yield"] = format_percent(clean.rate, sign=sign)
    shown["yield-more"] = f"{clean.successes:,} of {clean.trials:,}; {interval(clean)}"
    return shown


def interval(rate: Proportion) -> str:
    low = format_percent(rate.low, sign="", rounding="down")
    return f"95 % interval {low}–{format_percent(rate.high, sign=chr(160) + '%', rounding='up')}"


def test_the_page_starts_without_an_error(study, tmp_path):
    assert BROWSER is not None
    command = [BROWSER, "--headless", *AS_ROOT, "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom"]
    page = (study / "report.html").as_uri()
    done = subprocess.run(
        [*command, page], capture_output=True, text=True, encoding="utf-8", timeout=120, check=True
    )
    assert re.findall(r".*CONSOLE.*", done.stderr) == []
    assert "<title>small · Drupe report</title>" in done.stdout
    assert done.stdout.count('class="main-svg"') >= 8
    certified = read_study_files(study).runs[0].certificate
    assert certified is not None
    for name, text in shown_at(study, 0, certified.threshold, certified.threshold).items():
        assert re.search(
            rf'id="explorer-{name}"[^>]*>{text}<'.replace("\u00a0", "&nbsp;"), done.stdout
        )


@pytest.fixture
def page(chromium: Any, study: Path) -> Any:
    """The report, opened; whatever it logs or asks a network for fails the test."""
    context = chromium.new_context(accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("console", lambda message: problems.append(message.text))
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on(
        "request",
        lambda request: (
            request.url.startswith(("file:", "data:", "blob:")) or problems.append(request.url)
        ),
    )
    opened.goto((study / "report.html").as_uri())
    opened.wait_for_selector("#training-accuracy .main-svg")
    yield opened
    assert problems == []
    assert opened.title() == "small · Drupe report"
    context.close()


def explorer_texts(page: Any, names: list[str]) -> dict[str, str]:
    return {name: page.locator(f"#explorer-{name}").inner_text() for name in names}


def test_the_explorer_shows_pythons_figures_at_25_thresholds(page, study):
    page.select_option("#explorer-run", "1")
    page.check("#explorer-review")
    scores = read_study_files(study).runs[1].test.distinct.scores
    random = np.random.default_rng(0)
    lows = [0.0, 1.0, 0.5, *map(float, scores[:10]), *random.random(12)]
    for index, low in enumerate(lows):
        high = low if index % 2 else low + (1 - low) / 4
        for name, value in (("high", 1.0), ("low", low), ("high", high)):
            page.fill(f"#explorer-{name}", repr(float(value)))
        expected = shown_at(study, 1, float(low), float(high))
        assert explorer_texts(page, list(expected)) == expected, (low, high)


def test_load_follows_the_prevalence(page, study):
    page.fill("#explorer-low", "0.5")
    page.fill("#explorer-prevalence", "2")
    page.fill("#explorer-cost-miss", "50")
    table = read_study_files(study).runs[0].test.distinct
    load = LineLoad.of(
        LaneCounts.of(table.scores, table.is_defect, Thresholds(0.5, 0.5)), 0.02, None
    )
    assert float(page.inner_text("#explorer-load-misses")) == pytest.approx(load.misses, rel=5e-3)
    cost = load.misses * 50 + load.false_rejects
    assert float(page.inner_text("#explorer-load-cost")) == pytest.approx(cost, rel=5e-3)
    page.fill("#explorer-prevalence", "200")
    assert page.get_attribute("#explorer-prevalence", "aria-invalid") == "true"


def test_an_uncertified_threshold_is_visibly_so_and_the_keyboard_moves_it(page):
    state = "#explorer-certificate"
    assert page.get_attribute(state, "data-state") == "certified"
    page.focus("#explorer-low-slider")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert page.get_attribute(state, "data-state") == "open"
    assert page.inner_text(state).startswith("Not certified: above")
    page.click("#explorer-snap")
    assert page.get_attribute(state, "data-state") == "certified"


def test_what_is_exported_is_what_audit_takes(page, tmp_path):
    page.select_option("#gallery-at", "half")
    card = page.locator(".mistake").filter(has_text=HOSTILE_PATH)
    assert card.locator(".path").inner_text() == HOSTILE_PATH
    page.select_option("#gallery-kind", "false reject")
    page.select_option("#gallery-all", "exclude")
    page.click("#gallery-apply")
    excluded = page.locator(".mistake:visible .path").all_inner_texts()
    page.select_option("#gallery-kind", "")
    page.fill("#gallery-text", "ONERROR")
    card.locator("select").select_option("relabel")
    with page.expect_download() as download:
        page.click("#gallery-export")
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)

    fixes = Fixes.of(read_fix_list(file))

    label = next(csv.DictReader(file.open(encoding="utf-8", newline="")))["reason"]
    assert label.startswith("labelled ")
    assert set(fixes.relabel) == {HOSTILE_PATH}
    assert set(fixes.relabel.values()) <= set(CLASSES)
    assert fixes.exclude == set(excluded) - {HOSTILE_PATH}
    assert fixes.exclude


def test_filters_narrow_the_gallery(page, study):
    page.select_option("#gallery-at", "half")
    page.select_option("#gallery-kind", "miss")
    kinds = page.locator(".mistake:visible .kind").all_inner_texts()
    assert kinds
    assert all("miss" in kind for kind in kinds)
    page.fill("#gallery-text", "no such path")
    assert page.locator(".mistake:visible").count() == 0
    assert page.is_visible("#gallery-none")
    page.fill("#gallery-text", "")
    page.select_option("#gallery-kind", "")
    while page.is_visible("#gallery-more"):
        page.click("#gallery-more")
    found = read_study_files(study)
    wrong = (found.scores >= np.float32(0.5)) != found.items.is_defect
    assert page.locator(".mistake:visible").count() == np.count_nonzero(wrong.any(axis=0))


@pytest.mark.parametrize("low", [0.5, 0.2, 0.031])
def test_the_gallery_follows_the_explorer(page, study, low):
    page.select_option("#explorer-run", "1")
    page.fill("#explorer-low", repr(low))
    page.wait_for_selector(f"#gallery-where:has-text('accepted below {low},')")
    page.select_option("#gallery-kind", "miss")
    while page.is_visible("#gallery-more"):
        page.click("#gallery-more")
    table = read_study_files(study).runs[1].test.table
    missed = table.is_defect & (table.scores < np.float32(low))
    shown = page.locator(".mistake:visible .path").all_inner_texts()
    assert set(shown) == {table.paths[place] for place in np.flatnonzero(missed)}


def test_a_day_on_the_line_follows_its_speed(page, study):
    page.fill("#explorer-low", "0.5")
    page.fill("#explorer-prevalence", "2")
    page.fill("#explorer-speed", "20000")
    page.fill("#explorer-hours", "8")
    table = read_study_files(study).runs[0].test.distinct
    counts = LaneCounts.of(table.scores, table.is_defect, Thresholds(0.5, 0.5))
    misses = 160_000 * 0.02 * counts.defects_accepted / counts.defects
    wasted = 160_000 * 0.98 * counts.clean_rejected / counts.clean
    for name, expected in (("misses", misses), ("false", wasted)):
        shown = page.inner_text(f"#explorer-day-{name}").replace(",", "")
        assert float(shown) == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_overflows_and_axe_finds_nothing_serious(chromium, study, scheme, width):
    axe = pytest.importorskip("axe_playwright_python", reason="pip install axe-playwright-python")
    # axe is put into the page, which the page's own policy forbids.
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto((study / "report.html").as_uri())
    page.wait_for_selector("#training-accuracy .main-svg")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    serious = [
        (one["id"], one["nodes"][0]["html"])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []
    context.close()


def test_a_drag_is_answered_within_50_ms_on_50_000_items(chromium, tmp_path):
    folder = tmp_path / "runs" / "large"
    write_study_run(folder, "A", 1, test=predictions(50_000, 5))
    html = tmp_path / "large.html"
    html.write_text(render(build_report(folder, Source("l.yaml", (), None, tmp_path))), "utf-8")
    page = chromium.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(html.as_uri())
    page.wait_for_selector("#training-accuracy .main-svg")
    times = page.evaluate(
        """() => {
          const slider = document.getElementById("explorer-low-slider");
          const times = [];
          for (let i = 0; i < 60; i += 1) {
            slider.value = -6 + i / 5;
            const start = performance.now();
            slider.dispatchEvent(new Event("input"));
            document.body.getBoundingClientRect(); // layout belongs to the answer
            times.push(performance.now() - start);
          }
          return times.sort((a, b) => a - b);
        }"""
    )
    assert times[30] < 50
    page.close()


def test_the_pdf_holds_several_pages(study, tmp_path):
    target = tmp_path / "report.pdf"
    write_pdf(study / "report.html", target)
    content = target.read_bytes()
    assert content.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 5


def test_a_crop_is_enlarged_and_its_channels_told_apart(chromium, small_synthetic, tmp_path):
    crops = sorted((small_synthetic / "val").rglob("*.png"))
    paths = [path.relative_to(small_synthetic).as_posix() for path in crops]
    table = renamed(predictions(len(paths), 3), paths, ("cherry_clean", "cherry_pit"))
    run = write_study_run(tmp_path / "runs", "A", 1, test=table, root=small_synthetic)
    file = tmp_path / "report.html"
    file.write_text(render(build_run_report([run], None, tmp_path)), encoding="utf-8")
    page = chromium.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(file.as_uri())
    page.select_option("#gallery-at", "half")
    first = page.locator(".mistake:visible button.look").first
    first.click()
    assert page.is_visible("#look")
    assert page.inner_text("#look-path") == first.get_attribute("data-path")
    frame, shown = (
        "document.querySelector('.look-frame')",
        "document.getElementById('look-picture')",
    )
    all_of_it = f"{shown}.offsetHeight <= {frame}.clientHeight"
    page.wait_for_function(f"{shown}.offsetHeight > 200 && {all_of_it}")
    page.fill("#look-zoom", "800")
    assert not page.evaluate(all_of_it)
    page.select_option("#look-channel", "url(#only-red)")
    filtered = page.evaluate("getComputedStyle(document.getElementById('look-picture')).filter")
    assert "only-red" in filtered
    page.keyboard.press("Escape")
    assert not page.is_visible("#look")
    page.close()
