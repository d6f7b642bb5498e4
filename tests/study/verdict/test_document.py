from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from drupe.errors import InputError
from drupe.evaluation.criterion_verdict import BaselineComparison, RecallEvidence
from drupe.files import write_json
from drupe.study.verdict.assess import assess
from drupe.study.verdict.document import StudyVerdict, read_verdict
from run_files import decided
from study_files import FakeExecutor, finish, schedule, small_study, succeed, work_on

STUDY = {
    "baseline": {"experiment": "BASE"},
    "criteria": {"accuracy": 0.9, "recall": 0.99, "latency_ms": 30, "size_mb": 150},
    "experiments": [
        {"id": "BASE"},
        {"id": "EXP-001", "kind": "threshold", "of": "BASE"},
        {"id": "NEW", "title": "smoothed", "config": {"training": {"label_smoothing": 0.1}}},
        {"id": "EXP-004", "when": {"none_of": ["NEW"], "meet": "accuracy"}},
        {"id": "EXP-005", "kind": "comparison", "comparisons": [{"a": "NEW", "b": "EXP-004"}]},
    ],
    "comparisons": [{"a": "NEW", "b": "BASE", "question": "Is it better?"}],
}
FIGURES = [
    *("collapsed", "accuracy", "accuracy_by_seed", "recall", "clean_yield"),
    *("auroc", "ece", "misses"),
]


def does(job) -> int:
    if job.task.kind != "train":
        return succeed(job)
    count = {"BASE": 40, "NEW": 8}[job.task.experiment]
    finish(job.task, decided(400, range(400 - count, 400)), decided(1000, prefix="train"))
    return 0


@pytest.fixture(scope="module")
def verdict(tmp_path_factory) -> StudyVerdict:
    folder = tmp_path_factory.mktemp("study")
    work = work_on(small_study(folder, **STUDY), folder / "store")
    return assess(work, schedule(work, FakeExecutor(does)))


def changed(verdict: StudyVerdict, folder: Path, change) -> Path:
    """Write a verdict after ``change`` has been made to its document."""
    document = verdict.to_json()
    change(document)
    write_json(folder / "verdict.json", document)
    return folder / "verdict.json"


def test_what_is_read_is_what_was_written_to_the_byte(verdict, tmp_path) -> None:
    file = changed(verdict, tmp_path, lambda document: None)

    found = read_verdict(file)

    write_json(tmp_path / "again.json", found.to_json())
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()
    assert found.recommendation == verdict.recommendation
    new = found.experiments[2]
    accuracy, recall, *_ = (one.evidence for one in new.criteria)
    assert isinstance(accuracy, BaselineComparison)
    assert isinstance(recall, RecallEvidence)
    assert recall.certificate == new.certificate == verdict.experiments[2].certificate
    assert new.bench is not None
    assert new.bench.first is not None
    assert new.bench.first.p50_ms == 1.0


def test_the_keys_of_figures_stand_among_those_of_the_experiment(verdict) -> None:
    rows: dict[str, dict[str, Any]] = {row["id"]: row for row in verdict.to_json()["experiments"]}

    before = [
        *("id", "title", "hypothesis", "kind", "state", "reason", "note", "caveats"),
        *("seeds", "runs", "members", "deployed"),
    ]
    behind = ["certificate", "joint_certificate", "certified_test", "criteria", "export", "bench"]
    assert list(rows["NEW"]) == [*before, *FIGURES, *behind]
    assert list(rows["EXP-005"]) == [*before, *behind]  # it has none
    assert rows["NEW"]["accuracy"] == verdict.experiments[2].figures.accuracy.to_json()
    assert (rows["NEW"]["title"], rows["NEW"]["note"]) == ("smoothed", None)
    assert rows["NEW"]["bench"]["results"][0]["samples"] == 500
    assert "samples_ms" not in rows["NEW"]["bench"]["results"][0]


def test_a_comparison_holds_its_difference_and_whether_it_is_shown(verdict) -> None:
    (row,) = verdict.to_json()["comparisons"]

    (found,) = verdict.comparisons
    names = {"a": "NEW", "b": "BASE", "question": "Is it better?", "metric": "accuracy"}
    corrected = {"p_adjusted": found.p_adjusted, "detectable": found.detectable, "is_shown": True}
    assert row == {**names, "seeds": [1, 2], **found.paired.to_json(), **corrected}
    unclear = found.model_copy(update={"p_adjusted": 0.06})
    assert not unclear.is_shown


def test_a_verdict_of_an_earlier_version_is_read(verdict, tmp_path) -> None:
    def older(document: dict[str, Any]) -> None:
        for row in document["experiments"]:
            for key in ("joint_certificate", "caveats"):
                del row[key]

    found = read_verdict(changed(verdict, tmp_path, older))

    assert {row.joint_certificate for row in found.experiments} == {None}
    assert {row.caveats for row in found.experiments} == {()}
    assert [row.figures for row in found.experiments] == [
        row.figures for row in verdict.experiments
    ]


def test_what_a_later_version_writes_beside_is_ignored(verdict, tmp_path) -> None:
    def later(document: dict[str, Any]) -> None:
        document["weather"] = "fine"
        document["experiments"][0]["watts"] = 3

    assert read_verdict(changed(verdict, tmp_path, later)).experiments[0].id == "BASE"


def test_damage_is_named_with_its_key(verdict, tmp_path) -> None:
    def damage(document: dict[str, Any]) -> None:
        document["experiments"][0]["criteria"][1]["evidence"] = {"hearsay": 1}
        document["experiments"][1]["kind"] = "miracle"
        document["test"] = None

    with pytest.raises(InputError) as caught:
        read_verdict(changed(verdict, tmp_path, damage))

    said = [problem.partition(", got")[0] for problem in caught.value.problems]
    assert [one.partition(":")[0] for one in said] == [
        "test",
        "experiments.0.criteria.1.evidence",
        "experiments.1.kind",
    ]
    assert said[0] == "test: must be a mapping"
    assert "'training', 'ensemble', 'threshold', 'comparison' or 'imported'" in said[2]


def test_a_missing_verdict_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"verdict\.json: no such file"):
        read_verdict(tmp_path / "verdict.json")


def test_why_there_is_no_certificate_is_not_kept_in_the_file(verdict) -> None:
    row = verdict.experiments[0].model_copy(update={"refusal": "48 defects"})

    assert "refusal" not in row.model_dump(mode="json")


def test_whether_it_passes_is_kept_as_json(verdict) -> None:
    assert json.loads(json.dumps(verdict.to_json()))["passes"] is True
