from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drupe.evaluation.document import evaluation_document
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.predictions import Predictions
from drupe.evaluation.predictions_csv import write_predictions
from drupe.reporting.report import Source, build_report, render
from drupe.reporting.slices_section import slices_section
from drupe.reporting.study_files import read_study_files
from drupe.runs.evaluation_file import Evaluation, record_certificate
from run_files import predictions
from study_folder import write_study_run


def told(table: Predictions) -> Predictions:
    """The same items with types and groups, one of which has lower scores of its defects."""
    camera = np.arange(len(table)) % 5
    bad = table.is_defect & (camera == 3)
    return replace(
        table,
        scores=np.where(bad, table.scores / 4, table.scores),
        logits=None,
        types=tuple("<pit>" if one else "" for one in table.is_defect),
        groups=tuple(f"camera-{k}" for k in camera),
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "runs" / "small"
    run = write_study_run(folder, "A", 1, test=told(predictions(800, 2)))
    write_predictions(
        run / "predictions" / "calibration.csv", told(predictions(1000, 1, prefix="train"))
    )
    return folder


def test_the_page_has_a_table_of_each(study: Path) -> None:
    page = render(build_report(study, Source("small.yaml", (), None, study.parents[1])))
    assert '<a href="#slices">Types and groups</a>' in page
    assert "&lt;pit&gt;" in page
    assert "<pit>" not in page
    assert "threshold 0.5; exact 95 % intervals" in page
    assert "Worst recall: camera-3, shown to be worse than the others" in page


def test_a_certified_run_is_shown_at_its_threshold_with_its_promises(study: Path) -> None:
    run = study / "A" / "seed-1"
    asked = Request(min_recall=0.8, recall_of_types=(("<pit>", 0.9),), per_group=True)
    point = operating_point(read_run_predictions(run), asked)
    record_certificate(run, point.certified_figures())
    section = slices_section(read_study_files(study))
    assert section.where == f"certified threshold {point.certificate.threshold:.4g}"
    assert len(section.promises) == 6
    first = point.certificate.slices[0]
    assert section.promises[0] == (
        f"recall ≥ 90 % of <pit>: {first.misses} of {first.defects} calibration defects missed, "
        f"{first.misses_allowed} allowed"
    )
    groups = next(one for one in section.tables if one.title == "Groups")
    assert groups.rows[0][0] == "camera-3"
    counted = json.loads((run / "evaluation.json").read_text())["test"]["distinct"]["slices"]
    by_name = {one["name"]: one for one in counted["certified"]["groups"]}
    assert int(groups.rows[0][2]) == by_name["camera-3"]["misses"]


def test_without_types_and_groups_there_is_no_section(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "runs" / "plain"
    write_study_run(folder, "A", 1)
    assert slices_section(read_study_files(folder)) is None


def test_what_was_said_of_each_type_is_a_table_too(study: Path) -> None:
    run = study / "A" / "seed-1"
    table = told(predictions(800, 2))
    document = evaluation_document(
        calibration=None,
        test=table,
        temperature=1.3,
        test_groups=np.arange(800),
        types_said=(("<pit>", "stem"), ["<pit>", "stem"] * 400),
    )
    Evaluation.model_validate(document).write(run)
    section = slices_section(read_study_files(study))
    said = section.tables[-1]
    assert said.title == "Types said of defects, whatever the decision"
    assert said.columns == ("", "defects", "said <pit>", "said stem")
    even = int(table.is_defect[::2].sum())
    defects = int(table.is_defect.sum())
    assert said.rows == (("<pit>", str(defects), str(even), str(defects - even)),)
    assert f"({even} of {defects}; 95 % interval" in said.notes[0]
    page = render(build_report(study, Source("small.yaml", (), None, study.parents[1])))
    assert "said &lt;pit&gt;" in page
