from __future__ import annotations

import pytest
import yaml

from drupe.errors import InputError
from drupe.study.definition.loading import load_study
from study_files import STUDY, small_study


def test_a_folder_has_a_file_for_each_experiment(tmp_path) -> None:
    study = {key: value for key, value in STUDY.items() if key != "experiments"}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "2.yaml").write_text("id: SECOND\nwhen: {none_of: [FIRST], meet: accuracy}\n")
    (tmp_path / "1.yaml").write_text("id: FIRST\n")
    (tmp_path / "notes.md").write_text("not an experiment")

    loaded = load_study(tmp_path, {"criteria": {"accuracy": 0.9}})

    assert [item.id for item in loaded.spec.experiments] == ["FIRST", "SECOND"]
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    with pytest.raises(InputError, match=r"must be left out where each has a file .*\(1.yaml, …"):
        load_study(tmp_path)


def test_an_experiment_may_have_criteria_of_its_own(tmp_path) -> None:
    study = small_study(
        tmp_path,
        criteria={"accuracy": 0.9, "size_mb": 150},
        experiments=[{"id": "A"}, {"id": "B", "criteria": {"accuracy": 0.8, "size_mb": None}}],
    )

    assert (study.criteria["A"].accuracy, study.criteria["A"].size_mb) == (0.9, 150)
    assert (study.criteria["B"].accuracy, study.criteria["B"].size_mb) == (0.8, None)
    assert study.criteria["B"].recall == 0.99


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiments": [{"id": "A", "criteria": {"recal": 1}}]}, "experiment A, criteria"),
        (
            {"experiments": [{"id": "A"}, {"id": "T", "kind": "threshold"}]},
            "T: a threshold needs of",
        ),
        ({"experiments": [{"id": "A", "of": "A"}]}, "A: a training takes no of"),
        (
            {"experiments": [{"id": "A"}, {"id": "T", "kind": "threshold", "of": "T"}]},
            r"T\.of: must name experiments that train \(A\), got T",
        ),
        (
            {
                "experiments": [
                    {"id": "A", "when": {"none_of": ["B"], "meet": "accuracy"}},
                    {"id": "B", "when": {"none_of": ["A"], "meet": "accuracy"}},
                ],
                "criteria": {"accuracy": 0.9},
            },
            "when: must not wait for itself, got A -> B -> A",
        ),
        (
            {"experiments": [{"id": "A", "when": {"none_of": [], "meet": "accuracy"}}]},
            r"none_of: must",
        ),
        (
            {"comparisons": [{"a": "A", "b": "B"}, {"a": "A", "b": "B"}]},
            "A - B must be planned once, got it twice",
        ),
        (
            {
                "baseline": {"checkpoint": {"file": "m.pt", "architecture": "resnet50"}},
                "experiments": [{"id": "BASELINE"}],
            },
            "BASELINE is the imported checkpoint, an experiment needs another id",
        ),
        ({"experiments": []}, "experiments: must"),
        ({"confidence": 0.5}, "confidence: must"),
    ],
)
def test_what_is_wrong_with_the_names_is_said(tmp_path, changes, message) -> None:
    with pytest.raises(InputError, match=message) as caught:
        small_study(tmp_path, **changes)

    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("baseline", "label"),
    [
        ({}, ""),
        ({"experiment": "A"}, "A"),
        ({"experiment": "A", "name": "ResNet50"}, "A, ResNet50"),
        ({"checkpoint": {"file": "m.pt", "architecture": "resnet50"}}, "BASELINE"),
        (
            {"experiment": "A", "checkpoint": {"file": "m.pt", "architecture": "resnet50"}},
            "BASELINE",
        ),
    ],
)
def test_what_the_verdict_calls_the_baseline(tmp_path, baseline, label) -> None:
    assert small_study(tmp_path, baseline=baseline).spec.baseline.label == label
