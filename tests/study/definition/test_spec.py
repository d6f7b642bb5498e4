from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from drupe.errors import InputError
from drupe.study.definition.loading import load_study
from drupe.study.definition.plan import plan
from drupe.training.config import load_experiment

ROOT = Path(__file__).parents[3]

STUDY = {
    "study": "small",
    "seeds": [1, 2],
    "defaults": {"model": {"architecture": "test_resnet"}, "training": {"epochs": 2}},
    "experiments": [{"id": "A"}, {"id": "B", "config": {"training": {"label_smoothing": 0.1}}}],
    "comparisons": [{"a": "B", "b": "A"}],
}
CHECKPOINT = {"file": "m.pt", "architecture": "resnet50"}
BROUGHT = {"experiment": "A", "checkpoint": CHECKPOINT}


def write(folder: Path, **changes) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**STUDY, **changes}))
    return file


def test_experiments_are_the_defaults_with_their_own_on_top(tmp_path):
    study = load_study(write(tmp_path))

    assert study.configs["A"].training.label_smoothing == 0.0
    assert study.configs["B"].training.label_smoothing == 0.1
    assert {config.training.epochs for config in study.configs.values()} == {2}
    assert study.configs["B"].name == "B"


def test_every_first_seed_comes_before_a_second_one(tmp_path):
    tasks = list(plan(load_study(write(tmp_path)), tmp_path / "store"))

    runs = [task for task in tasks if task.is_run]
    assert [task.name for task in runs] == ["A seed 1", "B seed 1", "A seed 2", "B seed 2"]
    assert [task.config.seed for task in runs] == [1, 1, 2, 2]
    assert tasks[1].folder == tmp_path / "store/runs/small/B/seed-1"


def test_overrides_go_to_the_study_or_to_every_experiment(tmp_path):
    study = load_study(write(tmp_path), {"seeds": [9], "training": {"epochs": 7}})

    assert study.spec.seeds == (9,)
    assert {config.training.epochs for config in study.configs.values()} == {7}


def test_a_comparison_with_what_a_checkpoint_replaces_is_one_with_the_checkpoint(tmp_path):
    again = {"id": "X", "kind": "comparison", "comparisons": [{"a": "A", "b": "C"}]}
    study = load_study(
        write(
            tmp_path,
            baseline=BROUGHT,
            experiments=[*STUDY["experiments"], {"id": "C"}, again],
            comparisons=[{"a": "B", "b": "A"}, {"a": "C", "b": "BASELINE"}, {"a": "C", "b": "B"}],
        )
    )

    assert [(pair.a, pair.b) for pair in study.spec.planned] == [
        ("B", "BASELINE"),
        ("C", "BASELINE"),
        ("C", "B"),
        ("BASELINE", "C"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": []}, "seeds: must"),
        ({"seeds": [1, 1]}, "seeds: must differ, got 1, 1"),
        ({"seeds": [1, -5]}, r"seeds\.1: must"),
        ({"seeds": [1, 99999999999]}, r"seeds\.1: must"),
        ({"seeds": [True]}, r"seeds\.0: must"),
        ({"comparisons": [{"a": "A", "b": "A"}]}, "a and b must differ, got A twice"),
        ({"experiments": [{"id": "A"}, {"id": "A"}]}, "ids must be unique, got A"),
        (
            {"comparisons": [{"a": "B", "b": "X"}]},
            r"must name experiments that train \(A, B\), got X",
        ),
        (
            {"comparisons": [{"a": "B", "b": "BASELINE"}]},
            r"must name experiments that train \(A, B\), got BASELINE",
        ),
        (
            {"baseline": BROUGHT, "comparisons": [{"a": "A", "b": "BASELINE"}]},
            r"a and b must differ, got BASELINE twice \(it replaces A\)",
        ),
        (
            {"baseline": BROUGHT, "comparisons": [{"a": "B", "b": x} for x in ("A", "BASELINE")]},
            "B - BASELINE must be planned once",
        ),
        (
            {"baseline": {"checkpoint": {**CHECKPOINT, "input": {"rnage": "raw"}}}},
            r"rnage: unknown key .*baseline\.checkpoint\.input\)",
        ),
        ({"experiment": []}, "experiment: unknown key .did you mean experiments"),
        ({"experiments": [{"id": "no/slash"}]}, r"experiments\.0\.id: must"),
    ],
)
def test_mistakes_in_the_study(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_study(write(tmp_path, **changes))


def test_mistakes_in_all_experiments_come_together(tmp_path):
    experiments = [
        {"id": "A", "config": {"training": {"epochs": -1}}},
        {"id": "B", "config": {"model": {"architecture": "resnt18"}}},
    ]
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, experiments=experiments))

    first, second = caught.value.problems
    assert "training.epochs: must be in [1, ∞), got -1" in first
    assert "experiment A" in first
    assert "resnt18" in second
    assert "experiment B" in second


def test_mistakes_of_the_study_hide_none_of_its_experiments(tmp_path):
    experiments = [{"id": "A", "config": {"training": {"epochs": -1}}}, "odd"]
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, experiments=experiments, seeds=[], defaults=5))

    message = str(caught.value)
    for part in ("seeds: must", "defaults: must", "experiments.1", "model: required, but missing"):
        assert part in message
    assert "training.epochs: must be in [1, ∞), got -1" in message


def test_mistakes_of_the_names_come_together(tmp_path):
    changes = {"seeds": [1, 1], "comparisons": [{"a": "A", "b": "A"}, {"a": "X", "b": "A"}]}
    with pytest.raises(InputError, match=r"seeds: must differ.*A twice.*got X"):
        load_study(write(tmp_path, **changes))


def test_a_mistake_in_the_defaults_is_said_once_and_there(tmp_path):
    defaults = {"model": {"architecture": "resnt18"}, "training": {"epochs": 0}}
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, defaults=defaults), {"input": {"size": 1}})

    first, *others = caught.value.problems
    assert sorted(problem.rpartition("(")[2] for problem in (first, *others)) == sorted(
        ["KEY=VALUE)"] + [f"{tmp_path / 'study.yaml'}, defaults)"] * 2
    )


def test_what_no_experiment_has_is_said_once_and_of_all(tmp_path):
    with pytest.raises(InputError) as caught:
        load_study(write(tmp_path, defaults={}))

    (problem,) = caught.value.problems
    assert problem.startswith("model: required, but missing")
    assert problem.endswith("study.yaml, experiments A, B)")


STUDIES = [*(ROOT / "studies").glob("*.yaml"), *(ROOT / "studies").glob("*/study.yaml")]


@pytest.mark.parametrize("file", sorted(STUDIES), ids=lambda file: file.relative_to(ROOT).stem)
def test_every_shipped_study_loads_and_opens_with_its_command(file):
    path = file.parent if file.name == "study.yaml" else file
    load_study(path)
    header = [line for line in file.read_text().splitlines() if line.startswith("#")]

    assert any(f"drupe study run {path.relative_to(ROOT)}" in line for line in header)
    assert any("Time:" in line for line in header)


EXPERIMENTS = sorted(
    {*(ROOT / "examples").glob("*.yaml")} - {*(ROOT / "examples").glob("line*.yaml")}
)


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda f: f.stem)
def test_every_shipped_experiment_loads_and_opens_with_its_command(file):
    load_experiment(file)

    assert f"#   drupe train {file.relative_to(ROOT)}" in file.read_text()
