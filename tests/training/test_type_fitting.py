"""The type head of a run: fitted after training, so that the decision is what it is without it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from drupe.data.synthetic.generation import synthesise
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.type_confusion import TypeConfusion
from drupe.models.geometry import Geometry
from drupe.models.network import build_network
from drupe.runs.evaluation_file import read_evaluation
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record
from drupe.training.config import ExperimentConfig, validate_experiment
from drupe.training.ensemble import EnsembleRequest, make_ensemble
from drupe.training.image_batches import ImageSource
from drupe.training.preparation import PreparedData, prepare_data
from drupe.training.run import train_run
from drupe.training.saved import evaluate_run, load_network
from drupe.training.type_fitting import fit_types, joined_types, read_types
from run_files import without_types

TYPES = ("pit", "split", "stem")


def configured(crops: Path, seed: int = 0, **data: object) -> ExperimentConfig:
    return validate_experiment(
        {
            "seed": seed,
            "model": {"architecture": "test_efficientnet", "pretrained": False},
            "input": {"size": 64, "views": 2},
            "data": {"root": str(crops), **data},
            "training": {"epochs": 1, "batch_size": 16, "threads": 1},
        },
        "typed.yaml",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The same crops twice: by type, and with all defects in one class."""
    folder = tmp_path_factory.mktemp("types")
    synthesise(folder / "typed", images=160, size=64, seed=5, types=3)
    shutil.copytree(folder / "typed", folder / "plain")
    for split in ("train", "val"):
        defect = folder / "plain" / split / "defect"
        defect.mkdir()
        for name in TYPES:
            (folder / "plain" / split / name).rename(defect / name)
    train_run(configured(folder / "typed", good="clean"), folder / "run", folder / "store")
    train_run(configured(folder / "plain"), folder / "two-class", folder / "store")
    return folder


@pytest.fixture
def run(folder) -> Path:
    return folder / "run"


@pytest.fixture
def prepared(folder) -> PreparedData:
    return prepare_data(configured(folder / "typed", good="clean"), folder / "store")


def source_of(data: PreparedData) -> ImageSource:
    return ImageSource(data.dataset.images, data.dataset.is_defect, torch.device("cpu"))


def test_weights_scores_and_certificate_are_those_of_two_classes(folder, run) -> None:
    other = folder / "two-class"
    assert RunFolder(run).types.exists()
    assert not RunFolder(other).types.exists()
    assert RunFolder(run).weights.read_bytes() == RunFolder(other).weights.read_bytes()
    typed, plain = read_run_predictions(run), read_run_predictions(other)
    for name in ("calibration", "test"):
        one, two = getattr(typed, name).table, getattr(plain, name).table
        assert one.logits.tobytes() == two.logits.tobytes()
        assert one.scores.tobytes() == two.scores.tobytes()
    request = Request(0.5, 0.8)
    certificates = [operating_point(one, request).certificate for one in (typed, plain)]
    assert replace(certificates[0], data_fingerprint="") == replace(
        certificates[1], data_fingerprint=""
    )


def test_the_confusion_counts_what_the_kept_head_says_of_distinct_test_defects(
    run, prepared
) -> None:
    network, _ = load_network(run)
    head = read_types(run, network)
    assert head.names == TYPES
    test = read_run_predictions(run).test
    assert len(test.distinct) == len(test.table)
    items = prepared.split.test[prepared.dataset.is_defect[prepared.split.test]]
    images = torch.from_numpy(prepared.dataset.images[items])
    # By hand: timm's own way to the features, with the two views one after the other.
    logits = []
    with torch.no_grad():
        for seen in (images, images.flip(2)):
            maps = network.backbone.forward_features(seen.permute(0, 3, 1, 2).float())
            logits.append(
                head.linear[0](network.backbone.forward_head(maps, pre_logits=True)).numpy()
            )
    said = np.array(TYPES)[np.mean(logits, axis=0).argmax(1)]
    true = np.array([prepared.dataset.types[item] for item in items])

    found = json.loads((run / "evaluation.json").read_text())["test"]["distinct"]["types_said"]

    assert found["names"] == list(TYPES)
    for row in found["rows"]:
        assert row["said"] == [int(((true == row["name"]) & (said == one)).sum()) for one in TYPES]
        assert row["defects"] == int((true == row["name"]).sum())
    assert found["accuracy"]["successes"] == int((true == said).sum())
    assert found["accuracy"]["trials"] == len(items)


def test_the_head_fits_the_defects_of_fit_alone_and_is_the_same_each_time(run, prepared) -> None:
    network, _ = load_network(run)
    generator = torch.random.get_rng_state()
    again = fit_types(network, prepared, source_of(prepared)).head.linear[0]
    assert torch.equal(torch.random.get_rng_state(), generator)
    kept = read_types(run, network).linear[0]
    assert torch.allclose(again.weight, kept.weight, rtol=1e-3, atol=1e-4)
    types = list(prepared.dataset.types)
    for item in (*prepared.split.calibration, *prepared.split.test):
        types[item] = "pit" if types[item] else ""
    others = replace(prepared, dataset=replace(prepared.dataset, types=tuple(types)))
    same = fit_types(network, others, source_of(prepared)).head.linear[0]
    assert torch.equal(same.weight, again.weight)


def without(prepared: PreparedData, side: str, name: str, instead: str) -> PreparedData:
    types = list(prepared.dataset.types)
    for item in getattr(prepared.split, side):
        types[item] = instead if types[item] == name else types[item]
    return replace(prepared, dataset=replace(prepared.dataset, types=tuple(types)))


def test_types_that_fit_lacks_are_named_with_their_counts(run, prepared) -> None:
    network, _ = load_network(run)
    fitted = fit_types(network, without(prepared, "fit", "stem", ""), source_of(prepared))
    assert fitted.head.names == ("pit", "split")
    counts = [
        sum(prepared.dataset.types[item] == "stem" for item in side)
        for side in (prepared.split.calibration, prepared.split.test)
    ]
    assert fitted.notes == (
        "types that the network can't name, because there are none to learn from (fit): stem "
        f"({counts[0]} in calibration, {counts[1]} in test); their defects are called one of pit, "
        "split",
    )


def test_where_nothing_can_be_told_the_reason_is(run, prepared) -> None:
    network, _ = load_network(run)
    one = without(without(prepared, "fit", "stem", "pit"), "fit", "split", "pit")
    (note,) = fit_types(network, one, source_of(prepared)).notes
    assert note.endswith("the defects to learn from (fit) are all of the type pit")
    network.backbone.classifier = nn.Sequential(network.backbone.classifier)
    fitted = fit_types(network, prepared, source_of(prepared))
    assert fitted.head is None
    assert fitted.notes == (
        "types of defects can't be told: the network's last layer isn't a single linear one",
    )
    untyped = replace(prepared, dataset=replace(prepared.dataset, types=None))
    assert fit_types(network, untyped, source_of(prepared)).notes == ()


def test_a_run_says_what_it_cannot_name(folder, tmp_path) -> None:
    """Only calibration and test have stems: those of train that fall to fit are left out."""
    typed = configured(folder / "typed", good="clean")
    data = prepare_data(typed, folder / "store")
    crops = shutil.copytree(folder / "typed", tmp_path / "crops")
    for item in data.split.fit:
        if data.dataset.types[item] == "stem":
            (crops / data.dataset.paths[item]).unlink()
    train_run(configured(crops, good="clean"), tmp_path / "run", tmp_path / "store")

    (note,) = read_record(tmp_path / "run").data.notes
    assert note.startswith("types that the network can't name")
    assert "stem (" in note
    assert " in calibration, " in note
    evaluation = read_evaluation(tmp_path / "run")
    said = TypeConfusion.of_record(evaluation.test.distinct.types_said)
    assert said.names == ("pit", "split")
    assert said.unnamed == ("stem",)


def test_evaluating_again_says_the_same(run, folder, tmp_path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    before = (copied / "evaluation.json").read_text()
    evaluate_run(copied, folder / "store")
    assert (copied / "evaluation.json").read_text() == before
    assert read_record(copied).data.notes == read_record(run).data.notes
    without_types(copied)
    evaluate_run(copied, folder / "store")
    assert "types_said" not in json.loads((copied / "evaluation.json").read_text())["test"]


def test_an_ensemble_means_its_members_logits(run, folder, tmp_path) -> None:
    config = configured(folder / "typed", seed=1, good="clean")
    train_run(config, tmp_path / "other", folder / "store")
    request = EnsembleRequest((run, tmp_path / "other"), "both")
    make_ensemble(request, tmp_path / "both", folder / "store")
    network, _ = load_network(tmp_path / "both")
    head = read_types(tmp_path / "both", network)
    assert len(head.linear) == 2
    own = [load_network(one)[0] for one in request.runs]
    for layer, one, member in zip(head.linear, request.runs, own, strict=True):
        assert torch.equal(layer.weight, read_types(one, member).linear[0].weight)
    logits = [torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[5.0, 1.0, 0.0]])]
    assert head.scores(logits).numpy() == pytest.approx(
        torch.tensor([[2.5, 1.5, 0.5]]).softmax(1).numpy()
    )
    said = json.loads((tmp_path / "both" / "evaluation.json").read_text())
    assert said["test"]["distinct"]["types_said"]["names"] == list(TYPES)
    assert read_record(tmp_path / "both").data.notes == read_record(run).data.notes
    none = joined_types([head, None])
    assert none.head is None
    assert "got pit, split, stem; none" in none.notes[0]


def test_a_file_that_does_not_fit_is_refused(run, folder, tmp_path) -> None:
    copied = shutil.copytree(run, tmp_path / "run")
    network, _ = load_network(copied)
    other = build_network(
        "test_resnet", input_range="raw", geometry=Geometry(64), pretrained=False, frozen=False
    ).network
    with pytest.raises(InputError, match=r"types\.safetensors: must hold layers of the shapes"):
        read_types(copied, other)
    RunFolder(copied).types.write_bytes(b"torn")
    with pytest.raises(InputError, match=r"types\.safetensors: must be the file that belongs to"):
        evaluate_run(copied, folder / "store")
    RunFolder(copied).types.unlink()
    with pytest.raises(InputError, match=r"types\.safetensors"):
        read_types(copied, network)
