from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drupe.cli.evaluation import (
    SKIPPED_SHOWN,
    print_evaluation,
    print_fixes,
    print_run_json,
    print_skipped,
)
from drupe.evaluation.document import evaluation_document
from drupe.runs.evaluation_file import Evaluation
from drupe.runs.record import FixesRecord, ImportRecord
from drupe.runs.training_overlap import Overlap, Seen
from run_files import decided

UNKNOWN = Seen(trained_on=None, picked_on_test=True)
KNOWN = Seen(
    trained_on=Overlap(named=3, sha256="f" * 64, fit=3, calibration=0, test=0),
    picked_on_test=False,
)


def document(count: int = 100, wrong: int = 2) -> Evaluation:
    """Of ``count`` items (half of them defects) the first ``wrong`` are decided wrongly."""
    found = evaluation_document(
        calibration=None,
        test=decided(count, range(wrong)),
        temperature=1.5,
        test_groups=np.arange(count),
    )
    return Evaluation.model_validate(found)


def imported(seen: Seen) -> ImportRecord:
    return ImportRecord.model_construct(checkpoint="best.pt", sha256="f" * 64, seen=seen)


def test_the_document_of_a_run_names_what_was_left_out(capsys) -> None:
    print_run_json(Path("runs/A"), document(), [("train/a.png", "truncated")])

    assert json.loads(capsys.readouterr().out) == {
        "run": "runs/A",
        "passed_over": [],
        "fixes": None,
        "notes": [],
        "changes": None,
        "skipped": [{"path": "train/a.png", "reason": "truncated"}],
        **document().to_json(),
    }


def test_fixes_are_counted_on_one_line_of_stderr_if_there_are_any(capsys) -> None:
    print_fixes(None)
    print_fixes(FixesRecord())
    assert capsys.readouterr().err == ""
    lost = {"path": "a.png", "change": "exclude", "why": "gone"}
    print_fixes(FixesRecord(excluded=1200, relabelled=3, moved=2, unmatched=[lost]), Path("crops"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "crops: fixes honoured: 1,200 excluded, 3 relabelled (2 found under another name); "
        "1 match no picture, see drupe data fixes\n"
    )


def test_of_an_imported_network_the_document_says_what_it_has_seen(capsys) -> None:
    print_run_json(Path("runs/A"), document(), [], imported(UNKNOWN))

    printed = json.loads(capsys.readouterr().out)
    assert printed["caveats"] == list(UNKNOWN.caveats)
    assert printed["in_sample"] == UNKNOWN.in_sample
    assert printed["imported"]["checkpoint"] == "best.pt"


@pytest.mark.parametrize(
    ("count", "last"),
    [
        (1, "  0.png: broken"),
        (SKIPPED_SHOWN, f"  {SKIPPED_SHOWN - 1}.png: broken"),
        (SKIPPED_SHOWN + 3, " 3 more, in the run's run.json"),
    ],
)
def test_files_left_out_are_named_on_stderr_until_there_are_too_many(capsys, count, last) -> None:
    print_skipped([(f"{number}.png", "broken") for number in range(count)])

    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == ""
    assert lines[0] == f"{count} unreadable files were left out:"
    assert lines[1] == "  0.png: broken"
    assert lines[-1].endswith(last)
    assert len(lines) == 1 + min(count, SKIPPED_SHOWN + 1)


def test_nothing_left_out_is_not_mentioned(capsys) -> None:
    print_skipped([])

    assert capsys.readouterr() == ("", "")


def test_the_table_gives_rates_with_their_counts(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    found = document()
    print_evaluation(found)

    said = capsys.readouterr().out
    defects, confusion = found.test.defects, found.test.argmax.confusion
    assert f"Test: 100 images, {defects} defects, threshold 0.5" in said
    (accuracy,) = [line for line in said.splitlines() if line.startswith("accuracy")]
    assert "98.0 %" in accuracy
    assert "98 of 100" in accuracy
    assert f"misses {confusion.fn}, false rejects {confusion.fp}, AUROC" in said
    assert confusion.fn + confusion.fp == 2
    assert "temperature 1.50" in said
    assert said.endswith("drupe threshold RUN\n")


@pytest.mark.parametrize(
    ("seen", "end"), [(UNKNOWN, "drupe threshold RUN --data NEW-CROPS\n"), (KNOWN, " RUN\n")]
)
def test_what_an_imported_network_has_seen_decides_what_can_be_certified(capsys, seen, end) -> None:
    print_evaluation(document(), imported(seen))

    said = " ".join(capsys.readouterr().out.split()) + "\n"
    assert all(f"Mind: {caveat}." in said for caveat in seen.caveats)
    assert ("No threshold can be certified" in said) == (seen.in_sample is not None)
    assert said.endswith(end)


def test_bounds_are_rounded_outward(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rate = document(871, 62).test.argmax.accuracy
    assert 0.91 > rate.low > 0.9095, "to the nearest it would be 91.0 %"
    print_evaluation(document(871, 62))
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "accuracy 92.9 % 90.9-94.5 809 of 871 decided as labelled" in lines


def test_types_said_of_defects_are_a_table_with_what_was_told_right(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    types = tuple("pit" if n < 30 else "stem" if n < 45 else "bruise" for n in range(50))
    table = replace(decided(100), types=(*types, *[""] * 50))
    said = ["pit"] * 28 + ["stem"] * 22 + ["pit"] * 50
    found = evaluation_document(
        calibration=None,
        test=table,
        temperature=1.5,
        test_groups=np.maximum(np.arange(100), 9),  # the first ten are copies of one another
        types_said=(("pit", "stem"), said),
    )
    rows = found["test"]["distinct"]["types_said"]["rows"]
    assert [(row["name"], row["said"]) for row in rows] == [
        ("pit", [19, 2]),
        ("stem", [0, 15]),
        ("bruise", [0, 5]),
    ]
    print_evaluation(Evaluation.model_validate(found))
    lines = capsys.readouterr().out.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("Types said of defects"))
    assert [line.split() for line in lines[start + 1 :] if line.split()[:1] == ["bruise"]]
    assert any(line.startswith("Type told right: 82.9 % (34 of 41; 95 %") for line in lines)
    assert any("learnt from none of them: bruise" in line for line in lines)
