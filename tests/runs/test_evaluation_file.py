from __future__ import annotations

import json
from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.runs.evaluation_file import (
    CertifiedFigures,
    Evaluation,
    read_evaluation,
    record_certificate,
)
from drupe.runs.layout import RunFolder
from run_files import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = write_run(tmp_path / "run")
    read_evaluation(run).write(run)  # indented, as a run writes it
    return run


def certify(run: Path) -> None:
    point = operating_point(read_run_predictions(run), Request(min_recall=0.9))
    record_certificate(run, point.certified_figures())


@pytest.mark.parametrize("is_certified", [False, True])
def test_what_is_read_is_written_back_to_the_byte(run: Path, is_certified: bool) -> None:
    if is_certified:
        certify(run)
    before = RunFolder(run).evaluation.read_bytes()
    read_evaluation(run).write(run)
    assert RunFolder(run).evaluation.read_bytes() == before


def test_a_certificate_changes_its_places_and_nothing_else(run: Path) -> None:
    before = json.loads(RunFolder(run).evaluation.read_text())
    certify(run)
    after = json.loads(RunFolder(run).evaluation.read_text())
    assert list(after) == list(before)
    assert after["certificate"]["min_recall"] == 0.9
    assert after["test"]["certified"]["misses"] == after["test"]["distinct"]["certified"]["misses"]
    record_certificate(run, CertifiedFigures(None, None, None))
    withdrawn = json.loads(RunFolder(run).evaluation.read_text())
    assert withdrawn["test"]["distinct"].pop("certified") is None
    assert withdrawn == before


def test_keys_of_another_version_are_kept(run: Path) -> None:
    path = RunFolder(run).evaluation
    document = json.loads(path.read_text())
    document["later"] = {"a": [1, None]}
    Evaluation.model_validate(document).write(run)
    assert json.loads(path.read_text()) == document


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"temperature": 1.0, "test": {}}'])
def test_damage_names_the_file_and_the_way_out(run: Path, text: str) -> None:
    RunFolder(run).evaluation.write_text(text)
    with pytest.raises(InputError) as caught:
        read_evaluation(run)
    assert str(RunFolder(run).evaluation) in str(caught.value)
    assert caught.value.problems[-1] == f"drupe evaluate {run} writes it anew"


def test_a_missing_file_names_the_way_out_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="writes it anew"):
        read_evaluation(tmp_path)
