from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from drupe.data.dataset import open_dataset
from drupe.data.synthetic.generation import synthesise
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.predictions_csv import read_predictions
from drupe.models.ensemble import Ensemble
from drupe.runs.record import read_record
from drupe.training import ensemble as ensemble_module
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.ensemble import EnsembleRequest, make_ensemble
from drupe.training.fresh import calibrate_on_fresh
from drupe.training.learnt import read_digests
from drupe.training.members import ensemble_identity
from drupe.training.run import train_run
from drupe.training.saved import evaluate_run, load_network
from drupe.training.tensor_file import load_tensors, save_tensors

SETTINGS = {
    "A": {"input": {"crop": 48, "range": "unit"}},
    "B": {"model": {"architecture": "test_resnet"}, "seed": 7},
    "C": {"seed": 8},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, crops, store) -> dict[str, Path]:
    """Three trained runs on the same data and split."""
    from drupe.training.config import validate_experiment

    folder = tmp_path_factory.mktemp("members")
    base = {
        "model": {"architecture": "test_efficientnet", "pretrained": False},
        "input": {"size": 64},
        "data": {"root": str(crops)},
        "training": {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "threads": 1},
    }
    for name, own in SETTINGS.items():
        merged = {
            key: {**base.get(key, {}), **value} if isinstance(value, dict) else value
            for key, value in own.items()
        }
        train_run(validate_experiment({**base, "name": name, **merged}, name), folder / name, store)
    return {name: folder / name for name in SETTINGS}


@pytest.fixture(scope="module")
def ensemble(runs, store, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble") / "AB"
    request = EnsembleRequest((runs["A"], runs["B"]), "AB")
    assert not make_ensemble(request, folder, store).already_done
    return folder


def logits(run: Path, split: str) -> np.ndarray:
    table = read_predictions(run / "predictions" / f"{split}.csv")
    assert table.logits is not None
    return table.logits


@pytest.mark.parametrize("split", ["calibration", "test"])
def test_its_scores_are_the_mean_of_its_members_calibrated_logits(runs, ensemble, split) -> None:
    temperatures = [load_network(runs[name])[1].temperature for name in "AB"]
    members = [logits(runs[name], split) for name in "AB"]
    expected = sum(z / t for z, t in zip(members, temperatures, strict=True)) / 2

    assert np.allclose(logits(ensemble, split), expected, atol=1e-4)
    table = read_predictions(ensemble / "predictions" / f"{split}.csv")
    temperature = load_network(ensemble)[1].temperature
    assert np.allclose(table.scores, 1 / (1 + np.exp(-expected / temperature)), atol=1e-5)
    own = read_predictions(runs["A"] / "predictions" / f"{split}.csv")
    assert table.paths == own.paths


def test_the_saved_network_decides_raw_bytes_as_the_predictions_say(ensemble, store, crops) -> None:
    dataset = open_dataset(crops, store=store, size=64)
    test = read_predictions(ensemble / "predictions" / "test.csv")
    images = dataset.images[[dataset.paths.index(path) for path in test.paths]]

    network, metadata = load_network(ensemble)
    with torch.inference_mode():
        found = network.defect_logit(torch.from_numpy(images)).numpy()

    assert isinstance(network, Ensemble)
    assert not network.training
    assert metadata.architecture == "ensemble of test_efficientnet, test_resnet"
    assert metadata.size == 64
    assert np.allclose(found, test.logits, atol=1e-4)


def test_it_says_what_it_is_made_of(runs, ensemble) -> None:
    record = read_record(ensemble)
    assert record is not None
    assert (record.status, record.name, record.experiment) == ("done", "AB", "AB")
    assert [member.run for member in record.members] == ["A seed 42", "B seed 7"]
    assert [member.folder for member in record.members] == [str(runs["A"]), str(runs["B"])]
    weights = [member.weights for member in record.members]
    assert record.identity == ensemble_identity(weights, record.data.fingerprint)
    assert read_run_predictions(ensemble).name == "AB"
    config = (ensemble / "config.yaml").read_text()
    assert "crop:" not in config  # each member has its own
    assert "epochs:" not in config


def test_judging_it_again_gives_the_same_files(ensemble, store, tmp_path) -> None:
    copy = shutil.copytree(ensemble, tmp_path / "copy")
    evaluate_run(copy, store)
    for file in ("predictions/test.csv", "predictions/calibration.csv", "evaluation.json"):
        assert (copy / file).read_bytes() == (ensemble / file).read_bytes()


def test_the_same_again_does_nothing_and_others_are_refused(
    runs, ensemble, store, tmp_path
) -> None:
    folder = shutil.copytree(ensemble, tmp_path / "AB")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    again = make_ensemble(EnsembleRequest((runs["A"], runs["B"]), "AB"), folder, store)
    assert again.already_done
    for members in ("AC", "BA", "ABC"):
        request = EnsembleRequest(tuple(runs[name] for name in members), "AB")
        with pytest.raises(InputError, match=r"already holds another run \(other members\)"):
            make_ensemble(request, folder, store)
    with pytest.raises(InputError, match=r"another run \(C seed 8, no ensemble\)"):
        make_ensemble(EnsembleRequest((runs["A"], runs["B"]), "AB"), runs["C"], store)

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_was_interrupted_is_made_whatever_its_members(runs, ensemble, store, tmp_path) -> None:
    folder = shutil.copytree(ensemble, tmp_path / "AB")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}))
    (folder / "model.safetensors").unlink()

    make_ensemble(EnsembleRequest((runs["A"], runs["C"]), "AC"), folder, store)

    found = read_record(folder)
    assert found is not None
    assert found.status == "done"
    assert [member.run for member in found.members] == ["A seed 42", "C seed 8"]


@pytest.mark.parametrize("stopped", ["write_config", "judge", "write_digests", "save_ensemble"])
def test_stopped_anywhere_the_same_again_makes_it(
    runs, ensemble, store, tmp_path, monkeypatch, stopped: str
) -> None:
    request = EnsembleRequest((runs["A"], runs["B"]), "AB")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ensemble_module, stopped, stop)
        with pytest.raises(KeyboardInterrupt):
            make_ensemble(request, tmp_path / "AB", store)
    assert not make_ensemble(request, tmp_path / "AB", store).already_done
    for name in ("predictions/test.csv", "trained-on.txt", "model.safetensors"):
        assert (tmp_path / "AB" / name).read_bytes() == (ensemble / name).read_bytes()


def test_a_failure_is_on_record_and_leaves_the_members_alone(
    runs, store, tmp_path, monkeypatch
) -> None:
    def fail(*arguments) -> None:
        raise OSError("disk full")

    before = {path: path.read_bytes() for path in runs["A"].rglob("*") if path.is_file()}
    with monkeypatch.context() as patched:
        patched.setattr("drupe.training.ensemble.save_ensemble", fail)
        with pytest.raises(OSError, match="disk full"):
            make_ensemble(EnsembleRequest((runs["A"], runs["B"]), "AB"), tmp_path / "AB", store)
    record = read_record(tmp_path / "AB")
    assert record is not None
    assert (record.status, record.error) == ("failed", "OSError: disk full")
    assert before == {path: path.read_bytes() for path in runs["A"].rglob("*") if path.is_file()}

    make_ensemble(EnsembleRequest((runs["A"], runs["B"]), "AB"), tmp_path / "AB", store)


def test_new_crops_certify_it(ensemble, store, tmp_path) -> None:
    synthesise(tmp_path / "fresh", images=40, size=64, seed=99)
    model = read_run_predictions(ensemble)
    renewed = calibrate_on_fresh(model, ensemble, tmp_path / "fresh", store)
    assert renewed.calibration is not None
    assert len(renewed.calibration.table) == 40
    assert renewed.measured_on == model.measured_on


def test_no_folds_are_trained_for_it(ensemble, store) -> None:
    with pytest.raises(InputError, match="is an ensemble of 2 runs"):
        calibrate_on_folds(read_run_predictions(ensemble), ensemble, 2, store)


def test_training_does_not_go_on_in_its_folder(ensemble, store, tiny) -> None:
    with pytest.raises(InputError, match="an ensemble of 2 runs"):
        train_run(tiny(), ensemble, store, resume=True)


def test_moved_data_is_the_same_data_and_other_data_is_refused(
    runs, store, tmp_path, crops
) -> None:
    moved = shutil.copytree(crops, tmp_path / "moved")
    request = EnsembleRequest((runs["A"], runs["B"]), "AB", moved)
    make_ensemble(request, tmp_path / "AB", store)
    next((moved / "val" / "cherry_pit").iterdir()).unlink()

    with pytest.raises(InputError, match="must be the data of the runs"):
        make_ensemble(request, tmp_path / "other", store)
    assert not (tmp_path / "other").exists()


def test_a_damaged_file_is_refused(ensemble, tmp_path) -> None:
    folder = shutil.copytree(ensemble, tmp_path / "AB")
    file = folder / "model.safetensors"
    tensors, document = load_tensors(file)
    first, second = document["members"]
    smaller = {**second, "input": {**second["input"], "size": 32}}
    lacking = {name: one for name, one in tensors.items() if not name.startswith("1/")}
    for kept, header in (
        (tensors, {**document, "members": [first]}),
        (tensors, {**document, "members": [first, smaller]}),
        (tensors, {**document, "members": [first, {}]}),
        (lacking, document),
    ):
        save_tensors(file, kept, header)
        with pytest.raises(InputError, match=r"model\.safetensors"):
            load_network(folder)


def test_what_its_members_have_learnt_from_is_not_new_to_it(runs, ensemble) -> None:
    members = [read_digests(runs[name]) for name in "AB"]
    assert read_digests(ensemble) == members[0] | members[1] != frozenset()


def test_an_ensemble_as_a_teacher_stands_for_the_recipes_of_its_members(tiny, ensemble) -> None:
    config = tiny(training={"teacher": {"recipes": [str(ensemble)]}})
    recipes = config.training.teacher.recipes
    assert [one.model.architecture for one in recipes] == ["test_efficientnet", "test_resnet"]
    assert [one.input.crop for one in recipes] == [48, "none"]


def test_a_run_that_goes_on_from_another_is_no_member(runs, tiny, store, tmp_path) -> None:
    child = tmp_path / "child"
    train_run(tiny(training={"init": str(runs["C"]), "epochs": 1}), child, store)
    with pytest.raises(InputError, match=r"goes on from an earlier run \(training\.init\)"):
        make_ensemble(EnsembleRequest((runs["C"], child), "E"), tmp_path / "E", store)


def test_a_run_goes_on_from_one_network(ensemble, tiny, store, tmp_path) -> None:
    config = tiny(training={"init": str(ensemble)})
    with pytest.raises(InputError, match="must be a run of one network, got the ensemble"):
        train_run(config, tmp_path / "run", store)
