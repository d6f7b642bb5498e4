"""An ensemble's way to the line: one graph, through the same gate as any run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from drupe.data.image_contract import ImageContract
from drupe.data.synthetic.generation import synthesise
from drupe.deployment.backends import open_session, runs_here
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.eager import eager_subject
from drupe.deployment.export import Exported, export_run
from drupe.deployment.graph import export_graph
from drupe.deployment.model_card import CARD_FILE
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.operating_point import Request
from drupe.models.ensemble import Ensemble
from drupe.runs.record import read_record
from drupe.training.config import validate_experiment
from drupe.training.ensemble import EnsembleRequest, make_ensemble
from drupe.training.run import train_run
from drupe.training.saved import load_network

pytestmark = pytest.mark.thorough

REQUEST = Request(min_recall=0.8, confidence=0.8)
MEMBERS = {
    "A": {
        "model": {"architecture": "test_efficientnet", "pretrained": False},
        "input": {"size": 64, "range": "imagenet", "crop": 48, "views": 2},
    },
    "B": {
        "model": {"architecture": "test_resnet", "pretrained": False},
        "input": {"size": 64, "range": "unit", "crop": 56, "resolution": 48},
    },
}


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory) -> tuple[Path, Path]:
    """The run of two trained networks that see different things, and its store."""
    folder = tmp_path_factory.mktemp("ensemble")
    synthesise(folder / "crops", images=400, size=64, seed=5)
    for name, sections in MEMBERS.items():
        document = {
            "name": name,
            "data": {"root": str(folder / "crops")},
            "training": {"epochs": 4, "batch_size": 16, "learning_rate": 1e-3, "threads": 1},
        }
        train_run(validate_experiment({**document, **sections}, name), folder / name, folder / "s")
    request = EnsembleRequest(tuple(folder / name for name in MEMBERS), "AB")
    make_ensemble(request, folder / "AB", folder / "s")
    return folder / "AB", folder / "s"


@pytest.fixture(scope="module")
def exported(ensemble, tmp_path_factory) -> Exported:
    """Everything that this machine offers."""
    run, store = ensemble
    bundle = tmp_path_factory.mktemp("bundle") / "AB"
    return export_run(run, bundle, store, precision="auto", request=REQUEST, threads=1)


@pytest.mark.parametrize("share", [0.5, 3.0])
def test_the_graph_says_what_the_ensemble_says(ensemble, share) -> None:
    """At temperatures that let scores differ: ``share`` of the logits' own spread."""
    network, _ = load_network(ensemble[0])
    assert isinstance(network, Ensemble)
    images = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        z = network.defect_logit(torch.from_numpy(images))
        temperature = share * float(z.abs().mean())
        expected = torch.sigmoid(z / temperature).numpy()
    assert expected.std() > 1e-3
    graph = export_graph(network, temperature)
    for backend in ("onnxruntime", "openvino"):
        session = open_session(graph.content, backend, "fp32", 1)
        np.testing.assert_allclose(session(images), expected, atol=1e-5)
        np.testing.assert_allclose(session(images[:1]), expected[:1], atol=1e-5)


def test_it_is_one_graph_with_one_input_and_one_output(ensemble) -> None:
    network, _ = load_network(ensemble[0])
    graph = onnx.load_from_string(export_graph(network, 1.0).content).graph
    assert [one.name for one in graph.input] == ["images"]
    assert [one.name for one in graph.output] == ["score"]
    assert "BatchNormalization" not in {node.op_type for node in graph.node}


def test_no_decision_turns_in_fp32_and_the_others_are_certified_by_their_own_scores(
    exported,
) -> None:
    functions = {one.function.name: one.function for one in exported.evaluation.functions}
    computed = ["bf16"] if runs_here("openvino", "bf16") else []
    assert sorted(functions) == sorted(
        ["onnxruntime fp32", "openvino fp32", "onnxruntime int8", "openvino int8"]
        + [f"openvino {one}" for one in computed]
    )
    for name, function in functions.items():
        assert function.certificate is not None, name
        measured = function.certificate["measured_on"]
        assert measured["graph"] == exported.manifest.files[function.graph]
        assert measured["precision"] == function.precision
        if function.precision == "fp32":
            assert function.gate.flips == 0
            assert function.gate.max_score_difference < 1e-4
        else:
            assert function.gate.max_score_difference > 1e-4
            assert function.certificate["threshold"] == pytest.approx(function.low)
    assert exported.quantised is not None
    assert any(unit.quantised for unit in exported.quantised.units)


def test_the_bundle_says_what_it_is_made_of(ensemble, exported) -> None:
    record = read_record(ensemble[0])
    assert record is not None
    provenance = exported.manifest.provenance
    assert provenance["run"] == exported.manifest.name == "AB"
    assert provenance["architecture"] == "ensemble of test_efficientnet, test_resnet"
    assert [one["run"] for one in provenance["members"]] == ["A seed 42", "B seed 42"]
    assert [one["weights"] for one in provenance["members"]] == [
        member.weights for member in record.members
    ]
    folder = str(ensemble[0].parent)
    assert folder not in (exported.bundle / "bundle.json").read_text()
    card = (exported.bundle / CARD_FILE).read_text()
    for words in (
        "An ensemble: 2 networks stand in one graph",
        "| test_efficientnet | A seed 42 | 48 | – | 2 | imagenet |",
        "| test_resnet | B seed 42 | 56 | 48 | 1 | unit |",
        f"| member B seed 42 | identity {record.members[1].identity}",
    ):
        assert words in card
    assert "None" not in card
    parameters = sum(weight.numel() for weight in load_network(ensemble[0])[0].parameters())
    assert f"| parameters | {parameters:,} |" in card


def test_the_bundle_is_loaded_verified_and_timed_like_any_other(ensemble, exported) -> None:
    assert all(one.passed for one in verify_bundle(exported.bundle, 1))
    images = np.zeros((64, 64, 3), np.uint8)
    assert load(exported.bundle).decide(images) in ("accept", "reject")
    subject = eager_subject(ensemble[0], 1)
    assert subject.contract == ImageContract(64)
    assert len(subject.decide(images[None])) == 1


def test_plain_weights_of_several_networks_are_refused(ensemble, tmp_path) -> None:
    run, store = ensemble
    with pytest.raises(InputError, match="--format pt: needs a run of one network"):
        export_run(run, tmp_path / "bundle", store, request=REQUEST, state_dict=True)
    assert not (tmp_path / "bundle").exists()
