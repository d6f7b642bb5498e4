from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.special import expit, softmax

from drupe.data.synthetic.generation import synthesise
from drupe.deployment import functions
from drupe.deployment.backends import UnusableGraphError
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.certify import certification
from drupe.deployment.certify.fresh import calibrate_on_new
from drupe.deployment.export import export_run
from drupe.deployment.gate import GateError
from drupe.deployment.manifest import read_manifest
from drupe.deployment.runtime import load
from drupe.deployment.subjects import open_subjects
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.predictions_csv import read_predictions
from drupe.files import file_hash
from drupe.reporting.targets import find_target
from drupe.runs.record import read_record
from drupe.training.config import validate_experiment
from drupe.training.saved import evaluate_run
from onnx_files import changed, classifier

pytestmark = pytest.mark.thorough


def pictures(root: Path, run: Path) -> np.ndarray:
    """Return the test images as they lie on the disk, uint8 [N, H, W, 3]."""
    paths = read_predictions(run / "predictions" / "test.csv").paths
    return np.stack([np.asarray(Image.open(root / path).convert("RGB")) for path in paths])


def answers(model: Path, pixels: np.ndarray) -> np.ndarray:
    """Return what the file itself says of each image alone, float32 [N, K]."""
    session = onnxruntime.InferenceSession(model.read_bytes())
    name = session.get_inputs()[0].name
    return np.stack([session.run(None, {name: one[None]})[0].ravel() for one in pixels])


def unit(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2)


def from_torch(path: Path, **options) -> Path:
    """Write a network with PyTorch's exporter."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=4),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 2),
    ).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(1, 3, 64, 64),), path, verbose=False, external_data=False,
            **options,
        )  # fmt: skip
    return path


CASES = {
    "torch": (
        lambda path: from_torch(path, dynamo=True),
        {"scale": "0..1"},
        unit,
        lambda z: softmax(z, 1)[:, 1],
    ),
    "torch, the older exporter": (
        lambda path: from_torch(path, dynamo=False, opset_version=11),
        {"scale": "0..1"},
        unit,
        lambda z: softmax(z, 1)[:, 1],
    ),
    "NHWC, 0 to 255, softmax in the graph": (
        lambda path: classifier(path, layout="NHWC", end="Softmax"),
        {"scale": "0..255:100/50"},
        lambda images: (images.astype(np.float32) - np.float32(100)) / np.float32(50),
        lambda p: p[:, 1],
    ),
    "one logit, of the clean class": (
        lambda path: classifier(path, outputs=1),
        {"scale": "0..1", "positive": (0,)},
        unit,
        lambda z: expit(-z[:, 0]),
    ),
    "one logit": (
        lambda path: classifier(path, outputs=1),
        {"scale": "0..1"},
        unit,
        lambda z: expit(z[:, 0]),
    ),
    "one probability of the clean class": (
        lambda path: classifier(path, outputs=1, end="Sigmoid"),
        {"scale": "0..1", "positive": (0,)},
        unit,
        lambda p: 1 - p[:, 0],
    ),
    "three classes, two of them defects": (
        lambda path: classifier(path, outputs=3),
        {"scale": "0..1", "positive": (0, 2)},
        unit,
        lambda z: softmax(z, 1)[:, [0, 2]].sum(1),
    ),
    "two logits, a sigmoid each": (
        lambda path: classifier(path),
        {"scale": "0..1", "apply": "sigmoid", "positive": (0,)},
        unit,
        lambda z: expit(z[:, 0]),
    ),
    "BGR, ImageNet's numbers, log-softmax": (
        lambda path: classifier(path, end="LogSoftmax"),
        {"scale": "imagenet", "order": "bgr"},
        lambda images: (
            (
                (images[..., ::-1].astype(np.float32) / np.float32(255))
                - np.array([0.406, 0.456, 0.485], np.float32)
            )
            / np.array([0.225, 0.224, 0.229], np.float32)
        ).transpose(0, 3, 1, 2),
        lambda z: np.exp(z)[:, 1],
    ),
    "bytes": (
        lambda path: classifier(path, pixel=TensorProto.UINT8, layout="NHWC"),
        {},
        lambda images: images,
        lambda z: softmax(z, 1)[:, 1],
    ),
    "weights among the inputs, operators 8": (
        lambda path: classifier(path, ir=3, opset=8, end="Softmax"),
        {"scale": "0..1"},
        unit,
        lambda p: p[:, 1],
    ),
    "a reshape for one image": (
        lambda path: classifier(path, shape=[1, 3, 64, 64], reshape=True, opset=20),
        {"scale": "0..1"},
        unit,
        lambda z: softmax(z, 1)[:, 1],
    ),
    "several outputs": (
        lambda path: classifier(path, extra_outputs=1),
        {"scale": "0..1", "output": "score"},
        unit,
        lambda z: softmax(z, 1)[:, 1],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_the_file_itself(case, begin, small_synthetic, tmp_path) -> None:
    write, said, prepare, meaning = CASES[case]
    model = write(tmp_path / "best.onnx")
    begun = begin(model, **said)
    judged = begun.judge(tmp_path / "store", tmp_path / "run")
    images = pictures(small_synthetic, tmp_path / "run")
    expected = meaning(answers(model, np.ascontiguousarray(prepare(images))).astype(np.float64))
    found = read_predictions(tmp_path / "run" / "predictions" / "test.csv").scores
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.std() > 1e-4  # they tell something

    begun.deliver(judged, tmp_path / "bundle")
    assert judged.point.thresholds is not None
    for backend in ("onnxruntime", "openvino"):
        classifies = load(tmp_path / "bundle", order="rgb", backend=backend)
        np.testing.assert_allclose(classifies.scores(images), expected, atol=1e-5)
        lanes = judged.point.thresholds.decide(expected.astype(np.float32))
        assert list(classifies.decide_scores(classifies.scores(images))) == list(lanes)
    assert all(one.passed for one in verify_bundle(tmp_path / "bundle"))


@pytest.fixture(scope="module")
def certified(small_synthetic, tmp_path_factory):
    """A file, its certification, the run and the bundle."""
    folder = tmp_path_factory.mktemp("certified")
    request = certification.CertifyRequest(
        classifier(folder / "their best.onnx"),
        certification.GraphOptions(scale="0..1"),
        settings={"data": {"root": str(small_synthetic)}},
        unseen=True,
        asked=Request(min_recall=0.6, confidence=0.6),
    )
    begun = certification.GraphCertification.begin(request, folder / "store")
    judged = begun.judge(folder / "store")
    return folder, begun, judged, begun.deliver(judged, folder / "bundle")


def test_the_run_is_one_like_any_other(certified, small_synthetic) -> None:
    folder, begun, judged, _ = certified
    assert judged.run.parent == folder / "store" / "runs" / "certify"
    assert judged.run.name.startswith("their-best-")
    record, model = read_record(judged.run), read_run_predictions(judged.run)
    assert record is not None
    assert record.name == "their-best"
    assert record.is_graph
    assert record.imported.sha256 == file_hash(folder / "their best.onnx")
    assert model.measured_on.backend == "onnxruntime"
    assert model.measured_on.graph == file_hash(judged.run / "model.onnx")
    assert model.calibration.table.logits is None
    point = operating_point(model, Request(min_recall=0.6, confidence=0.6))
    assert point.certificate == judged.point.certificate
    evaluation = json.loads((judged.run / "evaluation.json").read_text())
    assert evaluation["certificate"]["threshold"] == judged.point.certificate.threshold
    (subject,) = open_subjects(judged.run, 1, every_function=False)
    assert (subject.backend, subject.contract.shape) == ("onnxruntime", (64, 64, 3))
    assert subject.decide(np.zeros((1, 64, 64, 3), np.uint8)).shape == (1,)
    again = begun.judge(folder / "store")
    assert (again.run, again.record.identity) == (judged.run, record.identity)
    assert find_target([folder / "bundle"], folder / "store").runs == (judged.run,)


def test_the_bundle_says_what_it_rests_on(certified) -> None:
    folder, _, judged, done = certified
    manifest = read_manifest(folder / "bundle")
    assert {one.name for one in manifest.functions} == {"onnxruntime fp32", "openvino fp32"}
    assert all(one.is_certified and one.gate.flips == 0 for one in manifest.functions)
    assert manifest.functions[0].gate.images == 50 + judged.record.data.calibration
    assert manifest.provenance["model_sha256"] == judged.imported.sha256
    assert manifest.input.sees[0]["apply"] == "softmax"
    assert done.refusal is None
    card = (folder / "bundle" / "model_card.md").read_text()
    for words in (
        "The network came as an ONNX file",
        "| pixels | pixel / 255 | --scale |",
        "| channels | rgb | assumed: --order bgr says otherwise |",
        "| a defect | output 1 | assumed: classes in sorted order",
        "Mind: that it has learnt from none of these images is somebody's word (--unseen)",
        "The tested network is the file as it came",
        "| architecture | their best.onnx |",
    ):
        assert words in card
    assert "None" not in card


def test_what_takes_a_network_in_pytorch_says_so(certified, tmp_path, small_synthetic) -> None:
    folder, _, judged, _ = certified
    store, run = folder / "store", judged.run
    experiment = {
        "model": {"architecture": "test_resnet", "pretrained": False},
        "training": {"init": str(run)},
    }
    for act in (
        lambda: evaluate_run(run, store),
        lambda: export_run(run, tmp_path / "bundle", store),
        lambda: validate_experiment(experiment, "next.yaml"),
    ):
        with pytest.raises(InputError, match=r"must be a run whose network PyTorch can run, got .*"
                           r"their best\.onnx: drupe certify"):  # fmt: skip
            act()


def test_new_crops_certify_it(certified, tmp_path) -> None:
    folder, _, judged, _ = certified
    synthesise(tmp_path / "fresh", images=40, size=64, seed=8)
    model = read_run_predictions(judged.run)
    new = calibrate_on_new(model, judged.run, tmp_path / "fresh", folder / "store")
    assert len(new.calibration.table) == 40
    assert new.calibration.table.logits is None
    assert operating_point(new, Request(min_recall=0.6, confidence=0.6)).certificate


def test_a_changed_graph_is_found(certified, tmp_path) -> None:
    copied = shutil.copytree(certified[2].run, tmp_path / "run")
    (copied / "model.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"model\.onnx: must be the file that belongs to this run"):
        read_run_predictions(copied)
    with pytest.raises(InputError, match="put that file back, or make the run anew"):
        open_subjects(copied, 1, every_function=False)


def test_nothing_is_certified_on_what_it_may_have_learnt(begin, tmp_path, small_synthetic) -> None:
    begun = begin(classifier(tmp_path / "best.onnx"), scale="0..1", unseen=False)
    judged = begun.judge(tmp_path / "store", tmp_path / "run")
    assert judged.point.certificate is None
    assert "are unknown" in judged.point.refusal.in_sample
    done = begun.deliver(judged, tmp_path / "bundle")
    assert not any(one.is_certified for one in done.manifest.functions)
    assert done.refusal is not None
    seen = json.loads((tmp_path / "run" / "run.json").read_text())["imported"]["seen"]
    assert seen == {"trained_on": None, "picked_on_test": False}


def test_listed_training_files_count(begin, tmp_path, small_synthetic) -> None:
    model = classifier(tmp_path / "best.onnx")
    listed = tmp_path / "files.txt"
    listed.write_text("train\n")
    begun = begin(model, scale="0..1", unseen=False, trained_on=listed)
    judged = begun.judge(tmp_path / "store", tmp_path / "run")
    assert "was trained on" in judged.point.refusal.in_sample
    assert len((tmp_path / "run" / "trained-on.txt").read_text().splitlines()) > 100
    assert "trained-on.txt" in judged.record.results
    with pytest.raises(InputError, match="--unseen, --trained-on: only one of them"):
        begin(model, scale="0..1", trained_on=listed)


def test_a_folder_of_another_run_is_refused(begin, tmp_path) -> None:
    model = classifier(tmp_path / "best.onnx")
    begin(model, scale="0..1").judge(tmp_path / "store", tmp_path / "run")
    with pytest.raises(
        InputError, match=r"already holds another run \(best: .*choose another --run"
    ):
        begin(model, scale="0..255").judge(tmp_path / "store", tmp_path / "run")


def test_a_runtime_that_decides_otherwise_stops_the_bundle(begin, tmp_path, monkeypatch) -> None:
    begun = begin(classifier(tmp_path / "best.onnx"), scale="0..1")
    judged = begun.judge(tmp_path / "store", tmp_path / "run")
    honest = functions.open_session

    def lying(*arguments):
        session = honest(*arguments)
        return lambda images: 1 - session(images)

    monkeypatch.setattr(functions, "open_session", lying)
    with pytest.raises(GateError, match="decisions differ from those of the tested network"):
        begun.deliver(judged, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_runtime_that_can_not_load_it_is_named(begin, tmp_path, monkeypatch) -> None:
    begun = begin(classifier(tmp_path / "best.onnx"), scale="0..1", backends=("onnxruntime",))
    judged = begun.judge(tmp_path / "store", tmp_path / "run")
    done = begun.deliver(judged, tmp_path / "one")
    assert [one.backend for one in done.manifest.functions] == ["onnxruntime"]

    def unusable(*arguments):
        raise UnusableGraphError("openvino can't load the graph (NonMaxSuppression)")

    monkeypatch.setattr(functions, "open_session", unusable)
    with pytest.raises(InputError, match=r"can't load the graph .*: --backend names the one"):
        begun.deliver(judged, tmp_path / "two")


def _token(model: onnx.ModelProto) -> None:
    """Add a constant of one image to the features: it can't be put beside those of several."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.ones((1, 8), np.float32), "token"))
    place = next(i for i, node in enumerate(graph.node) if node.op_type == "Gemm")
    for node in (
        helper.make_node("Concat", ["flat", "token"], ["pair"], axis=0),
        helper.make_node("ReduceMean", ["pair"], ["mixed"], axes=[0], keepdims=1),
    ):
        graph.node.insert(place, node)
        place += 1
    graph.node[place].input[0] = "mixed"


def _mixed(model: onnx.ModelProto) -> None:
    """Subtract the mean over the images, as a batch norm left in training does."""
    graph = model.graph
    place = next(i for i, node in enumerate(graph.node) if node.op_type == "Gemm")
    for node in (
        helper.make_node("ReduceMean", ["flat"], ["middle"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["flat", "middle"], ["centred"]),
        helper.make_node("Add", ["centred", "flat"], ["mixed"]),
    ):
        graph.node.insert(place, node)
        place += 1
    graph.node[place].input[0] = "mixed"


def _broken(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((8, 3, 5, 5), np.nan, np.float32), "kernel")
    )


def _wrong_size(model: onnx.ModelProto) -> None:
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = "side"


REFUSED = {
    "outside [0, 1]": (
        {},
        None,
        {"scale": "0..1", "apply": "none"},
        r"output score: must be probabilities in \[0, 1\] \(--apply\), got .*--apply sigmoid or",
    ),
    "probabilities that don't show": (
        {"flip": True},
        None,
        {"scale": "0..1"},
        r"looks like probabilities \(all of \d+ numbers lie in \[0, 1\]\).* give --apply none",
    ),
    "a sum of sigmoids": (
        {"outputs": 3},
        None,
        {"scale": "0..1", "apply": "sigmoid", "positive": (0, 1)},
        "several outputs add up to a probability only with --apply softmax or none, got 0,1",
    ),
    "NaN": ({}, _broken, {"scale": "0..1"}, "answers with NaN or infinity"),
    "one answer for all images": (
        {},
        _token,
        {"scale": "0..1"},
        "must (take several images at once, and can't|answer to several images at once)",
    ),
    "images that touch each other": (
        {},
        _mixed,
        {"scale": "0..1"},
        "must answer to several images at once as it does to each alone, got scores off by",
    ),
    "too small an image": (
        {},
        _wrong_size,
        {"scale": "0..1", "size": (2, 2)},
        r"input\.size",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_certified_is_one_message(case, begin, tmp_path) -> None:
    options, change, said, message = REFUSED[case]
    model = classifier(tmp_path / "best.onnx", **options)
    if change:
        changed(model, change)
    with pytest.raises(InputError, match=message):
        begin(model, **said)


def test_logits_that_lie_in_zero_to_one_can_be_said(begin, tmp_path) -> None:
    begun = begin(classifier(tmp_path / "best.onnx", flip=True), scale="0..1", apply="softmax")
    assert begun.scored.facts.origins["apply"] == "--apply"


def test_a_graph_that_does_not_run_is_named(begin, tmp_path) -> None:
    def other(model: onnx.ModelProto) -> None:
        model.graph.initializer[1].CopyFrom(
            numpy_helper.from_array(np.ones((9, 2), np.float32), "matrix")
        )

    path = changed(classifier(tmp_path / "best.onnx", shape=["N", 3, "h", "w"]), other)
    with pytest.raises(InputError, match=r"best\.onnx: .*(can't be run on images|can't load)"):
        begin(path, scale="0..1", size=64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": {"size": 3}}, "input: certify takes keys of calibration, data only"),
        ({"calibration": {"crossfit": 3}}, "calibration.crossfit: must be left out"),
        ({"data": {"root": None}}, "data.root: required"),
        ({"data": {"rot": 1}}, "data.rot: unknown key"),
    ],
)
def test_settings_that_mean_nothing_here(begin, tmp_path, settings, message) -> None:
    with pytest.raises(InputError, match=message):
        begin(classifier(tmp_path / "best.onnx"), scale="0..1", settings=settings)
