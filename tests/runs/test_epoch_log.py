from __future__ import annotations

import pytest

from drupe.errors import InputError
from drupe.runs.epoch_log import METRICS_FILE, append_epoch, keep_epochs, train_seconds
from drupe.training.engine import EpochResult


def result(epoch: int) -> EpochResult:
    return EpochResult(epoch, loss=0.5, accuracy=0.5, learning_rate=0.1, images=8, seconds=2.0)


def test_later_epochs_and_a_torn_line_are_dropped(tmp_path):
    for epoch in range(3):
        append_epoch(tmp_path, result(epoch))
    with (tmp_path / METRICS_FILE).open("a") as metrics:
        metrics.write('{"epoch": 3, "los')

    keep_epochs(tmp_path, 2)

    assert len((tmp_path / METRICS_FILE).read_text().splitlines()) == 2
    assert train_seconds(tmp_path) == 4.0


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\n", b"{}\n", b"[]\n", b"5\n", b"null\n", b'{"seconds": NaN}\n', b"{\n"]
)
def test_damaged_lines_are_refused_with_the_remedy(tmp_path, line):
    append_epoch(tmp_path, result(0))
    with (tmp_path / METRICS_FILE).open("ab") as metrics:
        metrics.write(line)

    with pytest.raises(InputError, match=r"metrics\.jsonl: line 2: must be .*delete .*checkpoint"):
        keep_epochs(tmp_path, 2)
    with pytest.raises(InputError, match="line 2"):
        train_seconds(tmp_path)
    keep_epochs(tmp_path, 1)
