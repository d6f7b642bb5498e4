"""Going on from an earlier run: what it had learnt certifies nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from drupe.data.synthetic.generation import synthesise
from drupe.errors import InputError
from drupe.evaluation.predictions_csv import read_predictions
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record
from drupe.training.config import read_config
from drupe.training.learnt import read_digests
from drupe.training.preparation import prepare_data
from drupe.training.run import train_run
from drupe.training.saved import load_network
from run_files import seal


@pytest.fixture(scope="module")
def module_store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def ancestor(tiny, tmp_path, module_store) -> Path:
    folder = tmp_path / "ancestor"
    train_run(tiny(), folder, module_store)
    return folder


def child(tiny, ancestor: Path, **sections):
    training = {"init": str(ancestor), **sections.pop("training", {})}
    return tiny(training=training, **sections)


def test_a_run_says_what_it_has_learnt_from(tiny, ancestor, module_store) -> None:
    data = prepare_data(tiny(), module_store)
    fit = {data.dataset.digests[item] for item in data.split.fit}
    assert read_digests(ancestor) == fit


def test_it_starts_from_the_weights(tiny, ancestor, tmp_path, module_store) -> None:
    config = child(tiny, ancestor, training={"epochs": 1, "learning_rate": 1e-12, "ema_decay": 0})
    train_run(config, tmp_path / "run", module_store)
    before, after = (load_network(folder)[0] for folder in (ancestor, tmp_path / "run"))
    for (name, one), other in zip(before.named_parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0, msg=name)
    record = read_record(tmp_path / "run")
    assert record is not None
    assert record.weights is not None
    assert record.weights["source"] == "run"
    assert record.ancestor is not None
    assert (record.ancestor.joined, record.ancestor.gone) == (0, 0)
    assert (record.ancestor.learnt.calibration, record.ancestor.learnt.test) == (0, 0)


def test_what_the_ancestor_had_learnt_is_not_judged(tiny, ancestor, tmp_path, module_store) -> None:
    """Another split seed puts items that it has learnt from on the side of calibration."""
    config = child(tiny, ancestor, data={"split_seed": 5})
    folder = tmp_path / "run"
    train_run(config, folder, module_store)
    record = read_record(folder)
    assert record is not None
    assert record.ancestor is not None
    assert record.ancestor.learnt.calibration > 0
    plain = prepare_data(tiny(data={"split_seed": 5}), module_store)
    learnt = read_digests(ancestor)
    groups = {
        group
        for group, digest in zip(plain.groups, plain.dataset.digests, strict=True)
        if digest in learnt
    }
    expected = {
        plain.dataset.paths[item]
        for item in plain.split.calibration
        if plain.groups[item] not in groups
    }
    table = read_predictions(RunFolder(folder).predictions("calibration"), "cherry_pit")
    assert set(table.paths) == expected
    assert record.data.calibration == len(expected)
    assert record.ancestor.learnt.calibration == len(plain.split.calibration) - len(expected)
    own = {plain.dataset.digests[item] for item in plain.split.fit}
    assert read_digests(folder) == own | learnt


def test_new_and_gone_files_are_counted(tiny, crops, ancestor, tmp_path, module_store) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(crops, changed)
    data = prepare_data(tiny(), module_store)
    single = [i for i in data.split.fit if np.sum(data.groups == data.groups[i]) == 1]
    for item in single[:3]:
        (changed / data.dataset.paths[item]).unlink()
    synthesise(tmp_path / "new", images=40, size=64, seed=99)
    for path in (tmp_path / "new").rglob("*.png"):
        target = changed / path.relative_to(tmp_path / "new")
        if "train" in target.parts:
            shutil.copy(path, target.with_name(f"new-{path.name}"))
    config = child(tiny, ancestor, data={"root": str(changed)})
    prepared = prepare_data(config, module_store)
    assert prepared.ancestor is not None
    assert prepared.ancestor.gone == 3
    new = [i for i in prepared.split.fit if "new-" in prepared.dataset.paths[i]]
    assert prepared.ancestor.joined == len(new) > 0


def test_it_belongs_to_the_identity_and_is_found_again(tiny, ancestor, tmp_path) -> None:
    config = child(tiny, ancestor)
    assert config.identity("data") != tiny().identity("data")
    moved = tmp_path / "moved"
    shutil.copytree(ancestor, moved)
    assert child(tiny, moved).identity("data") == config.identity("data")
    assert read_config(ancestor).training.init is None


def test_what_can_not_be_an_ancestor(tiny, ancestor, tmp_path, module_store) -> None:
    with pytest.raises(InputError, match="must be a run directory"):
        child(tiny, tmp_path)
    with pytest.raises(InputError, match=r"must be the weights 0000"):
        tiny(training={"init": {"run": str(ancestor), "weights": "0" * 64}})
    other = child(tiny, ancestor, model={"architecture": "test_resnet"})
    with pytest.raises(InputError, match=r"same architecture .* got test_efficientnet"):
        train_run(other, tmp_path / "other", module_store)
    scaled = child(tiny, ancestor, input={"range": "unit"})
    with pytest.raises(InputError, match=r"input\.range unit, got raw"):
        train_run(scaled, tmp_path / "scaled", module_store)
    RunFolder(ancestor).training_files.unlink()
    seal(ancestor)
    with pytest.raises(InputError, match="says what it has learnt from"):
        prepare_data(child(tiny, ancestor), module_store)


def test_all_of_calibration_learnt(tiny, ancestor, module_store) -> None:
    data = prepare_data(tiny(), module_store)
    RunFolder(ancestor).training_files.write_text("\n".join(data.dataset.digests))
    seal(ancestor)
    with pytest.raises(InputError, match="must leave clean items and defects in calibration"):
        prepare_data(child(tiny, ancestor), module_store)
