"""Distillation: who is asked about which items, and what a student makes of the answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.predictions_csv import read_predictions
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record
from drupe.training.preparation import prepare_data
from drupe.training.run import train_run
from drupe.training.teachers import soft_targets

pytestmark = pytest.mark.thorough

TEACHER = {"recipes": ["self"], "folds": 2, "share": 0.4}


@pytest.fixture(scope="module")
def module_store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def taught(tiny, tmp_path, module_store):
    """A student, its folder and the data, trained."""
    config = tiny(training={"teacher": TEACHER})
    folder = tmp_path / "run"
    train_run(config, folder, module_store)
    return config, folder, prepare_data(config, module_store)


def predicted(folder: Path) -> dict[str, float]:
    table = read_predictions(RunFolder(folder).predictions("test"), "cherry_pit")
    return dict(zip(table.paths, table.scores.tolist(), strict=True))


def test_teachers_are_asked_out_of_fold_and_see_nothing_but_fit(taught) -> None:
    _config, folder, data = taught
    names = np.array(data.dataset.paths)
    fit = set(names[data.split.fit])
    asked = [predicted(RunFolder(folder).teacher(0, fold)) for fold in (0, 1)]
    assert set(asked[0]) | set(asked[1]) == fit
    assert not set(asked[0]) & set(asked[1])
    records = [read_record(RunFolder(folder).teacher(0, fold)) for fold in (0, 1)]
    for record, own, other in zip(records, asked, reversed(asked), strict=True):
        assert record is not None
        assert (record.data.fit, record.data.calibration, record.data.test) == (
            len(other),
            0,
            len(own),
        )
    groups = dict(zip(data.dataset.paths, data.groups.tolist(), strict=True))
    sides = [{groups[path] for path in paths} for paths in asked]
    assert not sides[0] & sides[1]


def test_targets_are_shared_between_label_and_teacher(taught) -> None:
    config, folder, data = taught
    found = soft_targets(config, folder, data)
    assert found is not None
    label = data.dataset.is_defect.astype(float)
    others = np.setdiff1d(np.arange(len(label)), data.split.fit)
    np.testing.assert_array_equal(found.defect[others], label[others])
    logits: dict[str, float] = {}
    for fold in (0, 1):
        path = RunFolder(RunFolder(folder).teacher(0, fold)).predictions("test")
        table = read_predictions(path, "cherry_pit")
        logits |= dict(zip(table.paths, table.logits.tolist(), strict=True))
    (temperature,) = found.record.temperatures
    contradicted = 0
    for item in data.split.fit:
        chance = 1 / (1 + np.exp(-logits[data.dataset.paths[item]] / temperature))
        assert found.defect[item] == pytest.approx(0.6 * label[item] + 0.4 * chance, abs=1e-6)
        contradicted += (chance > 0.5) != label[item]
    record = read_record(folder)
    assert record is not None
    assert record.teacher == found.record
    assert (record.teacher.items, record.teacher.contradicted) == (
        len(data.split.fit),
        contradicted,
    )


def test_a_killed_student_goes_on_and_a_finished_one_asks_nobody(
    taught, module_store, monkeypatch
) -> None:
    config, folder, _data = taught
    weights = RunFolder(folder).weights.read_bytes()
    shutil.rmtree(folder)
    stamps = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*.safetensors")}
    assert stamps
    assert not train_run(config, folder, module_store, resume=True).already_done
    assert RunFolder(folder).weights.read_bytes() == weights
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    monkeypatch.setattr("drupe.training.run.train_teachers", None)
    assert train_run(config, folder, module_store, resume=True).already_done


def test_a_folder_of_another_run_is_refused_before_a_teacher_is_trained(
    tiny, tmp_path, module_store
) -> None:
    folder = tmp_path / "run"
    train_run(tiny(), folder, module_store)
    with pytest.raises(InputError, match="already holds another run"):
        train_run(tiny(training={"teacher": TEACHER}), folder, module_store, resume=True)
    assert not RunFolder(folder).teacher(0, 0).exists()


def test_several_recipes_are_averaged(tiny, tmp_path, module_store) -> None:
    other = {
        "model": {"architecture": "test_vit", "pretrained": False},
        "input": {"size": 64, "resolution": 160},
        "training": {"epochs": 1, "batch_size": 16},
    }
    config = tiny(input={"views": 2}, training={"teacher": {**TEACHER, "recipes": ["self", other]}})
    folder = tmp_path / "run"
    train_run(config, folder, module_store)
    document = json.loads(RunFolder(folder).record.read_text())["teacher"]
    assert document["architectures"] == ["test_efficientnet", "test_vit"]
    assert len(document["runs"]) == len(set(document["runs"])) == 4
    assert len(document["temperatures"]) == 2


def test_folds_of_a_student_that_is_itself_judged_inside_fit(tiny, tmp_path, module_store) -> None:
    config = tiny(training={"teacher": TEACHER}, data={"inner": {"fold": 1, "folds": 2}})
    folder = tmp_path / "run"
    train_run(config, folder, module_store)
    own = set(predicted(folder))
    for fold in (0, 1):
        assert not own & set(predicted(RunFolder(folder).teacher(0, fold)))
