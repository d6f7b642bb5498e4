"""Types of defects from a folder to the line: trained, exported, run and predicted."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from bundle_files import change, rewrite
from drupe.cli.app import app
from drupe.data.synthetic.generation import synthesise
from drupe.deployment import type_agreement
from drupe.deployment.backends import open_session
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.export import Exported, export_run
from drupe.deployment.gate import GateError
from drupe.deployment.graph import export_graph
from drupe.deployment.manifest import read_manifest
from drupe.deployment.predict import predict
from drupe.deployment.runtime import load
from drupe.deployment.type_agreement import agreement, network_types
from drupe.errors import InputError
from drupe.evaluation.operating_point import Request
from drupe.models.ensemble import Ensemble
from drupe.models.type_head import TypeHead
from drupe.runs.evaluation_file import read_evaluation
from drupe.training.config import validate_experiment
from drupe.training.run import train_run
from drupe.training.saved import load_network
from drupe.training.type_fitting import read_types
from run_files import without_types

pytestmark = pytest.mark.thorough

TYPES = ("pit", "split", "stem")
REQUEST = Request(min_recall=0.5, confidence=0.8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("typed")
    synthesise(folder / "crops", images=500, size=64, seed=5, types=3)
    config = validate_experiment(
        {
            "model": {"architecture": "test_resnet", "pretrained": False},
            "input": {"size": 64, "range": "imagenet"},
            "data": {"root": str(folder / "crops"), "good": "clean"},
            "training": {"epochs": 10, "batch_size": 16, "learning_rate": 5e-3, "threads": 1},
        },
        "typed.yaml",
    )
    train_run(config, folder / "run", folder / "store")
    return folder


@pytest.fixture(scope="module")
def exported(folder) -> Exported:
    return export_run(
        folder / "run",
        folder / "bundle",
        folder / "store",
        precision="auto",
        request=REQUEST,
        threads=1,
    )


@pytest.fixture(scope="module")
def bundle(exported) -> Path:
    return exported.bundle


@pytest.fixture
def crops(folder) -> list[str]:
    return [str(path) for path in sorted((folder / "crops" / "val").rglob("*.png"))]


def test_types_are_told_far_better_than_chance(folder) -> None:
    said = read_evaluation(folder / "run").test.distinct.types_said
    commonest = max(row.defects for row in said.rows) / said.accuracy.trials
    assert said.accuracy.low > commonest + 0.05
    assert said.accuracy.trials == read_evaluation(folder / "run").test.distinct.defects


def test_every_function_says_what_pytorch_says(folder, exported) -> None:
    said = read_evaluation(folder / "run").test.distinct.types_said
    types = read_manifest(exported.bundle).types
    assert types.names == TYPES
    names = {f"{backend} {one}" for backend in ("onnxruntime", "openvino") for one in ("fp32",)}
    assert (
        names
        <= set(types.functions)
        == {one.function.name for one in exported.evaluation.functions}
    )
    for name, one in types.functions.items():
        assert one.images == one.typed == said.accuracy.trials
        if name in names:
            assert one.max_score_difference < 1e-4
            assert (one.same, one.right) == (one.images, said.accuracy.successes)
        else:
            assert one.same >= 0.9 * one.images
    assert exported.to_json()["types"]["names"] == list(TYPES)


def test_the_layer_of_types_stays_in_float_and_scores_stay_as_they_are(folder, bundle) -> None:
    network, metadata = load_network(folder / "run")
    bare = export_graph(network, metadata.temperature).content
    typed = (bundle / "fp32.onnx").read_bytes()
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    for backend in ("onnxruntime", "openvino"):
        one, two = (open_session(graph, backend, "fp32", 1) for graph in (bare, typed))
        assert len(one.outputs(images)) == 1
        scores, types = two.outputs(images)
        assert scores == pytest.approx(one(images), abs=1e-6)
        assert (types.dtype, types.shape) == (np.float32, (5, 3))
        assert types.sum(1) == pytest.approx(np.ones(5), abs=1e-6)
    graph = onnx.load(bundle / "int8.onnx").graph
    kept = [node for node in graph.node if any("type_layer.weight" in one for one in node.input)]
    assert len(kept) == 1
    assert kept[0].input[1].endswith("type_layer.weight")


def test_an_ensembles_graph_means_the_logits_of_its_members(folder) -> None:
    network, _ = load_network(folder / "run")
    head = read_types(folder / "run", network)
    turned = TypeHead(head.names, head.linear)
    other, _ = load_network(folder / "run")
    with torch.no_grad():
        for weight in other.backbone.conv1.parameters():
            weight.mul_(1.5)
    both = Ensemble([network, other], [1.0, 2.0])
    heads = TypeHead(head.names, [*head.linear, *turned.linear])
    images = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    content = export_graph(both.eval(), 1.5, "bgr", heads).content
    expected = network_types(both, heads, np.ascontiguousarray(images[..., ::-1]))
    for backend in ("onnxruntime", "openvino"):
        found = open_session(content, backend, "fp32", 1).outputs(images)[1]
        assert found == pytest.approx(expected, abs=1e-5)


class AllOdd:
    """A check of frames to which every image is a fault."""

    def faults(self, batch: np.ndarray) -> list[str]:
        return ["odd"] * len(batch)


def test_a_classifier_gives_the_type_of_what_it_does_not_accept(folder, bundle, crops) -> None:
    network, _ = load_network(folder / "run")
    head = read_types(folder / "run", network)
    for backend in ("onnxruntime", "openvino"):
        classifier = load(bundle, order="rgb", backend=backend, precision="fp32", threads=1)
        assert classifier.type_names == TYPES
        found = classifier.examine(crops)
        accepted = found.decisions == "accept"
        assert 0 < accepted.sum() < len(crops)
        images = np.stack([classifier.manifest.input.contract.of_file(one) for one in crops])
        likeliest = np.array(TYPES)[network_types(network, head, images).argmax(1)]
        silent = accepted | np.isnan(found.scores)
        assert found.types.tolist() == np.where(silent, "", likeliest).tolist()
        assert classifier.types(crops).tolist() == found.types.tolist()
        assert classifier.decide(crops).tolist() == found.decisions.tolist()
        told = int(np.flatnonzero(~silent)[0])
        assert classifier.types(crops[told]) == likeliest[told]
        classifier.frames = AllOdd()
        odd = classifier.examine(crops[told])
        assert (odd.decisions.tolist(), odd.types.tolist()) == (["review"], [""])


def test_predict_writes_them_beside_the_decision(bundle, crops, tmp_path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"no picture")
    out, lines = tmp_path / "out.csv", tmp_path / "out.jsonl"
    outputs = ["--csv", str(out), "--jsonl", str(lines), "--threads", "1"]
    done = CliRunner().invoke(app, ["predict", str(bundle), str(torn), *crops, *outputs])
    assert done.exit_code == 1  # one is torn
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "decision", "score", "error", "type"]
    found = load(bundle, threads=1).examine(crops)
    assert [row["type"] for row in rows] == ["", *found.types]
    assert [json.loads(line)["type"] for line in lines.read_text().splitlines()] == [
        "",
        *found.types,
    ]
    counts = {name: int((found.types == name).sum()) for name in TYPES}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    assert f"by the type that they look most like: {told}" in " ".join(done.output.split())


def test_a_bundle_without_types_is_what_it_was(folder, exported, crops, tmp_path) -> None:
    run = without_types(shutil.copytree(folder / "run", tmp_path / "run"))
    bare = export_run(run, tmp_path / "bare", folder / "store", request=REQUEST, threads=1).bundle
    assert "types" not in json.loads((bare / "bundle.json").read_text())
    assert "Types of defects" not in (bare / "model_card.md").read_text()
    with np.load(bare / "golden.npz") as golden:
        assert set(golden.files) == {"images", "onnxruntime_fp32", "openvino_fp32"}
    classifier = load(bare, threads=1, precision="fp32")
    assert classifier.examine(crops[:3]).types is None
    with pytest.raises(InputError, match="types: the bundle tells none"):
        classifier.types(crops[0])
    assert next(predict(classifier, crops[:1], workers=1)).type is None
    # One threshold, one certificate: types change nothing of the decision.
    typed = {one.function.name: one.function for one in exported.evaluation.functions}
    for one in classifier.manifest.functions:
        if exported.evaluation.certified_together == 1:
            assert (one.low, one.high) == (typed[one.name].low, typed[one.name].high)


def test_golden_samples_cover_types(bundle, tmp_path) -> None:
    found = {one.function.name: one for one in verify_bundle(bundle, threads=1)}
    assert all(one.passed for one in found.values())
    assert found["onnxruntime fp32"].to_json()["max_type_difference"] < 1e-5
    other = shutil.copytree(bundle, tmp_path / "other")
    with np.load(other / "golden.npz") as kept:
        arrays = dict(kept)
    arrays["onnxruntime_fp32_types"] = arrays["onnxruntime_fp32_types"][:, ::-1].copy()
    np.savez_compressed(other / "golden.npz", **arrays)
    rewrite(other, "golden.npz", (other / "golden.npz").read_bytes())
    off = {one.function.name: one.passed for one in verify_bundle(other, threads=1)}
    assert off["onnxruntime fp32"] is False
    assert off["openvino fp32"] is True


def test_a_graph_that_gives_other_types_than_promised_is_refused(bundle, tmp_path) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    types = json.loads((other / "bundle.json").read_text())["types"]
    change(other, types={**types, "names": [*TYPES, "bruise"]})
    with pytest.raises(InputError, match=r"must give scores of 4 types per image, got .*\[2, 3\]"):
        load(other, threads=1)


def test_fp32_that_says_other_types_is_no_export(folder, tmp_path, monkeypatch) -> None:
    def lying(*arguments: object) -> np.ndarray:
        return network_types(*arguments)[:, ::-1]

    monkeypatch.setattr(type_agreement, "network_types", lying)
    with pytest.raises(GateError, match="scores of types differ from those of the tested network"):
        export_run(
            folder / "run", tmp_path / "bundle", folder / "store", request=REQUEST, threads=1
        )
    assert not (tmp_path / "bundle").exists()


def test_the_model_card_says_what_types_are_worth(folder, bundle) -> None:
    card = (bundle / "model_card.md").read_text()
    right = read_evaluation(folder / "run").test.distinct.types_said.accuracy
    assert "tells pit, split, stem apart" in card
    assert f"({right.successes} of {right.trials}; 95 % interval" in card


def test_agreement_counts_only_known_types() -> None:
    expected = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    found = np.array([[0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], np.float32)
    one = agreement(("pit", "stem"), ["pit", "", "stem"], expected, found)
    assert (one.images, one.same, one.typed, one.right) == (3, 2, 2, 1)
    assert one.max_score_difference == pytest.approx(0.5)
