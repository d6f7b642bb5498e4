"""Recipes of teachers: named in a file, written out in full, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from drupe.errors import InputError
from drupe.runs.layout import RunFolder
from drupe.training.config import read_config, write_config
from drupe.training.run import train_run


def with_teacher(tiny, *recipes, **settings):
    return tiny(training={"teacher": {"recipes": list(recipes), **settings}})


def write_recipe(path: Path, **sections) -> str:
    document = {"model": {"architecture": "test_resnet", "pretrained": False}, **sections}
    path.write_text(yaml.safe_dump(document))
    return str(path)


def test_self_is_written_out_without_its_teacher(tiny, tmp_path) -> None:
    config = with_teacher(tiny, "self")
    (recipe,) = config.training.teacher.recipes
    assert recipe.model == config.model
    assert recipe.input == config.input
    assert recipe.training.model_dump() == config.training.model_dump(exclude={"teacher", "init"})
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config


def test_a_file_a_run_and_a_preset(tiny, tmp_path, store) -> None:
    train_run(tiny(training={"epochs": 1}), tmp_path / "run", store)
    file = write_recipe(tmp_path / "other.yaml", input={"size": 64})
    config = with_teacher(tiny, file, str(tmp_path / "run"))
    assert [one.model.architecture for one in config.training.teacher.recipes] == [
        "test_resnet",
        "test_efficientnet",
    ]
    assert config.training.teacher.recipes[1].training.epochs == 1
    # Presets want crops of 128 pixels: that is refused, so it was read.
    with pytest.raises(InputError, match=r"recipes\.0\.input\.size: must be input\.size = 64"):
        with_teacher(tiny, "balanced")


def test_what_a_recipe_says_is_part_of_the_identity(tiny, tmp_path) -> None:
    first = with_teacher(tiny, "self").identity("data")
    assert first != tiny().identity("data")
    assert first != with_teacher(tiny, "self", share=0.2).identity("data")
    path = tmp_path / "other.yaml"
    settings = ({"threads": 1}, {"threads": 2}, {"epochs": 3})
    one, same, other = (
        with_teacher(tiny, write_recipe(path, input={"size": 64}, training=training))
        for training in settings
    )
    assert one.identity("data") == same.identity("data") != other.identity("data")


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ([], "must hold at least 1"),
        (["nowhere.yaml"], "nowhere.yaml: no such file"),
        ([{"model": {"architecture": "test_resnt"}, "input": {"size": 64}}], r"recipes\.0: model"),
        ([{"model": {"architecture": "test_resnet"}, "training": {"epoch": 1}}], "epoch: unknown"),
        ([3], r"recipes\.0: must be a mapping"),
    ],
)
def test_wrong_recipes(tiny, recipes, message) -> None:
    with pytest.raises(InputError, match=message):
        with_teacher(tiny, *recipes)


def test_a_recipe_with_a_teacher_of_its_own(tiny, tmp_path) -> None:
    file = write_recipe(
        tmp_path / "a.yaml", input={"size": 64}, training={"teacher": {"recipes": ["self"]}}
    )
    with pytest.raises(InputError, match=r"learns from labels alone, got .*training\.teacher"):
        with_teacher(tiny, file)


def test_folders_that_are_no_run_or_whose_training_is_unknown(tiny, tmp_path, store) -> None:
    with pytest.raises(InputError, match="must be self, an experiment file or a run"):
        with_teacher(tiny, str(tmp_path))
    run = tmp_path / "run"
    train_run(tiny(training={"epochs": 1}), run, store)
    record = RunFolder(run).record
    imported = (
        '"imported": {"checkpoint": "a.pth", "sha256": "0", "key": null, "names": "timm", '
        '"outputs": 2, "dtype": "float32", "class_order": ["clean", "pit"], "flushed_weights": 0, '
        '"seen": {"trained_on": null, "picked_on_test": false}}'
    )
    record.write_text(record.read_text().replace('"imported": null', imported))
    with pytest.raises(InputError, match="how it was trained isn't known"):
        with_teacher(tiny, str(run))
