from __future__ import annotations

import pytest

from drupe.errors import InputError
from drupe.study.definition.plan import plan
from study_files import STUDY, small_study

MIXED = {
    "experiments": [
        {"id": "A"},
        {"id": "T", "kind": "threshold", "of": "A"},
        {"id": "B", "lane": "cpu", "config": {"calibration": {"crossfit": 2}}},
    ]
}


def names(study, folder, **choice) -> list[str]:
    return [task.name for task in plan(study, folder / "store", **choice)]


def test_the_first_seed_and_its_folds_come_before_any_second_seed(tmp_path) -> None:
    tasks = plan(small_study(tmp_path, **MIXED), tmp_path / "store")

    assert [task.name for task in tasks] == [
        "A seed 1",
        "B seed 1",
        "B fold 0",
        "B fold 1",
        "A seed 2",
        "B seed 2",
        "A certify",
        "B certify",
        "T",
    ]
    needs = {task.name: task.needs for task in tasks}
    assert needs["B certify"] == ("B seed 1", "B fold 0", "B fold 1")
    assert needs["T"] == ("A certify",)
    lanes = {task.name: task.lane for task in tasks}
    assert (lanes["A seed 1"], lanes["B fold 1"], lanes["T"]) == ("gpu", "cpu", "cpu")
    folds = [task for task in tasks if task.kind == "fold"]
    assert [task.config.calibration.fold for task in folds] == [0, 1]
    assert len({task.folder for task in tasks if task.is_run}) == 6


@pytest.mark.parametrize(
    ("criteria", "planned"),
    [
        ({}, []),
        ({"size_mb": 150}, ["export"]),
        ({"latency_ms": 30}, ["export", "bench"]),
    ],
)
def test_an_export_is_made_and_timed_where_a_criterion_asks(tmp_path, criteria, planned) -> None:
    experiments = [{"id": "A"}, {"id": "B", "criteria": {"size_mb": None, "latency_ms": None}}]
    study = small_study(tmp_path, criteria=criteria, experiments=experiments)

    asked = [name for name in names(study, tmp_path) if name.split()[-1] in ("export", "bench")]

    assert asked == [f"A {kind}" for kind in planned]


def test_only_and_skip_choose(tmp_path) -> None:
    study = small_study(tmp_path, **MIXED)

    assert {name[0] for name in names(study, tmp_path, only={"B"})} == {"B"}
    assert {name[0] for name in names(study, tmp_path, skip={"B"})} == {"A", "T"}
    assert names(study, tmp_path, only={"A"}, skip={"A"}) == []
    with pytest.raises(InputError, match=r"got X, Z"):
        names(study, tmp_path, only={"X"}, skip={"Z"})


def test_a_threshold_brings_along_the_run_that_it_certifies(tmp_path) -> None:
    experiments = [
        *({"id": name, "config": {"calibration": {"crossfit": 2}}} for name in "AB"),
        {"id": "T", "kind": "threshold", "of": "B"},
    ]
    study = small_study(tmp_path, experiments=experiments, criteria={"size_mb": 150})

    assert names(study, tmp_path, only={"T"}) == [
        "B seed 1",
        "B fold 0",
        "B fold 1",
        "B certify",
        "T",
    ]
    assert names(study, tmp_path, only={"T"}, skip={"B"}) == []
    assert "A seed 2" in names(study, tmp_path, only={"T", "A"})


def test_a_comparison_brings_along_all_seeds_of_what_it_compares(tmp_path) -> None:
    later = {"when": {"none_of": ["A"], "meet": "accuracy"}, "config": {"training": {"epochs": 2}}}
    experiments = [
        *({"id": name, "config": {"calibration": {"crossfit": 2}}} for name in "ABC"),
        {"id": "D", **later},
        {"id": "X", "kind": "comparison", "comparisons": [{"a": "B", "b": "D"}]},
    ]
    study = small_study(tmp_path, experiments=experiments, criteria={"accuracy": 0.9})

    assert names(study, tmp_path, only={"X"}) == ["B seed 1", "D seed 1", "B seed 2", "D seed 2"]
    assert names(study, tmp_path, only={"X"}, skip={"D"}) == ["B seed 1", "B seed 2"]


def test_a_smoke_test_is_short_and_has_a_store_of_its_own(tmp_path) -> None:
    study = small_study(
        tmp_path, **MIXED, defaults={**STUDY["defaults"], "training": {"batch_size": 8}}
    ).smoke()

    tasks = plan(study, tmp_path / "store")

    assert {task.seed for task in tasks} == {1}
    assert all((tmp_path / "store" / "smoke") in task.folder.parents for task in tasks)
    configs = [task.config for task in tasks if task.config]
    assert {config.training.epochs for config in configs} == {1}
    assert {config.data.limit for config in configs} == {24}  # three batches


def test_an_imported_baseline_comes_first(tmp_path) -> None:
    baseline = {"experiment": "A", "checkpoint": {"file": "m.pt", "architecture": "resnet50"}}
    study = small_study(tmp_path, baseline=baseline, **MIXED)

    assert names(study, tmp_path)[0] == "BASELINE"
    # Whether it can be certified is known when it is there; else its experiment's run is.
    expected = ["BASELINE", "A seed 1", "A certify", "T"]
    assert names(study, tmp_path, only={"T"}) == expected
    assert plan(study, tmp_path / "store", {"T"})[-1].needs == ("BASELINE", "A certify")
    assert names(study, tmp_path, only={"T"}, skip={"A"}) == ["BASELINE", "T"]
