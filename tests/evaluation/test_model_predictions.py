from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_csv, read_run_predictions, table_hash
from drupe.evaluation.predictions_csv import write_predictions
from run_files import write_run


def test_a_run_says_what_it_was_measured_on(tmp_path) -> None:
    model = read_run_predictions(write_run(tmp_path / "run", copies=3))
    assert (model.name, model.experiment, model.seed) == ("lite0 seed 42", "lite0", 42)
    assert model.measured_on.graph == hashlib.sha256(b"weights").hexdigest()
    assert (model.measured_on.backend, model.measured_on.precision) == ("pytorch", "fp32")
    assert model.data_fingerprint == "f" * 64
    assert len(model.calibration.table) == 1000
    assert len(model.calibration.distinct) == 997  # items 0 to 3 are copies of one
    assert model.calibration.distinct.paths[:2] == ("train/00000.png", "train/00004.png")
    assert len(model.test.table) == 800


def test_labels_that_a_model_had_picked_are_said(tmp_path) -> None:
    run = write_run(tmp_path / "run", suspects={"calibration": 3, "test": 1, "fit": 9})
    model = read_run_predictions(run)
    assert model.approximate is None
    assert model.inexact == model.doubt
    assert "3 calibration labels were changed because a model disagreed" in str(model.doubt)
    assert model.caveats == (model.test_doubt,)
    fresh = model.with_calibration(model.calibration, "e" * 64, is_new=True)
    assert fresh.inexact is None
    clean = read_run_predictions(write_run(tmp_path / "clean", suspects={"fit": 9}))
    assert (clean.inexact, clean.caveats) == (None, ())


def test_a_csv_is_one_split(tmp_path) -> None:
    table = read_run_predictions(write_run(tmp_path / "run")).test.table
    write_predictions(tmp_path / "theirs.csv", table)
    model = read_csv(tmp_path / "theirs.csv")
    assert model.name == "theirs"
    assert model.seed is None
    assert model.test is model.calibration
    np.testing.assert_array_equal(model.calibration.distinct.scores, table.scores)
    assert model.data_fingerprint == table_hash(table)
    changed = replace(table, scores=np.append(table.scores[:-1], np.float32(0.123)))
    assert table_hash(changed) != table_hash(table)


def test_what_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"but has no run\.json"):
        read_run_predictions(tmp_path)
    with pytest.raises(InputError, match="got one that is interrupted"):
        read_run_predictions(write_run(tmp_path / "half", status="interrupted"))
    with pytest.raises(InputError, match="got one that is running, or was killed"):
        read_run_predictions(write_run(tmp_path / "killed", status="running"))
    with pytest.raises(InputError, match=r"defect class cherry_pit .* got --defect cherry_clean"):
        read_run_predictions(write_run(tmp_path / "whole"), "cherry_clean")
    damaged = write_run(tmp_path / "damaged")
    (damaged / "run.json").write_text(json.dumps({"status": "done"}))
    with pytest.raises(InputError, match="data: required, but missing"):
        read_run_predictions(damaged)
    short = write_run(tmp_path / "short")
    lines = (short / "predictions" / "calibration.csv").read_text().splitlines()
    (short / "predictions" / "calibration.csv").write_text("\n".join(lines[:-20]))
    with pytest.raises(InputError, match="must hold the 1,000 items of the run, got 980"):
        read_run_predictions(short)
    bare = write_run(tmp_path / "bare")
    (bare / "predictions" / "duplicates.json").write_text("{}")
    with pytest.raises(InputError, match="must list the groups of 'calibration'"):
        read_run_predictions(bare)
    (write_run(tmp_path / "light") / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such file"):
        read_run_predictions(tmp_path / "light")
