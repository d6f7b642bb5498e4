from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from drupe.reporting.specification import describe, specification
from drupe.study.definition.loading import load_study

PHASE2 = Path(__file__).parents[2] / "studies" / "phase2"


@pytest.fixture(scope="module")
def phase2() -> str:
    return describe(load_study(PHASE2))


def test_phase2_says_everything_that_is_decided_in_advance(phase2) -> None:
    for words in (
        "Seeds: 42, 123, 456",
        "a family of\n  7, made or not",
        "historic accuracy 94.05 %",
        "| latency | p95 < 30.0 ms |",
        "| size | < 150.0 MB |",
        "only if none of EXP-002A, EXP-002B, EXP-003A, EXP-003B reaches accuracy 94.05 %",
        "Compares EXP-002B with EXP-002A, EXP-003B with EXP-003A",
        "| `training.label_smoothing` | 0.1 |",
        "| `calibration.crossfit` | 5 |",
    ):
        assert words in phase2


def test_settings_stand_once_shared_or_with_their_experiment() -> None:
    page = specification(load_study(PHASE2))
    common = dict(page.common)
    assert common["input.size"] == "128"
    for sheet in page.sheets:
        assert not common.keys() & dict(sheet.settings).keys()
    (base,) = (one for one in page.sheets if one.experiment.id == "BASE")
    assert dict(base.settings)["training.optimiser"] == "adam"


def test_defects_are_those_of_the_joint_confidence() -> None:
    # 1 - 0.05 / 6; smallest n with 0.99^n <= 0.05 / 6: ln(0.05 / 6) / ln(0.99) = 476.4
    page = specification(load_study(PHASE2))
    assert page.candidates == 6
    assert page.defects[0] == (0, 477)


def test_what_a_file_says_is_shown_and_not_interpreted(tmp_path) -> None:
    document = {
        "study": "odd",
        "question": "<script>alert(1)</script> | # [a](b)\nsecond line",
        "defaults": {"model": {"architecture": "test_resnet"}},
        "experiments": [{"id": "A", "hypothesis": "a | b"}],
    }
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(document))
    text = describe(load_study(tmp_path / "odd.yaml"))
    assert r"\<script\>alert(1)\</script\> \| \# \[a\](b) second line" in text
    assert r"| A |  | training | gpu | always | a \| b |" in text
