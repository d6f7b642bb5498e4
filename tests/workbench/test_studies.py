"""A study from Python: trained, certified and exported in a few lines."""

from __future__ import annotations

import pytest

import drupe

pytestmark = pytest.mark.thorough

STUDY = """
study: small
question: Does smoothing help?
seeds: [1]
criteria: {recall: RECALL}
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 12, batch_size: 16, precision: fp32, layout: contiguous}
experiments:
  - {id: PLAIN}
"""


def test_a_study_is_run_judged_reported_and_delivered(small_synthetic, tmp_path) -> None:
    (tmp_path / "small.yaml").write_text(STUDY.replace("RECALL", "0.6"))
    study = drupe.Study(tmp_path / "small.yaml", small_synthetic, store=tmp_path / "store")
    assert "not run yet" in study._repr_html_()

    verdict = study.run(progress=False)

    assert verdict.recommendation.experiment == "PLAIN"
    assert study.verdict == verdict
    (run,) = study.runs()
    assert run.record.experiment == "PLAIN"
    assert "Take PLAIN further" in study._repr_html_()
    assert study.report().read_text(encoding="utf-8").startswith("<!doctype html>")
    delivered = study.deliver(progress=False)
    assert delivered.experiment == "PLAIN"
    assert drupe.load(delivered.bundle, order="rgb").function.is_certified

    (tmp_path / "small.yaml").write_text(STUDY.replace("RECALL", "0.99"))
    strict = drupe.Study(tmp_path / "small.yaml", small_synthetic, store=tmp_path / "store")
    with pytest.raises(LookupError, match="further calibration defects"):
        strict.deliver(progress=False)
