from __future__ import annotations

import json
import logging
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.evaluation.candidates import read_lineup
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point, read_recorded
from drupe.runs.evaluation_file import record_certificate
from drupe.runs.record import read_record
from drupe.runs.results import digest_results, own_certificate
from run_files import adopt_results, predictions, write_run

RESULTS = (
    "model.safetensors",
    "predictions/calibration.csv",
    "predictions/test.csv",
    "predictions/duplicates.json",
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A run on the same items, with other weights and other scores."""
    calibration = predictions(1000, 9, prefix="train")
    folder = write_run(
        tmp_path / "other", calibration=calibration, test=predictions(800, 8), seed=7, copies=3
    )
    (folder / "model.safetensors").write_bytes(b"other weights")
    adopt_results(folder)
    return folder


def forget_digests(folder: Path) -> None:
    document = json.loads((folder / "run.json").read_text())
    del document["results"]
    (folder / "run.json").write_text(json.dumps(document))


def test_the_digests_are_those_of_the_bytes(run: Path) -> None:
    expected = {name: sha256((run / name).read_bytes()).hexdigest() for name in RESULTS}

    assert digest_results(run) == expected
    record = read_record(run)
    assert record is not None
    assert record.results == expected


@pytest.mark.parametrize("name", RESULTS)
def test_a_file_of_another_run_is_named(run: Path, other: Path, name: str) -> None:
    shutil.copy(other / name, run / name)

    with pytest.raises(InputError) as refused:
        read_run_predictions(run)

    (problem,) = refused.value.problems
    assert problem.startswith(f"{run / name}: must be the file that belongs to this run's")
    with pytest.raises(InputError, match=name):
        read_lineup([run, other])


def test_all_such_files_are_named_at_once(run: Path, other: Path) -> None:
    for name in RESULTS:
        shutil.copy(other / name, run / name)

    with pytest.raises(InputError) as refused:
        read_run_predictions(run)

    assert len(refused.value.problems) == len(RESULTS)


def test_a_run_of_an_earlier_version_is_read_and_that_said_once(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forget_digests(run)

    with caplog.at_level(logging.WARNING, "drupe"):
        read_run_predictions(run)

    assert [str(run) in line for line in caplog.messages] == [True]


def test_a_certificate_of_other_weights_is_refused(run: Path, other: Path) -> None:
    """What export and report would take for this run's."""
    for folder in (run, other):
        point = operating_point(read_run_predictions(folder), Request())
        record_certificate(folder, point.certified_figures())
        found = own_certificate(folder)
        assert found is not None
        assert found.threshold == point.certificate.threshold
    shutil.copy(other / "evaluation.json", run / "evaluation.json")

    for read in (own_certificate, read_recorded):
        with pytest.raises(InputError, match=r"must be of this run's weights .*drupe threshold"):
            read(run)
    record_certificate(run, point.certified_figures())  # whatever is certified anew takes its place


def test_no_certificate_is_nobody_s(run: Path) -> None:
    assert own_certificate(run) is None
