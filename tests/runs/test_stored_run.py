"""A run directory as it was written before its files had models: it stays readable for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from drupe.configuration import merge, read_yaml
from drupe.errors import InputError
from drupe.runs.epoch_log import finished_epochs, read_epochs, train_seconds
from drupe.runs.evaluation_file import CertifiedFigures, read_evaluation, record_certificate
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record, require_same_splits
from drupe.training.config import read_config, write_config

STORED = Path(__file__).parent / "stored"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(STORED, tmp_path / "run")))


def test_it_is_read_but_its_splits_are_not_drawn_again(run: RunFolder) -> None:
    record, config = read_record(run.path), read_config(run.path)
    assert record is not None
    assert (record.training_version, record.experiment) == (1, config.name)
    with pytest.raises(InputError, match="got one of version 1, whose fit, calibration and test"):
        require_same_splits(run.path, record)


def test_what_is_written_again_is_the_same_but_for_keys_that_came_later(run: RunFolder) -> None:
    record_before, config_before = json.loads(run.record.read_text()), read_yaml(run.config)
    evaluation_before = run.evaluation.read_bytes()
    record = read_record(run.path)
    assert record is not None

    record.write(run.path)
    write_config(run.path, read_config(run.path))
    read_evaluation(run.path).write(run.path)

    came_later = {"resolution": None, "teacher": None, "ancestor": None, "members": []}
    came_later |= {"augment": None, "changes": None, "results": None}
    record_before["data"] |= {"passed_over": [], "fixes": None, "notes": []}
    assert json.loads(run.record.read_text()) == record_before | came_later
    came_later = {
        "input": {"resolution": None, "views": 1},
        "data": {"inner": []},
        "training": {"teacher": None, "init": None},
    }
    assert read_yaml(run.config) == merge(config_before, came_later)
    assert run.evaluation.read_bytes() == evaluation_before


def test_its_epochs(run: RunFolder) -> None:
    lines = [json.loads(line) for line in run.epochs.read_text().splitlines()]
    assert [result.to_json() for result in read_epochs(run.path)] == lines
    assert tuple(finished_epochs(run.path)) == read_epochs(run.path)
    record = read_record(run.path)
    assert record is not None
    assert train_seconds(run.path) == record.train_seconds


def test_its_certificate_is_replaced_to_the_byte(run: RunFolder) -> None:
    before = run.evaluation.read_bytes()
    document = json.loads(before)
    test = document["test"]

    record_certificate(run.path, CertifiedFigures(None, None, None))
    withdrawn = json.loads(run.evaluation.read_text())
    assert withdrawn["certificate"] is None
    assert withdrawn["test"]["certified"] is None
    assert withdrawn["test"]["distinct"]["certified"] is None
    record_certificate(
        run.path,
        CertifiedFigures(document["certificate"], test["certified"], test["distinct"]["certified"]),
    )

    assert run.evaluation.read_bytes() == before
