"""``drupe study deliver``: the recommended model as a bundle, and what it says of test crops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough

STUDY = """
study: small
seeds: [1]
criteria: {{recall: {recall}}}
defaults:
  model: {{architecture: test_resnet, pretrained: false}}
  input: {{size: 64}}
  training: {{epochs: 12, batch_size: 16, precision: fp32, layout: contiguous}}
experiments:
  - {{id: PLAIN}}
  - {{id: SMOOTH, config: {{training: {{label_smoothing: 0.1}}}}}}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(STUDY.format(recall=0.6))
    return tmp_path / "small.yaml"


def test_the_recommended_model_is_exported_and_shown(
    drupe, quick, study, small_synthetic, tmp_path
) -> None:
    ran = drupe("study", "run", "small.yaml", "--data", small_synthetic, "--json")
    assert ran.code == 0, ran.stderr
    advice = json.loads(ran.stdout)["recommendation"]

    told = quick("study", "deliver", "small.yaml", "--json")

    assert told.code == 0, told.stderr
    document = json.loads(told.stdout)
    assert document["recommendation"] == advice
    assert (document["experiment"], document["is_new"]) == (advice["experiment"], True)
    point = document["operating_point"]
    assert (point["min_recall"], point["confidence"]) == (0.6, 0.95)
    folder = tmp_path / "drupe-store" / "runs" / "small"
    manifest = json.loads((folder / "small.bundle" / "bundle.json").read_text())
    certificate = manifest["functions"][0]["certificate"]
    assert certificate["candidates"] == 2
    assert certificate["confidence"] == pytest.approx(0.975)
    assert (folder / "report.html").exists()

    # Each shown crop is decided as `drupe predict` does, and there are ten of each class.
    shown = document["shown"]
    assert len(shown) == 20
    assert [one["is_defect"] for one in shown] == [False] * 10 + [True] * 10
    bundle = "drupe-store/runs/small/small.bundle"
    predicted = quick("predict", bundle, *(one["path"] for one in shown), "--jsonl", "out.jsonl")
    assert predicted.code == 0, predicted.stderr
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["decision"] for line in lines] == [one["decision"] for one in shown]
    for one in shown:
        assert one["is_right"] == ((one["decision"] == "accept") != one["is_defect"])

    again = quick("study", "deliver", "small.yaml", columns=60)
    assert again.code == 0, again.stderr
    assert "chosen among 2, catches at least 60 %" in " ".join(again.stdout.split())
    assert f"drupe predict {bundle} FOLDER" in again.stdout
    assert json.loads(quick("study", "deliver", "small.yaml", "--json").stdout)["is_new"] is False

    # The study's own bundle follows what is asked; any other is never taken or written over.
    study.write_text(STUDY.format(recall=0.5))
    assert json.loads(quick("study", "deliver", "small.yaml", "--json").stdout)["is_new"] is True
    assert json.loads((folder / "small.bundle" / "bundle.json").read_text()) != manifest
    shutil.copytree(folder / "small.bundle", tmp_path / "line.bundle")
    taken = quick("study", "deliver", "small.yaml", "--out", "line.bundle", "--json")
    assert json.loads(taken.stdout)["is_new"] is False
    study.write_text(STUDY.format(recall=0.6))
    other = quick("study", "deliver", "small.yaml", "--out", "line.bundle")
    assert (other.code, other.stdout) == (2, "")
    assert "line.bundle: must be a new folder, or the bundle of this model" in other.stderr

    study.write_text(STUDY.format(recall=0.99))
    nothing = quick("study", "deliver", "small.yaml")
    assert nothing.code == 1
    assert "No model can be recommended." in nothing.stdout
    assert "further calibration defects" in nothing.stdout


def test_a_study_that_never_ran_is_named(quick, study) -> None:
    told = quick("study", "deliver", "small.yaml")
    assert told.code == 2
    assert "holds no study that was run; drupe study run small.yaml" in told.stderr
