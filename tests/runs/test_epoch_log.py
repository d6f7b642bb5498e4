from __future__ import annotations

import pytest

from drupe.errors import InputError
from drupe.runs.epoch_log import (
    EpochResult,
    append_epoch,
    finished_epochs,
    keep_epochs,
    read_epochs,
    train_seconds,
)
from drupe.runs.layout import EPOCHS_FILE


def result(epoch: int) -> EpochResult:
    return EpochResult(epoch, loss=0.5, accuracy=0.5, learning_rate=0.1, images=8, seconds=2.0)


def test_later_epochs_and_a_torn_line_are_dropped(tmp_path):
    for epoch in range(3):
        append_epoch(tmp_path, result(epoch))
    with (tmp_path / EPOCHS_FILE).open("a") as metrics:
        metrics.write('{"epoch": 3, "los')

    keep_epochs(tmp_path, 2)

    assert len((tmp_path / EPOCHS_FILE).read_text().splitlines()) == 2
    assert train_seconds(tmp_path) == 4.0


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\n", b"{}\n", b"[]\n", b"5\n", b"null\n", b'{"seconds": NaN}\n', b"{\n"]
)
def test_damaged_lines_are_refused_with_the_remedy(tmp_path, line):
    append_epoch(tmp_path, result(0))
    with (tmp_path / EPOCHS_FILE).open("ab") as metrics:
        metrics.write(line)

    with pytest.raises(InputError, match=r"metrics\.jsonl: line 2: must be .*delete .*checkpoint"):
        keep_epochs(tmp_path, 2)
    with pytest.raises(InputError, match="line 2"):
        train_seconds(tmp_path)
    keep_epochs(tmp_path, 1)


def test_epochs_are_read_as_they_were_written(tmp_path):
    for epoch in range(3):
        append_epoch(tmp_path, result(epoch))
    assert read_epochs(tmp_path) == tuple(result(epoch) for epoch in range(3))
    assert tuple(finished_epochs(tmp_path)) == read_epochs(tmp_path)
    assert result(0).images_per_second == 4.0


def test_a_line_that_is_still_being_written_is_not_finished(tmp_path):
    append_epoch(tmp_path, result(0))
    with (tmp_path / EPOCHS_FILE).open("a") as metrics:
        metrics.write('{"epoch": 1, "loss": 0.5')
    assert tuple(finished_epochs(tmp_path)) == (result(0),)
    with pytest.raises(InputError, match=r"metrics\.jsonl: line 2: not a valid epoch"):
        read_epochs(tmp_path)


def test_a_run_without_epochs(tmp_path):
    assert read_epochs(tmp_path) == ()
    assert tuple(finished_epochs(tmp_path)) == ()


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        pytest.param("[" * 100_000, id="nested too deeply"),
        '{"epoch": 0}',
        '{"epoch": true, "loss": "a"}',
    ],
)
def test_an_incomplete_epoch_is_refused(tmp_path, line):
    (tmp_path / EPOCHS_FILE).write_text(f"{line}\n")
    with pytest.raises(InputError, match="line 1: not a valid epoch"):
        read_epochs(tmp_path)
