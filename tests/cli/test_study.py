from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

STUDY = """
study: small
question: Does smoothing help?
seeds: [1]
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 1, batch_size: 16, threads: 1, precision: fp32, layout: contiguous}
experiments:
  - id: PLAIN
  - {id: SMOOTH, config: {training: {label_smoothing: 0.1}}}
comparisons:
  - {a: SMOOTH, b: PLAIN}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(STUDY)
    return tmp_path / "small.yaml"


def test_a_study_runs_compares_and_is_not_run_twice(
    drupe, study, small_synthetic, tmp_path
) -> None:
    first = drupe("study", "run", "small.yaml", "--data", small_synthetic, columns=40)
    assert first.code == 0, first.stderr
    assert "run 2 of 2: SMOOTH seed 1" in first.stderr
    assert "No difference is shown between SMOOTH and PLAIN" in " ".join(first.stdout.split())
    assert re.search(r"^PLAIN\n  seeds +1\n  accuracy +\d+\.\d %?$", first.stdout, re.MULTILINE)
    started = (tmp_path / "drupe-store/runs/small/PLAIN/seed-1/run.json").read_text()

    second = drupe("study", "run", "small.yaml", "--data", small_synthetic, "--json")

    document = json.loads(second.stdout)
    assert [item["id"] for item in document["experiments"]] == ["PLAIN", "SMOOTH"]
    assert document["comparisons"][0]["a"] == "SMOOTH"
    assert document == json.loads((tmp_path / "drupe-store/runs/small/summary.json").read_text())
    assert (tmp_path / "drupe-store/runs/small/PLAIN/seed-1/run.json").read_text() == started


def test_a_failed_run_is_named_and_the_others_count(drupe, study, small_synthetic) -> None:
    study.write_text(STUDY.replace("{label_smoothing: 0.1}}", "{weight_decay: 1.0e+30}}"))

    result = drupe("study", "run", "small.yaml", "--data", small_synthetic)

    assert result.code == 1
    assert "became" in result.stderr
    assert "failed: SMOOTH seed 1: exit code 2" in result.stdout
    assert re.search(r"^ +seeds +accuracy +95 % ", result.stdout, re.MULTILINE)
    assert "PLAIN has the highest mean accuracy" in " ".join(result.stdout.split())


def test_wrong_data_is_one_message_before_any_run(drupe, study) -> None:
    result = drupe("study", "run", "small.yaml", "--data", "nowhere")

    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.count("nowhere: must be a dataset folder") == 1
    assert "run 1 of 2" not in result.stderr
