from __future__ import annotations

from pathlib import Path

import pytest

from drupe.errors import InputError
from drupe.training.config import load_experiment
from drupe.training.presets import NAMES, experiment_file, presets


def test_each_preset_is_an_experiment_that_says_what_it_is_for() -> None:
    for preset in presets():
        assert load_experiment(preset.path).name == preset.name
        assert preset.purpose.startswith("Decides in ")
        assert preset.purpose.endswith(".")


def test_slower_presets_see_more() -> None:
    seen = [load_experiment(preset.path).input for preset in presets()]
    assert [one.views for one in seen] == sorted(one.views for one in seen)
    sides = [one.resolution or one.crop for one in seen]
    assert sides == sorted(sides)


def test_a_preset_is_found_by_its_name_and_a_file_comes_first(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert experiment_file(Path("fast")).name == "fast.yaml"
    Path("fast").write_text("model: {architecture: test_resnet}")
    assert experiment_file(Path("fast")) == Path("fast")
    assert experiment_file(Path("other.yaml")) == Path("other.yaml")


def test_without_a_file_the_presets_are_offered() -> None:
    with pytest.raises(InputError) as caught:
        experiment_file(None)
    message = str(caught.value)
    assert message.startswith("EXPERIMENT: required")
    assert all(f"  {name}: Decides in" in message for name in NAMES)
    assert "drupe train balanced --data crops" in message
