from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from drupe.errors import InputError
from drupe.training.config import validate_experiment
from drupe.tuning.space import (
    Choices,
    Range,
    Space,
    default_space,
    given_values,
    label,
    parse_space,
    read_space,
)

DOCUMENT: dict[str, Any] = {
    "name": "tiny",
    "model": {"architecture": "test_resnet", "pretrained": False},
    "training": {"learning_rate": 1e-3, "epochs": 4},
}


def parsed(text: str) -> Space:
    return parse_space(yaml.safe_load(text), DOCUMENT, "space.yaml")


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        parsed(text)
    return caught.value.problems


def test_ranges_and_choices_dotted_and_nested() -> None:
    space = parsed(
        """
        training.learning_rate: {low: 1e-4, high: 3e-3, log: true}
        training:
          epochs: {low: 4, high: 12, step: 4}
          weight_decay: [null, 1e-4]
        model.architecture: [test_resnet, test_efficientnet]
        input.crop: {low: 64, high: 96}
        """
    )
    assert space.dimensions == (
        Range("training.learning_rate", 1e-4, 3e-3, log=True),
        Range("training.epochs", 4, 12, step=4, whole=True),
        Choices("training.weight_decay", (None, 1e-4)),
        Choices("model.architecture", ("test_resnet", "test_efficientnet")),
        Range("input.crop", 64, 96, whole=True),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("training.learning_rat: [1, 2]", "unknown key (did you mean training.learning_rate"),
        ("training: {lerning_rate: [1, 2]}", "training.lerning_rate: unknown key"),
        ("training.epochs: {low: 9, high: 9}", "an empty range: low must be below high"),
        ("training.epochs: {low: 9, high: 3}", "an empty range: low must be below high, got 9"),
        ("training.epochs: {low: 3}", "training.epochs: high: required, but missing"),
        ("training.epochs: {low: 3, high: 9, lg: 1}", "training.epochs: lg: unknown key"),
        ("training.epochs: {low: 3.5, high: 9}", "takes whole numbers alone"),
        ("training.epochs: {low: 0, high: 9}", "training.epochs: must be in [1, ∞), got 0"),
        ("training.epochs: {low: 1, high: 9, step: 10}", "step must be at most high - low"),
        ("training.learning_rate: {low: 0, high: 1, log: true}", "low must be above 0 where log"),
        ("training.learning_rate: {low: .1, high: 1, log: true, step: .1}", "can't be had togeth"),
        ("training.optimiser: {low: 1, high: 2}", "takes no numbers: list the values"),
        ("input.views: {low: 1, high: 8}", "takes no numbers: list the values"),
        ("input.views: [1, 3]", "input.views: must be 1, 2, 4 or 8, got 3"),
        ("input.views: []", "must list at least two values"),
        ("input.views: [1]", "must list at least two values"),
        ("input.views: [1, 1.0]", "must list at least two values, all different"),
        ("input.views: 2", "must be {low: …, high: …} or a list of values, got 2"),
        ("input: {}", "input: unknown key"),
        ("model.architecture: [test_resnet, restnet18]", "restnet18"),
        ("seed: [1, 2]", "seed: can't be searched: the luckiest seed is no better setting"),
        ("data.split_seed: [1, 2]", "can't be searched: every trial is judged on the same images"),
        ("calibration: {holdout: [0.2, 0.5]}", "calibration.holdout: can't be searched"),
        ("training.device: [cpu, cuda]", "it changes how, not what, is computed"),
        ("{}", "must name at least one key"),
    ],
)
def test_a_mistake_is_named(text: str, problem: str) -> None:
    found = problems(text)
    assert len(found) == 1
    assert problem in found[0]
    assert "space.yaml" in found[0]


def test_all_mistakes_come_at_once() -> None:
    found = problems("{training.epochs: {low: 2, high: 1}, nonsense: [1, 2], input.views: [3, 5]}")
    assert [one.partition(":")[0] for one in found] == [
        "training.epochs",
        "nonsense",
        "input.views",
        "input.views",
    ]


def test_a_key_that_is_given_twice_is_refused() -> None:
    assert problems("{input.views: [1, 2], input: {views: [1, 4]}}") == (
        "input.views: given twice (space.yaml)",
    )


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("input.views: [1, 2]\n")
    assert read_space(file, DOCUMENT).dimensions == (Choices("input.views", (1, 2)),)
    with pytest.raises(InputError, match="no such file"):
        read_space(tmp_path / "none.yaml", DOCUMENT)


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (Range("k", 0.1, 1.0), [0.1, 0.5, 1], [0.05, 2, "auto", None]),
        (Range("k", 2, 8, whole=True), [2, 3, 8.0], [2.5, 1]),
        (Range("k", 2, 8, step=3, whole=True), [2, 5, 8], [3]),
        (Range("k", 0.0, 0.3, step=0.1), [0.1, 0.3], [0.15]),
        (Choices("k", (1, "auto", None)), [1, 1.0, "auto", None], [2, "1.5"]),
    ],
)
def test_what_a_dimension_holds(dimension, inside: list[Any], outside: list[Any]) -> None:
    assert [value for value in inside if not dimension.holds(value)] == []
    assert [value for value in outside if dimension.holds(value)] == []


def test_the_experiment_as_given_lies_in_the_space_as_far_as_it_does() -> None:
    space = parsed(
        "{training.learning_rate: {low: 1e-4, high: 1e-2}, training.epochs: {low: 9, high: 12},"
        " input.views: [1, 2]}"
    )
    config = validate_experiment(DOCUMENT, "tiny.yaml")
    assert given_values(config, space) == {"training.learning_rate": 1e-3, "input.views": "1"}


def test_the_default_space_suits_any_experiment() -> None:
    for rate in (1e-9, 1e-3, 9.0):
        training = {"learning_rate": rate, "optimiser": "sgd"}
        config = validate_experiment({**DOCUMENT, "training": training}, "tiny.yaml")
        space = default_space(config)
        tree = {one.key: {"low": one.low, "high": one.high} for one in space.dimensions}  # type: ignore[union-attr]
        again = parse_space(tree, DOCUMENT, "default")
        assert [one.key for one in again.dimensions] == [one.key for one in space.dimensions]


def test_labels_are_as_in_yaml() -> None:
    assert list(map(label, (None, True, 1, 1.0, 0.5, "a", [1, 2]))) == [
        "null",
        "true",
        "1",
        "1",
        "0.5",
        "a",
        "[1, 2]",
    ]


def test_a_range_says_what_it_is() -> None:
    assert str(Range("k", 1e-4, 3e-3, log=True)) == "0.0001 to 0.003, on a logarithmic scale"
    assert str(Range("k", 4, 12, step=4, whole=True)) == "4 to 12 in steps of 4"
    assert str(Choices("k", (1, None))) == "1, null"
