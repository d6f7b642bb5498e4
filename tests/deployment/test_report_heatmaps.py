"""``drupe report --explain``: where the decisions of a run or a bundle come from, as pictures."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from browser import PATIENCE, needs_browser
from drupe.data.decode import UnreadableImageError
from drupe.deployment.eager import eager_explainer
from drupe.deployment.manifest import read_manifest
from drupe.errors import InputError
from drupe.reporting import heatmaps as module
from drupe.reporting.heatmaps import Heatmaps
from drupe.reporting.report import (
    Report,
    Source,
    build_report,
    build_run_report,
    build_stored_report,
    render,
)


def of_bundle(deployed: tuple[Path, Path, Path]) -> Report:
    run, store, bundle = deployed
    return build_run_report([run], None, store, read_manifest(bundle), bundle)


@pytest.fixture(scope="module")
def report(deployed) -> Report:
    return of_bundle(deployed)


@pytest.fixture(scope="module")
def heatmaps(report) -> Heatmaps:
    assert report.heatmaps is not None
    return report.heatmaps


def drawn(uri: str) -> np.ndarray:
    content = base64.b64decode(uri.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)


def test_a_bundle_explains_what_it_decides_wrongly_some_of_each_kind(deployed, report, heatmaps):
    function = read_manifest(deployed[2]).functions[0]
    assert (heatmaps.function, heatmaps.threshold) == (function.name, function.low)
    assert heatmaps.is_certified
    kinds = [one.is_miss for one in heatmaps.shown]
    assert 0 < kinds.count(True) <= module.MOST_OF_A_KIND
    assert 0 < kinds.count(False) <= module.MOST_OF_A_KIND
    assert kinds[:2] == [True, False]
    for one in heatmaps.shown:
        assert (one.score < function.low) == one.is_miss
    held = [one for answer in report.answers for one in answer.holders if one.heat]
    shown = {one.path: one.heat for one in (*held, *heatmaps.shown)}
    assert report.page_data()["heats"] == shown
    html = " ".join(render(report).split())
    assert f"{len(kinds)} of {heatmaps.wrong} crops of this page that it decides wrongly" in html
    assert html.count(" data-heat ") == len(kinds) + len(held)


def test_the_crops_that_hold_the_threshold_are_explained_too(report) -> None:
    (answer,) = report.answers
    assert answer.holders
    assert all(one.heat for one in answer.holders[: module.MOST_HOLDERS])
    assert drawn(answer.holders[0].heat).shape[-1] == 3
    assert "Orange places speak for a defect" in render(report).partition("Next steps")[0]


def test_a_run_is_explained_by_its_own_network(deployed, heatmaps):
    run, store, _ = deployed
    found = build_run_report([run], None, store, explain=run).heatmaps
    assert found is not None
    assert found.function == "its network in PyTorch"
    one = next(one for one in found.shown if one.path in {had.path for had in heatmaps.shown})
    own = eager_explainer(run)(store.parent / "crops" / one.path)
    assert own.score == pytest.approx(one.score, abs=1e-5)
    assert np.abs(drawn(one.heat) - own.overlay()).mean() < 6  # WebP loses a little
    same = next(had for had in heatmaps.shown if had.path == one.path)
    assert np.abs(drawn(one.heat) - drawn(same.heat)).mean() < 2


def test_a_study_is_explained_by_the_run_that_is_explored_first(deployed, tmp_path):
    run, store, _ = deployed
    study = tmp_path / "runs" / "small"
    shutil.copytree(run, study / "A" / "seed-42")
    asked = Source("small.yaml", (), None, store, explain=True)
    for report in (build_report(study, asked), build_stored_report(study, None, store, True)):
        assert report.heatmaps is not None
        assert report.heatmaps.run == report.explorer[0].name
        assert report.heatmaps.shown


def test_without_being_asked_the_page_says_how(deployed):
    run, store, _ = deployed
    report = build_run_report([run], None, store)
    assert report.heatmaps is None
    assert "make the report again with <code>--explain</code>" in render(report)


def test_no_crop_is_begun_when_time_is_up(deployed, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.0)
    report = of_bundle(deployed)
    assert report.heatmaps is not None
    assert report.heatmaps.wrong > 0
    assert report.heatmaps.shown == ()
    assert "No heatmaps: none of the crops could be read in time" in render(report)


@pytest.mark.parametrize("fault", ["gone", "damaged", "full"])
def test_crops_that_give_no_picture_are_left_out(deployed, tmp_path, monkeypatch, fault):
    run, store, bundle = deployed
    root = tmp_path / "nowhere" if fault == "gone" else None
    if fault == "damaged":

        def refuse(*_):
            raise UnreadableImageError("cut off")

        monkeypatch.setattr("drupe.deployment.runtime.Classifier.explain", refuse)
    if fault == "full":
        monkeypatch.setattr("drupe.reporting.pictures.Pictures.draw", lambda *_: None)
    found = build_run_report([run], root, store, read_manifest(bundle), bundle).heatmaps
    assert found is not None
    assert (found.wrong > 0, found.shown) == (True, ())


def test_a_run_without_its_network_is_an_error(deployed, tmp_path):
    run, store, _ = deployed
    copied = shutil.copytree(run, tmp_path / "run")
    (copied / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors"):
        build_run_report([copied], None, store, explain=copied)


@pytest.mark.thorough
@needs_browser
def test_the_heatmap_of_an_enlarged_crop_is_switched_on_and_off(
    chromium, report, heatmaps, tmp_path
):
    file = tmp_path / "report.html"
    file.write_text(render(report), encoding="utf-8")
    page = chromium.new_page(viewport={"width": 390, "height": 900})
    page.set_default_timeout(PATIENCE)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(file.as_uri())
    first = heatmaps.shown[0]
    shown = "document.getElementById('look-picture').src"
    page.locator("#errors button.look[data-heat]").first.click()
    assert page.is_checked("#look-heat")
    assert page.evaluate(shown) == first.heat
    page.uncheck("#look-heat")
    assert page.evaluate(shown) == first.picture
    page.keyboard.press("Escape")
    page.locator("#errors .pair button.look:not([data-heat])").first.click()
    assert not page.is_checked("#look-heat")
    page.check("#look-heat")
    assert page.evaluate(shown) == first.heat
    page.keyboard.press("Escape")
    page.locator(".montage button.look").first.click()  # no heatmap of that one
    assert not page.is_visible("#look-heat-choice")
    assert page.evaluate(shown).startswith("data:image/webp")
    page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert problems == []
    page.close()
