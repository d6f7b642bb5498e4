from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drupe.errors import InputError
from drupe.host import host_description
from drupe.runs.layout import RunFolder
from drupe.runs.record import (
    LIBRARIES,
    TRAINING_VERSION,
    DataRecord,
    ImportRecord,
    RunRecord,
    discard_checkpoint,
    is_done,
    now,
    read_record,
    require_done,
    require_same_data,
)
from drupe.runs.training_overlap import Overlap, Seen
from run_files import write_run


def test_what_was_written_is_read(tmp_path: Path) -> None:
    record = read_record(write_run(tmp_path / "run", seed=7))
    assert record is not None
    record.status = "failed"
    record.write(tmp_path / "run")
    assert read_record(tmp_path / "run") == record
    assert (record.seed, record.data.classes) == (7, ("cherry_clean", "cherry_pit"))


def test_a_folder_without_a_record_is_no_run(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    assert not is_done(tmp_path)


def test_keys_of_another_version_are_ignored(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    path = RunFolder(run).record
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": 1}))
    assert is_done(run)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"status": "done"}'])
def test_a_damaged_record_is_one_message(tmp_path: Path, text: str) -> None:
    RunFolder(tmp_path).record.write_text(text)
    with pytest.raises(InputError, match=r"run\.json"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ValueError("bad"), "failed")]
)
def test_how_a_run_ended(tmp_path: Path, error: BaseException, status: str) -> None:
    run = write_run(tmp_path / "run", status="running")
    record = read_record(run)
    assert record is not None
    record.stop(run, error)
    written = read_record(run)
    assert isinstance(written, RunRecord)
    assert (written.status, written.error) == (status, f"{type(error).__name__}: {error}")
    assert written.finished is not None


@pytest.mark.parametrize(
    ("status", "got"),
    [("running", "running, or was killed"), ("failed", "failed"), ("interrupted", "interrupted")],
)
def test_only_a_finished_run_will_do(status: str, got: str) -> None:
    require_done(Path("run"), "done")
    with pytest.raises(InputError, match=f"run: must hold a finished run, got one that is {got}"):
        require_done(Path("run"), status)


def test_other_data_than_the_runs() -> None:
    require_same_data(Path("crops"), "a" * 64, "a" * 64)
    with pytest.raises(InputError) as caught:
        require_same_data(Path("crops"), "a" * 64, "b" * 64)
    assert str(caught.value) == (
        "crops: must be the data of the run (aaaaaaaaaaaa), "
        "got other images, labels or fixes (bbbbbbbbbbbb)"
    )


def test_other_data_with_what_depends_on_it_and_the_way_out():
    with pytest.raises(InputError) as caught:
        require_same_data(
            Path("study"), "a" * 64, "b" * 64, role="that of before", why=" or so;", remedy="; go"
        )
    assert str(caught.value) == (
        "study: must be that of before (aaaaaaaaaaaa) or so; "
        "got other images, labels or fixes (bbbbbbbbbbbb); go"
    )


def begun(**changes: Any) -> RunRecord:
    data = DataRecord(
        fingerprint="f", classes=("a", "b"), fit=1, calibration=1, test=1, dropped=0, skipped=[]
    )
    given = {"identity": "i", "data": data, "crop": None, "weights": None, "device": "cpu"}
    return RunRecord.begin("A", 3, **{**given, **changes})


def test_a_run_begins_here_and_now() -> None:
    before = now()
    record = begun()
    assert (record.status, record.experiment, record.seed) == ("running", "A", 3)
    assert (record.processes, record.training_version) == (1, TRAINING_VERSION)
    assert before <= record.started <= now()
    assert record.host == host_description()
    assert {"python", *LIBRARIES} == set(record.versions)
    assert (record.finished, record.imported, record.error) == (None, None, None)


def test_a_resumed_run_keeps_its_start() -> None:
    assert begun(started="2026-01-01T00:00:00+00:00").started == "2026-01-01T00:00:00+00:00"


def imported(seen: Seen) -> ImportRecord:
    return ImportRecord(
        checkpoint="a.pt",
        sha256="c" * 64,
        key=None,
        names="timm",
        outputs=2,
        dtype="float32",
        class_order=("a", "b"),
        flushed_weights=0,
        seen=seen,
    )


@pytest.mark.parametrize(("learnt", "temperature"), [(None, 1.0), (1, 1.0), (0, None)])
def test_an_imported_network_is_calibrated_on_what_it_has_not_learnt(learnt, temperature) -> None:
    overlap = None
    if learnt is not None:
        overlap = Overlap(named=9, sha256="d" * 64, fit=9, calibration=learnt, test=0)
    seen = Seen(trained_on=overlap, picked_on_test=False)
    assert imported(seen).temperature == temperature


def test_the_checkpoint_goes_with_its_folder(tmp_path: Path) -> None:
    checkpoint = RunFolder(tmp_path).checkpoint
    checkpoint.parent.mkdir()
    checkpoint.touch()
    discard_checkpoint(tmp_path)
    discard_checkpoint(tmp_path)
    assert list(tmp_path.iterdir()) == []
