"""An evaluation as ``train`` and ``evaluate`` print it."""

from __future__ import annotations

import pytest

from drupe.cli.evaluation import print_evaluation, print_skipped
from drupe.evaluation.intervals import Proportion


def test_bounds_are_rounded_outward(capsys: pytest.CaptureFixture[str]) -> None:
    rate = Proportion(809, 871)
    assert 0.91 > rate.low > 0.9095, "to the nearest it would be 91.0 %"
    figures = dict.fromkeys(("accuracy", "recall", "clean_yield", "precision"), rate.to_json())
    argmax = {**figures, "confusion": {"fn": 1, "fp": 2}}
    test = {"images": 871, "defects": 400, "argmax": argmax}
    print_evaluation({"test": test, "auroc": 0.99, "ece": 0.01, "temperature": 1.5})
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "accuracy 92.9 % 90.9-94.5 809 of 871 decided as labelled" in lines


def test_files_left_out_are_named_up_to_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    print_skipped([(f"{number}.png", "truncated") for number in range(23)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "23 unreadable files were left out:"
    assert lines[-2:] == ["  19.png: truncated", "  … and 3 more, in the run's run.json"]
