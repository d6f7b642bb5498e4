"""The report of one run, of two, and of a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.reporting import run_section
from drupe.reporting.pictures import Pictures
from drupe.reporting.report import build_run_report, render
from drupe.reporting.targets import find_target
from drupe.runs.evaluation_file import record_certificate
from run_files import predictions
from study_folder import write_study_run


def certify(run: Path, request: Request) -> None:
    record_certificate(run, operating_point(read_run_predictions(run), request).certified_figures())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_study_run(tmp_path / "runs", "A", 1)


def test_a_run_answers_with_its_certificate_and_what_holds_it(run, tmp_path) -> None:
    certify(run, Request(min_recall=0.95))
    report = build_run_report([run], None, tmp_path)

    (answer,) = report.answers
    point = operating_point(read_run_predictions(run), Request(min_recall=0.95))
    assert point.certificate is not None
    assert answer.certificate is not None
    assert answer.certificate.threshold == point.certificate.threshold
    assert point.test is not None
    assert answer.test == point.test.counts
    assert len(answer.holders) == point.certificate.misses_allowed + 1
    # The threshold lies at the highest of those that hold it.
    assert answer.holders[-1].score == pytest.approx(point.certificate.threshold, abs=1e-3)
    scores = [one.score for one in answer.holders]
    assert scores == sorted(scores)
    html = render(report)
    assert "Certified: recall ≥ 95 %" in html
    assert "drupe labels rank --run" in html
    assert "There is no verdict yet" not in html


def test_what_holds_the_threshold_is_seen(run, tmp_path, monkeypatch) -> None:
    certify(run, Request(min_recall=0.95))
    drawn = "data:image/webp;base64,{}".format
    monkeypatch.setattr(Pictures, "whole", lambda self, path: drawn(path))
    monkeypatch.setattr(run_section, "SHOWN_HOLDERS", 2)
    report = build_run_report([run], None, tmp_path)
    (answer,) = report.answers
    assert [one.picture for one in answer.holders] == [drawn(one.path) for one in answer.holders]
    assert len(answer.holders) == 2
    html = render(report)
    assert all(drawn(one.path) in html for one in answer.holders)


def test_a_run_without_a_certificate_says_what_gives_one(run, tmp_path) -> None:
    (answer,) = build_run_report([run], None, tmp_path).answers
    assert (answer.certificate, answer.refusal, answer.holders) == (None, None, ())
    assert answer.steps[0].kind == "as it is"
    few = write_study_run(tmp_path / "few", "B", 1)
    (few / "predictions" / "calibration.csv").unlink()
    record = (few / "run.json").read_text().replace('"calibration": 1000', '"calibration": 0')
    (few / "run.json").write_text(record)
    (told,) = build_run_report([few], None, tmp_path).answers
    assert told.refusal == "it has no calibration items: it learnt from all training items"


def test_two_runs_are_compared_on_the_items_that_both_have(tmp_path) -> None:
    table = predictions(800, 2, quality=2.001)
    before = write_study_run(tmp_path / "runs", "A", 1, test=table)
    kept = np.arange(30, 800)  # 30 items left out, as by a fix list
    changed = table.take(kept)
    labels = changed.is_defect.copy()
    labels[:7] = ~labels[:7]  # and 7 relabelled
    scores = changed.scores.copy()
    turned = np.flatnonzero((labels == changed.is_defect) & labels & (scores >= 0.5))[:5]
    logits = np.log(scores / (1 - scores)).astype(np.float32)
    scores[turned], logits[turned] = 0.01, np.float32(np.log(0.01 / 0.99))
    after = write_study_run(
        tmp_path / "runs",
        "A",
        2,
        test=replace(changed, is_defect=labels, scores=scores, logits=logits),
    )

    report = build_run_report([before, after], None, tmp_path)

    change = report.change
    assert change is not None
    assert vars(change.common) == {
        "common": 763,
        "only_before": 30,
        "only_after": 0,
        "relabelled": 7,
    }
    assert (report.images, len(report.explorer[0].clean) + len(report.explorer[0].defects)) == (
        763,
        763,
    )
    assert change.certified == (False, False)
    assert change.changed == 5
    assert {one.path for one in change.changes} == {changed.paths[index] for index in turned}
    assert {(one.before, one.after) for one in change.changes} == {("reject", "accept")}
    first, second = change.lanes
    assert second.defects_accepted - first.defects_accepted == 5
    html = render(report)
    assert "763 test crops with the same label are in both" in " ".join(html.split())
    assert "7 with another label" in html


def test_two_runs_without_common_items_are_refused(tmp_path) -> None:
    before = write_study_run(tmp_path / "runs", "A", 1)
    other = predictions(800, 2, prefix="other")
    after = write_study_run(tmp_path / "runs", "A", 2, test=other)
    with pytest.raises(InputError, match="must share test items of both classes, got 0 in common"):
        build_run_report([before, after], None, tmp_path)


def test_names_in_a_run_never_become_markup(tmp_path) -> None:
    table = predictions(800, 2)
    hostile = ("val/<img src=x onerror=alert(1)>.png", *table.paths[1:])
    run = write_study_run(tmp_path / "runs", "A", 1, test=replace(table, paths=hostile))
    other = write_study_run(tmp_path / "runs", "A", 2, test=replace(table, paths=hostile))
    html = render(build_run_report([run, other], None, tmp_path))
    assert "<img src=x" not in html


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["nothing"],
            "must be a run directory, a bundle, a study's file or the folder of its runs",
        ),
        (["."], "got a folder with none of them"),
        (["A/seed-1", "B"], "several targets must be two runs, before and after; got"),
        (["A/seed-1", "A/seed-1", "A/seed-1"], "got 3 runs"),
    ],
)
def test_other_targets_are_refused_by_name(tmp_path, names, told) -> None:
    write_study_run(tmp_path / "here", "A", 1)
    with pytest.raises(InputError, match=told):
        find_target(
            [tmp_path / "here" / name if name != "." else tmp_path for name in names], tmp_path
        )


def test_a_study_is_found_by_its_folder(tmp_path) -> None:
    write_study_run(tmp_path / "small", "A", 1)
    assert find_target([tmp_path / "small"], tmp_path).folder == tmp_path / "small"
