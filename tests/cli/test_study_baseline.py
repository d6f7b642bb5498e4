"""A study whose baseline was trained elsewhere, from its checkpoint to its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from drupe.models.geometry import Geometry
from drupe.models.network import build_network

pytestmark = pytest.mark.thorough

STUDY = """
study: small
question: Does a new network beat the old one?
seeds: [1]
criteria: {accuracy: 0.9, recall: 0.6}
baseline:
  name: the old one
  experiment: BASE
  checkpoint: {file: old.pt, architecture: test_resnet, input: {range: unit}, key: ema FURTHER}
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 1, batch_size: 16, precision: fp32, layout: contiguous}
experiments:
  - {id: BASE}
  - {id: EXP-001, kind: threshold, of: BASE}
  - {id: NEW, config: {training: {label_smoothing: 0.1}}}
comparisons:
  - {a: NEW, b: BASELINE}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study file beside the checkpoint, which holds two networks."""
    torch.manual_seed(3)
    built = build_network(
        "test_resnet", input_range="unit", geometry=Geometry(64), pretrained=False, frozen=False
    )
    weights = built.network.backbone.state_dict()
    torch.save({"model": weights, "ema": weights}, tmp_path / "old.pt")
    (tmp_path / "files.txt").write_text("train\n")
    return tmp_path / "small.yaml"


def test_a_checkpoint_is_the_baseline_from_its_import_to_the_report(
    drupe, quick, study, small_synthetic, tmp_path
) -> None:
    study.write_text(STUDY.replace(" FURTHER", ", trained_on: files.txt, picked_on_test: true"))
    words = ("study", "run", "small.yaml", "--data", small_synthetic)

    first = drupe(*words)

    assert first.code == 0, first.stderr
    folder = tmp_path / "drupe-store" / "runs" / "small"
    record = json.loads((folder / "BASELINE" / "seed-1" / "run.json").read_text())
    assert (record["status"], record["experiment"]) == ("done", "BASELINE")
    assert record["imported"]["key"] == "ema"
    assert record["imported"]["seen"]["picked_on_test"] is True
    config = (folder / "BASELINE" / "seed-1" / "config.yaml").read_text()
    assert "range: unit" in config  # of the checkpoint
    assert "size: 64" in config  # of the experiment that it replaces

    document = json.loads((folder / "verdict.json").read_text())
    rows = {item["id"]: item for item in document["experiments"]}
    evaluation = json.loads((folder / "BASELINE" / "seed-1" / "evaluation.json").read_text())
    counted = evaluation["test"]["distinct"]["argmax"]["accuracy"]
    assert rows["BASELINE"]["accuracy"]["mean"] == counted["successes"] / counted["trials"]
    assert rows["EXP-001"]["deployed"] == "BASE/seed-1"
    assert "whose scores are therefore in-sample" in rows["EXP-001"]["reason"]
    assert [(one["a"], one["b"]) for one in document["comparisons"]] == [("NEW", "BASELINE")]

    printed = " ".join(first.stdout.split())
    assert "Mind: BASELINE: the checkpoint was picked on the test split" in printed
    assert "Mind: BASELINE: nothing can be certified on its calibration" in printed
    assert "NEW - BASELINE" in printed

    again = quick(*words)
    assert again.code == 0
    assert "BASELINE: done: done before" in again.stderr
    assert "BASELINE done" in " ".join(quick("study", "status", "small.yaml").stdout.split())

    assert quick("study", "report", "small.yaml", "--data", small_synthetic).code == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<strong>Mind:</strong> the checkpoint was picked on the test split" in page
    assert "not judged: the baseline" in page
    assert '"name":"BASELINE"' in page.replace('": "', '":"')  # in the threshold explorer


def test_a_missing_checkpoint_is_one_message_before_anything_is_written(
    quick, study, small_synthetic, tmp_path
) -> None:
    study.write_text(STUDY.replace(" FURTHER", ""))
    (tmp_path / "old.pt").unlink()

    result = quick("study", "run", "small.yaml", "--data", small_synthetic)

    assert (result.code, result.stdout) == (2, "")
    assert "baseline.checkpoint.file: must be a file, got old.pt" in result.stderr
    assert not (tmp_path / "drupe-store").exists()
