"""A study with an ensemble, from its file to the verdict, the report and the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from drupe.evaluation.predictions_csv import read_predictions
from drupe.reporting.study_files import read_study_files

pytestmark = pytest.mark.thorough

STUDY = """
study: small
seeds: [1, 2]
criteria: {recall: 0.8, size_mb: 50, latency_ms: 1000}
confidence: 0.8
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 1, batch_size: 16, precision: fp32, layout: contiguous}
experiments:
  - {id: A}
  - {id: B, config: {model: {architecture: test_efficientnet}, input: {crop: 48}}}
  - {id: AB, kind: ensemble, of: [A, B]}
comparisons:
  - {a: AB, b: A}
"""
MEMBERS = [f"{name}/seed-1" for name in "AB"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(STUDY)
    return tmp_path / "small.yaml"


def test_an_ensemble_is_made_exported_timed_and_judged(
    drupe, quick, study, small_synthetic, tmp_path
) -> None:
    words = ("study", "run", "small.yaml", "--data", small_synthetic, "--only", "AB", "--json")
    ran = drupe(*words)
    assert ran.code == 0, ran.stderr
    assert "AB ensemble: done" in ran.stderr
    document = json.loads(ran.stdout)
    row = {item["id"]: item for item in document["experiments"]}["AB"]
    assert (row["state"], row["members"], row["runs"]) == ("done", MEMBERS, ["AB/seed-1"])
    assert {one["criterion"] for one in row["criteria"]} == {"recall", "latency", "size"}
    assert {(one["precision"], one["flips"]) for one in row["export"]["functions"]} == {("fp32", 0)}
    assert row["bench"]["results"][0]["samples"] > 0
    assert row["certificate"]["candidates"] == 1
    assert document["candidates"] == 3

    folder = tmp_path / "drupe-store" / "runs" / "small"
    tables = [read_predictions(folder / run / "predictions/test.csv") for run in (*MEMBERS,)]
    temperatures = [
        json.loads((folder / run / "evaluation.json").read_text())["temperature"] for run in MEMBERS
    ]
    expected = np.mean(
        [one.logits / t for one, t in zip(tables, temperatures, strict=True)], axis=0
    )
    found = read_predictions(folder / "AB/seed-1/predictions/test.csv")
    assert np.allclose(found.logits, expected, atol=1e-4)
    assert row["accuracy"]["mean"] == pytest.approx(
        np.mean((found.scores >= 0.5) == found.is_defect), abs=0.05
    )
    bundle = json.loads((folder / "AB/bundle/bundle.json").read_text())
    assert [one["run"] for one in bundle["provenance"]["members"]] == ["A seed 1", "B seed 1"]

    before = (folder / "AB/seed-1/run.json").read_bytes()
    again = quick(*words)
    assert again.code == 0, again.stderr
    assert "AB ensemble: done: done before" in again.stderr
    assert (folder / "AB/seed-1/run.json").read_bytes() == before

    status = quick("study", "status", "small.yaml", "--json")
    rows = {one["task"]: one for one in json.loads(status.stdout)["tasks"]}
    assert rows["AB ensemble"]["state"] == "done"
    page = quick("study", "report", "small.yaml", "--data", small_synthetic, "--json")
    assert page.code == 0, page.stderr
    names = [model.name for model in read_study_files(folder).models]
    assert names == ["A", "B", "AB"]


def test_an_ensemble_over_different_data_is_one_message_and_nothing_is_lost(
    quick, study, small_synthetic, tmp_path
) -> None:
    study.write_text(STUDY.replace("input: {crop: 48}", "data: {split_seed: 4}"))

    result = quick("study", "run", "small.yaml", "--data", small_synthetic)

    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.count("error: ") == 1
    said = " ".join(result.stderr.split())
    assert "AB.of: its members must share data, split and input.size, but B differs from A" in said
    assert "data.split_seed (4, 0)" in said
    assert not (tmp_path / "drupe-store").exists()
