from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from drupe.reporting.heatmaps import Heatmaps
from run_files import predictions
from study_folder import renamed, write_study_run, write_verdict

STUDY = """
study: small
seeds: [1]
defaults: {model: {architecture: test_resnet, pretrained: false}}
experiments: [{id: A}]
"""

STORED = "drupe-store/runs/small"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder of a study with one finished run."""
    (tmp_path / "small.yaml").write_text(STUDY)
    folder = tmp_path / "drupe-store/runs/small"
    write_study_run(folder, "A", 1)
    write_verdict(folder, {"A": [1]})
    return folder


def test_a_report_lies_beside_the_runs_or_where_it_is_wanted(quick, study, tmp_path):
    first = quick("study", "report", "small.yaml")
    assert first.code == 0
    assert re.fullmatch(r"Report: drupe-store/runs/small/report\.html \(5\.\d MB\)\n", first.stdout)

    second = quick("study", "report", "small.yaml", "--out", "out/page.html", "--json")

    document = json.loads(second.stdout)
    assert document["report"] == "out/page.html"
    assert document["bytes"] == (tmp_path / "out/page.html").stat().st_size
    assert (document["runs"], document["test"]["images"]) == (1, 800)


def test_overrides_choose_the_study_as_they_did_for_the_run(quick, study, tmp_path):
    study.rename(study.parent / "other")
    result = quick("study", "report", "small.yaml")
    assert result.code == 2
    assert "must hold a finished run of the study" in result.stderr
    assert quick("study", "report", "small.yaml", "study=other").code == 0
    page = (tmp_path / "drupe-store/runs/other/report.html").read_text(encoding="utf-8")
    assert "drupe study run small.yaml study=other --data" in page


def test_without_a_browser_the_page_is_written_and_named(quick, study, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("drupe.reporting.pdf.APPLICATIONS", ())
    result = quick("study", "report", "small.yaml", "--pdf")
    assert result.code == 2
    assert "--pdf: needs Chromium, Chrome or Edge on this machine, found none" in result.stderr
    assert (study / "report.html").exists()


def test_the_report_shows_the_last_audit_of_the_same_folder(quick, study, small_synthetic):
    crops = sorted((small_synthetic / "val").rglob("*.png"))
    paths = [path.relative_to(small_synthetic).as_posix() for path in crops]
    table = predictions(len(paths), 3)
    write_study_run(study, "A", 1, test=renamed(table, paths, table.classes))
    write_verdict(study, {"A": [1]})
    command = ("study", "report", "small.yaml", "--data", small_synthetic)
    assert quick(*command).code == 0
    page = study / "report.html"
    assert "No audit of this folder is in the store" in page.read_text(encoding="utf-8")

    quick("data", "audit", small_synthetic)
    assert quick(*command).code == 0

    assert "pairs of identical files in all" in page.read_text(encoding="utf-8")


def test_a_missing_extra_is_named(drupe, study):
    result = drupe("study", "report", "small.yaml", blocked=("plotly",))
    assert result.code == 2
    assert "pip install 'drupe[train]'" in result.stderr


def test_runs_and_the_folder_of_a_study_have_reports_too(quick, study, tmp_path):
    second = write_study_run(study, "A", 2)
    folder = "drupe-store/runs/small"
    one = quick("report", f"{folder}/A/seed-1", "--json")
    assert one.code == 0
    assert json.loads(one.stdout)["report"].endswith(f"{folder}/A/seed-1-report.html")
    assert json.loads(one.stdout)["runs"] == 1
    two = quick("report", f"{folder}/A/seed-1", second, "--out", "change.html", columns=60)
    assert re.fullmatch(r"Report: change\.html \(5\.\d MB\)\n", two.stdout)
    page = (tmp_path / "change.html").read_text(encoding="utf-8")
    assert f"drupe report {folder}/A/seed-1 {second}" in page
    whole = quick("report", folder, "--json")
    assert json.loads(whole.stdout)["runs"] == 1  # the verdict is about seed 1
    assert (study / "report.html").exists()
    assert quick("report", "small.yaml", "--json").code == 0
    nothing = quick("report", "nowhere")
    assert (nothing.code, nothing.stdout) == (2, "")
    assert "nowhere: must be a run directory, a bundle, a study's file" in nothing.stderr


@pytest.mark.parametrize(
    ("words", "explained"),
    [
        (("report", f"{STORED}/A/seed-1"), f"{STORED}/A/seed-1"),
        (("report", f"{STORED}/A/seed-1", f"{STORED}/A/seed-2"), f"{STORED}/A/seed-2"),
        (("report", STORED), f"{STORED}/A/seed-1"),
        (("report", "small.yaml"), f"{STORED}/A/seed-1"),
        (("study", "report", "small.yaml"), f"{STORED}/A/seed-1"),
    ],
)
def test_heatmaps_are_those_of_the_run_that_is_asked_about(
    quick, study, monkeypatch, words, explained
):
    write_study_run(study, "A", 2)
    asked = []

    def find(run, place, source, *_):
        asked.append((run.name, place, source))
        return Heatmaps(run.name, "its network", 0.5, False, 0, ())

    # What explains is left to be its source: there is no network in these runs.
    monkeypatch.setattr("drupe.reporting.report.Explainer.of", lambda source: source)
    monkeypatch.setattr("drupe.reporting.report.find_heatmaps", find)
    assert json.loads(quick(*words, "--json").stdout)["heatmaps"] == 0
    assert asked == []
    assert quick(*words, "--explain").code == 0
    ((name, place, source),) = asked
    assert source == Path(explained)
    assert (name, place) == (
        f"A seed {explained[-1]}",
        len(words) - 2 if words[0] == "report" else 0,
    )


def test_a_run_whose_network_is_damaged_has_no_heatmaps(quick, study):
    said = quick("report", f"{STORED}/A/seed-1", "--explain")
    assert (said.code, "model.safetensors" in said.stderr) == (2, True)
