"""A study whose baseline was trained elsewhere: with fakes here, whole in ``tests/cli``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drupe.errors import InputError
from drupe.reporting.verdict import verdict_markdown
from drupe.runs.training_overlap import Overlap, Seen
from drupe.study.definition.baseline import require_checkpoint
from drupe.study.definition.plan import plan
from drupe.study.execution.journal import Journal
from drupe.study.verdict.assess import assess
from drupe.study.verdict.document import FailedRun, StudyVerdict
from run_files import decided
from study_files import (
    FakeExecutor,
    checkpoint_in,
    finish,
    import_run,
    schedule,
    small_study,
    succeed,
    work_on,
)

GOOD = decided(1000, prefix="train")
UNKNOWN = Seen(trained_on=None, picked_on_test=True)
LEARNT_FROM = Seen(
    trained_on=Overlap(named=9, sha256="a" * 64, fit=5, calibration=3, test=1), picked_on_test=False
)
NEW_TO_IT = Seen(
    trained_on=Overlap(named=9, sha256="a" * 64, fit=9, calibration=0, test=0), picked_on_test=False
)
EXPERIMENTS = [
    {"id": "BASE"},
    {"id": "EXP-001", "kind": "threshold", "of": "BASE"},
    {"id": "NEW", "config": {"training": {"label_smoothing": 0.1}}},
]


def study_in(folder: Path, **checkpoint: Any):
    baseline = {"experiment": "BASE", "name": "the team's"}
    return small_study(
        folder,
        baseline={**baseline, "checkpoint": checkpoint_in(folder, **checkpoint)},
        criteria={"accuracy": 0.9, "recall": 0.99},
        experiments=EXPERIMENTS,
        comparisons=[{"a": "NEW", "b": "BASE"}],
    )


def does(seen: Seen):
    """Return who does jobs: of 400 test items BASELINE gets 40 wrong, BASE 20, NEW 8."""

    def do(job):
        if job.task.kind == "import":
            return import_run(job.task, seen, decided(400, range(360, 400)), GOOD)
        if job.task.kind != "train":
            return succeed(job)
        count = {"BASE": 20, "NEW": 8}[job.task.experiment]
        finish(job.task, decided(400, range(400 - count, 400)), GOOD)
        return 0

    return do


def verdict_of(folder: Path, seen: Seen):
    work = work_on(study_in(folder), folder / "store")
    schedule(work, FakeExecutor(does(seen)))
    return assess(work, Journal(work.folder).outcomes())


def rows_of(found) -> dict[str, Any]:
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert StudyVerdict.model_validate(document).to_json() == document  # the report reads it
    return {item["id"]: item for item in document["experiments"]}


def test_the_checkpoint_is_the_first_row_with_its_figures_and_caveats(tmp_path) -> None:
    found = verdict_of(tmp_path, UNKNOWN)

    rows = rows_of(found)
    assert list(rows) == ["BASELINE", "BASE", "EXP-001", "NEW"]
    row = rows["BASELINE"]
    assert (row["kind"], row["title"], row["state"]) == ("imported", "the team's", "done")
    assert (row["runs"], row["deployed"]) == (["BASELINE/seed-1"], "BASELINE/seed-1")
    assert row["seeds"] == []  # nobody knows it
    assert row["accuracy"]["mean"] == pytest.approx(0.9)
    assert row["accuracy"]["low"] < 0.9 < row["accuracy"]["high"]
    assert (row["recall"]["mean"], row["auroc"]["mean"] > 0.5) == (1, True)
    assert (row["criteria"], row["reason"]) == ([], "not judged: the baseline")
    assert [caveat.partition(":")[0] for caveat in row["caveats"]] == [
        "the checkpoint was picked on the test split",
        "its training files are unknown",
        "nothing can be certified on its calibration",
    ]
    assert row["certificate"] is None
    assert found.recommendation.experiment != "BASELINE"


def test_the_others_are_judged_against_it_by_all_their_seeds(tmp_path) -> None:
    found = verdict_of(tmp_path, UNKNOWN)

    (pair,) = found.comparisons
    assert (pair.a, pair.b, pair.seeds) == ("NEW", "BASELINE", (1, 2))
    assert pair.paired.difference == pytest.approx(0.08)
    required = {
        row: one["criteria"][0]["required"]
        for row, one in rows_of(found).items()
        if one["kind"] == "training"
    }
    assert required == dict.fromkeys(("BASE", "NEW"), "≥ BASELINE (90 %)")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (UNKNOWN, "certifies BASE as trained here, because the files that this imported network"),
        (
            LEARNT_FROM,
            "certifies BASE as trained here, because this imported network was trained on 3 of",
        ),
    ],
)
def test_a_threshold_is_certified_on_the_retrained_run_where_the_import_is_in_sample(
    tmp_path, seen, reason
) -> None:
    row = rows_of(verdict_of(tmp_path, seen))["EXP-001"]

    assert row["deployed"] == "BASE/seed-1"
    assert row["certificate"]["threshold"] > 0
    assert row["reason"].startswith(reason)
    assert row["certified_test"]["clean_yield"]["trials"] == 200
    assert row["certified_test"]["clean_yield"]["successes"] == 180  # BASE's 20 mistakes


def test_a_threshold_is_certified_on_the_checkpoint_where_it_can_be(tmp_path) -> None:
    rows = rows_of(verdict_of(tmp_path, NEW_TO_IT))

    row = rows["EXP-001"]
    assert row["deployed"] == "BASELINE/seed-1"
    assert row["reason"] == "certifies BASELINE, the checkpoint in the place of BASE"
    assert row["certified_test"]["clean_yield"]["successes"] == 160  # BASELINE's 40 mistakes
    assert row["criteria"][0]["verdict"] == "pass"
    assert rows["BASELINE"]["caveats"] == []
    assert rows["BASELINE"]["certificate"] == row["certificate"]
    threshold = json.loads((tmp_path / "store/runs/small/EXP-001/threshold.json").read_text())
    assert threshold["model"] == "BASELINE"


def test_without_the_retrained_run_nothing_is_certified_in_sample(tmp_path) -> None:
    work = work_on(study_in(tmp_path), tmp_path / "store")
    tasks = plan(work.study, work.store, skip={"BASE"})

    outcomes = schedule(work, FakeExecutor(does(UNKNOWN)), tasks)

    assert outcomes["EXP-001"].state == "skipped"
    assert outcomes["EXP-001"].reason.startswith("certifies BASE as trained here, because ")
    assert outcomes["EXP-001"].reason.endswith(", but that has no finished run")
    row = rows_of(assess(work, outcomes))["EXP-001"]
    assert (row["state"], row["reason"]) == ("missing", "BASE has no finished run")


def test_swapped_classes_are_suspected(tmp_path) -> None:
    work = work_on(study_in(tmp_path), tmp_path / "store")
    upside_down = decided(400, range(400))

    def do(job):
        if job.task.kind == "import":
            return import_run(job.task, NEW_TO_IT, upside_down, GOOD)
        return does(NEW_TO_IT)(job)

    schedule(work, FakeExecutor(do))

    (caveat,) = rows_of(assess(work, {}))["BASELINE"]["caveats"]
    assert caveat.startswith("AUROC 0.000: it ranks defects below clean items")


def test_an_import_that_failed_is_named_and_the_others_count(tmp_path) -> None:
    work = work_on(study_in(tmp_path), tmp_path / "store")
    good = does(UNKNOWN)
    schedule(work, FakeExecutor(lambda job: 2 if job.task.kind == "import" else good(job)))

    found = assess(work, Journal(work.folder).outcomes())

    rows = rows_of(found)
    assert (rows["BASELINE"]["state"], rows["BASELINE"]["reason"]) == ("failed", "exit code 2")
    assert rows["NEW"]["criteria"][0]["required"] == "≥ 90 %"
    assert found.failed == (FailedRun(run="BASELINE", reason="exit code 2"),)
    assert [(pair.a, pair.b) for pair in found.not_compared] == [("NEW", "BASELINE")]
    assert rows["EXP-001"]["reason"] == "certifies BASE as trained here: BASELINE has no result"


def test_it_is_imported_once_and_anew_when_it_is_another(tmp_path) -> None:
    work = work_on(study_in(tmp_path), tmp_path / "store")
    schedule(work, FakeExecutor(does(UNKNOWN)))
    again = FakeExecutor(does(UNKNOWN))
    schedule(work, again)
    assert again.started == []

    changed = work_on(study_in(tmp_path, picked_on_test=True), tmp_path / "store")
    anew = FakeExecutor(does(UNKNOWN))
    schedule(changed, anew)
    assert anew.started == ["BASELINE"]
    kept = list((work.folder / "superseded").iterdir())
    assert [folder.name.partition("-")[0] for folder in kept] == ["BASELINE"]

    (tmp_path / "model_best.pt").write_bytes(b"other weights")
    others = FakeExecutor(does(UNKNOWN))
    schedule(changed, others)
    assert others.started == ["BASELINE"]


def test_files_that_are_missing_are_named_before_anything_runs(tmp_path) -> None:
    study = study_in(tmp_path, trained_on="nowhere.txt")
    (tmp_path / "model_best.pt").unlink()

    with pytest.raises(InputError) as caught:
        require_checkpoint(study)

    assert list(caught.value.problems) == [
        f"baseline.checkpoint.file: must be a file, got {tmp_path / 'model_best.pt'}",
        "baseline.checkpoint.trained_on: must be a file, got nowhere.txt",
    ]


def test_its_caveats_stand_in_the_markdown(tmp_path) -> None:
    text = verdict_markdown(verdict_of(tmp_path, UNKNOWN))

    assert "- Mind: BASELINE: the checkpoint was picked on the test split" in text
    assert "- Mind: BASELINE: nothing can be certified on its calibration: the files" in text
    assert "| BASELINE | – | – | not judged: the baseline | | | |" in text
    assert "| BASELINE | the team's | – | 90.0 % |" in text
    assert "| NEW - BASELINE | +8.0 |" in text
    assert "| BASELINE | none: " in text
