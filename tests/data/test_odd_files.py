"""No file is passed over without a count, and training and the line agree on every odd file.

The cases are those of ``benchmarks/odd_files.py``, whose table says what became of each.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import odd_files
from odd_cases import Case, all_cases

CASES = all_cases()
QUICK = CASES[::4]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return odd_files.untrained_classifier(tmp_path_factory.mktemp("untrained"))


def ids(cases: list[Case]) -> list[str]:
    return [f"{case.group}: {case.name}" for case in cases]


@pytest.mark.parametrize("case", QUICK, ids=ids(QUICK))
def test_an_odd_file(case: Case, classifier: Any, tmp_path: Path) -> None:
    assert odd_files.examine(case, tmp_path, classifier).faults == []


@pytest.mark.slow
def test_every_odd_file(classifier: Any, tmp_path: Path) -> None:
    outcomes = [odd_files.examine(case, tmp_path, classifier) for case in CASES]
    assert {one.case.name: one.faults for one in outcomes if one.faults} == {}
    text = odd_files.page(outcomes)
    assert text.count("\n| ") == len(CASES) + 2


def test_there_are_many_and_none_twice() -> None:
    assert len(CASES) >= 80
    assert len(set(ids(CASES))) == len(CASES)


def test_a_file_that_nobody_counts_is_a_fault(
    classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = next(case for case in CASES if case.name == "hidden")
    monkeypatch.setattr("drupe.data.walk.PassedOver._add", lambda *_: None)
    faults = odd_files.examine(sound, tmp_path, classifier).faults
    assert faults == [
        f"{way} accounts for 12 of 13 files" for way in ("audit", "training", "predict")
    ]
