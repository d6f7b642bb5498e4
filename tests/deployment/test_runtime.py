from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from PIL import Image

from bundle_files import Answering, change, rewrite
from drupe.deployment import backends
from drupe.deployment.bundle import verify_bundle
from drupe.deployment.manifest import file_digest
from drupe.deployment.runtime import load
from drupe.errors import InputError
from drupe.evaluation.lanes import Thresholds
from drupe.evaluation.predictions_csv import read_predictions


@pytest.fixture(params=["onnxruntime", "openvino"])
def classifier(request, bundle):
    return load(bundle, backend=request.param, threads=1)


def test_scores_are_those_that_were_tested(deployed, classifier) -> None:
    run, _, _ = deployed
    table = read_predictions(run / "predictions" / "test.csv")
    root = run.parent / "crops"
    scores = classifier.scores([root / path for path in table.paths])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, table.scores, atol=1e-4)
    low, high = classifier.function.low, classifier.function.high
    expected = np.where(table.scores < low, "accept", "review")
    expected = np.where(table.scores >= high, "reject", expected)
    assert classifier.decide([root / path for path in table.paths]).tolist() == expected.tolist()


def test_one_image_or_many(classifier, crops, tmp_path) -> None:
    Image.fromarray(crops[0]).save(tmp_path / "one.png")
    many = classifier.scores(crops)
    assert many.shape == (5,)
    for one in (crops[0], tmp_path / "one.png", str(tmp_path / "one.png")):
        assert classifier.scores(one) == pytest.approx(many[0], abs=1e-6)
        assert classifier.decide(one) in {"accept", "review", "reject"}
    np.testing.assert_allclose(classifier.scores(list(crops)), many, atol=1e-6)
    assert classifier.scores([crops[0], tmp_path / "one.png"]).shape == (2,)


def test_lanes_are_those_of_the_thresholds(classifier) -> None:
    low, high = np.float32(classifier.function.low), np.float32(classifier.function.high)
    below = np.nextafter(low, np.float32(0))
    assert classifier.decide_scores(np.array([below, low])).tolist()[0] == "accept"
    assert classifier.decide_scores(np.array([low, high]))[0] != "accept"
    assert classifier.decide_scores(np.array([high]))[0] == "reject"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((64, 64), np.uint8), r"must be uint8 \[64, 64, 3\], got uint8 \[64, 64\]"),
        (np.zeros((64, 64, 4), np.uint8), r"got uint8 \[64, 64, 4\]"),
        (np.zeros((65, 64, 3), np.uint8), r"got uint8 \[65, 64, 3\]"),
        (np.zeros((2, 32, 32, 3), np.uint8), r"got uint8 \[32, 32, 3\]"),
        (np.zeros((64, 64, 3), np.float32), r"got float32 \[64, 64, 3\]"),
        (np.zeros((0, 64, 64, 3), np.uint8), "must hold at least one, got none"),
        ([], "must hold at least one, got none"),
        ([3], "must be a path or a uint8 array, got int"),
        ("absent.png", r"absent.png: can't be read \(no such file"),
    ],
)
def test_wrong_images_are_errors_never_decisions(classifier, images, message) -> None:
    for call in (classifier.scores, classifier.decide):
        with pytest.raises(InputError, match=message):
            call(images)


def test_a_wrong_array_in_a_list_is_named_by_its_place(classifier, crops) -> None:
    with pytest.raises(InputError, match=r"image 2: must be uint8 \[64, 64, 3\], got uint8 \[9, 9"):
        classifier.decide([crops[0], crops[1], np.zeros((9, 9, 3), np.uint8)])
    with pytest.raises(InputError, match="image 1: must be a path or a uint8 array, got NoneType"):
        classifier.decide([crops[0], None])


def test_an_answer_that_is_no_number_is_an_error(classifier, crops) -> None:
    classifier._session = Answering(lambda images: np.full(len(images), np.nan, np.float32))
    with pytest.raises(InputError, match="got nan from the graph"):
        classifier.decide(crops)


def test_threads_may_share_a_classifier(classifier) -> None:
    images = np.random.default_rng(1).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    expected = [classifier.scores(image) for image in images]
    wrong: list[int] = []

    def work(offset: int) -> None:
        for index in range(offset, offset + 80):
            if classifier.scores(images[index % 40]) != expected[index % 40]:
                wrong.append(index)

    workers = [threading.Thread(target=work, args=(10 * n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_a_graph_of_another_shape_is_refused(copied) -> None:
    change(copied, input={"size": 32})
    with pytest.raises(InputError, match=r"graph takes .* but the bundle promises"):
        load(copied)
    with pytest.raises(InputError, match=r"golden\.npz: images: must be uint8 \[G, 32, 32, 3\]"):
        verify_bundle(copied)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_that_a_backend_can_not_load(copied, backend) -> None:
    rewrite(copied, "fp32.onnx", b"no graph")
    with pytest.raises(InputError, match=rf"fp32\.onnx: {backend} can't load the graph \("):
        load(copied, backend=backend)
    with pytest.raises(InputError, match="can't load the graph"):
        verify_bundle(copied)


@pytest.mark.parametrize("images", [None, 3, object(), (one for one in ())])
def test_what_is_no_image_is_never_decided(copied, images) -> None:
    """None is what OpenCV returns for a frame that it couldn't read."""
    with pytest.raises(InputError, match="images: must be a path, a uint8 array or a sequence"):
        load(copied).decide(images)


def test_a_name_that_no_file_can_have(copied) -> None:
    with pytest.raises(InputError, match="can't be read"):
        load(copied).decide("a\0b.png")


def test_a_graph_that_is_not_from_bytes_to_a_score(copied) -> None:
    rewrite(copied, "fp32.onnx", mean_graph(onnx.TensorProto.UINT8, flat=False))
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(InputError, match=r"must give a score per image, float32 \[2\] for two"):
            load(copied, backend=backend)
    rewrite(copied, "fp32.onnx", mean_graph(onnx.TensorProto.FLOAT, flat=True))
    with pytest.raises(InputError, match=r"fp32\.onnx: the graph doesn't run on uint8 images"):
        load(copied, backend="onnxruntime")  # OpenVINO converts them itself, to the same scores


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_whose_scores_are_none_never_decides(copied, crops, backend) -> None:
    """Below 0 is below every threshold, and would be accepted."""
    graph = onnx.load_from_string(mean_graph(onnx.TensorProto.UINT8, flat=True))
    graph.graph.node[-1].output[0] = "mean"
    graph.graph.node.append(onnx.helper.make_node("Neg", ["mean"], ["score"]))
    rewrite(copied, "fp32.onnx", graph.SerializeToString())
    classifier = load(copied, order="rgb", backend=backend)  # black images give 0

    for call in (classifier.scores, classifier.decide):
        with pytest.raises(InputError, match=r"must be probabilities .* got -[0-9.]+ from"):
            call(crops)
    assert [one.passed for one in verify_bundle(copied)] == [False, False]

    graph.graph.node[-1].CopyFrom(
        onnx.helper.make_node("Add", ["mean", "four"], ["score"]),
    )
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([-4.06]), "four"))
    rewrite(copied, "fp32.onnx", graph.SerializeToString())
    with pytest.raises(InputError, match=r"fp32\.onnx: scores: must be .* got -4\.06"):
        load(copied, backend=backend)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_graph_whose_weights_are_elsewhere_is_not_loaded(copied, backend) -> None:
    graph = onnx.load_from_string((copied / "fp32.onnx").read_bytes())
    onnx.external_data_helper.convert_model_to_external_data(
        graph, location="weights.bin", size_threshold=0
    )
    for tensor in graph.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.ClearField("raw_data")
    rewrite(copied, "fp32.onnx", graph.SerializeToString())

    with pytest.raises(InputError, match=r"fp32\.onnx: the graph must hold all of its weights"):
        load(copied, backend=backend)
    with pytest.raises(InputError, match=r"fp32\.onnx: the graph must hold all of its weights"):
        verify_bundle(copied)


def mean_graph(kind: int, flat: bool) -> bytes:
    """Return a graph that calls the mean of an image its score."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axis"], ["score"], keepdims=not flat),
    ]
    shape = ["N"] if flat else ["N", 1]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", kind, ["N", 64, 64, 3])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, shape)],
        [onnx.numpy_helper.from_array(np.array([1]), "axis")],
    )
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


def test_a_machine_with_more_cores_than_threads_are_of_use(copied, monkeypatch) -> None:
    monkeypatch.setattr(backends, "available_cores", lambda: 384)
    assert backends.default_threads() == 256
    with pytest.raises(InputError, match="threads: must be a whole number"):
        load(copied, threads=True)
    assert load(copied, threads=np.int64(1)).threads == 1


@pytest.mark.parametrize("count", [0, -1, 10**6, 1.5, "a"])
def test_threads_and_callers_that_can_not_be(copied, count) -> None:
    for name in ("threads", "callers"):
        with pytest.raises(InputError, match=rf"{name}: must be a whole number in \[1, 256\]"):
            load(copied, **{name: count})


def test_without_a_certificate_it_runs_only_when_told_to(copied) -> None:
    document = json.loads((copied / "bundle.json").read_text())
    change(copied, functions=[one | {"certificate": None} for one in document["functions"]])
    with pytest.raises(InputError, match="holds no exact certificate for"):
        load(copied)
    assert not load(copied, uncertified=True).is_certified
    approximate = {"certificate": {"approximate": "cross-fitted"}}
    change(copied, functions=[one | approximate for one in document["functions"]])
    with pytest.raises(InputError, match="holds no exact certificate for"):
        load(copied)


def test_calibration_scores_are_optional_but_never_damaged(copied) -> None:
    document = json.loads((copied / "bundle.json").read_text())
    (copied / "calibration.npz").write_bytes(b"no archive")
    files = document["files"] | {"calibration.npz": file_digest(b"no archive")}
    change(copied, files=files)
    with pytest.raises(InputError, match=r"calibration\.npz: no calibration scores"):
        load(copied)
    del files["calibration.npz"]
    change(copied, files=files)
    with pytest.raises(InputError, match=r"files: must list calibration\.npz"):
        load(copied)
    change(copied, calibration=None)
    assert load(copied).calibration is None


@pytest.mark.parametrize("score", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize(("low", "high"), [(0.3, 0.7), (0.5, 0.5), (0.0, 1.0)])
def test_one_image_is_decided_as_many_are(copied, crops, score, low, high) -> None:
    document = json.loads((copied / "bundle.json").read_text())
    change(copied, functions=[one | {"low": low, "high": high} for one in document["functions"]])
    classifier = load(copied)
    for value in (score, np.nextafter(np.float32(score), 0), np.nextafter(np.float32(score), 1)):
        classifier._session = Answering(
            lambda images, value=value: np.full(len(images), value, np.float32)
        )
        expected = str(Thresholds(low, high).decide([value])[0])
        assert classifier.decide(crops[0]) == expected
        assert classifier.decide(crops).tolist() == [expected] * len(crops)


def test_callers_get_what_one_gets(bundle, crops) -> None:
    expected = load(bundle, backend="openvino", threads=1).scores(crops)
    classifier = load(bundle, backend="openvino", threads=1, callers=3)
    with ThreadPoolExecutor(3) as pool:
        for scores in pool.map(classifier.scores, [crops] * 12):
            np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_what_was_not_exported_is_not_run(bundle) -> None:
    with pytest.raises(InputError, match=r"must be run as one of: .*; got openvino int8"):
        load(bundle, backend="openvino", precision="int8")


def test_one_score_that_is_no_number_is_an_error(classifier, crops) -> None:
    for value in (np.nan, np.inf, -4.06, 1.5):
        classifier._session = Answering(lambda images, value=value: np.float32([value]))
        with pytest.raises(InputError, match="scores: must be probabilities"):
            classifier.decide(crops[0])
        with pytest.raises(InputError, match="scores: must be probabilities"):
            classifier.scores(crops[0])


def test_a_classifier_names_its_classes(classifier) -> None:
    assert classifier.classes == ("cherry_clean", "cherry_pit")


def test_a_line_that_is_asked_to_keeps_pictures(bundle, crops, tmp_path) -> None:
    classifier = load(bundle, order="rgb", capture=tmp_path / "captured")
    classifier.decide(crops[:3])
    (capture,) = classifier.watchers._all
    capture.close()
    (counts,) = (tmp_path / "captured").glob("*/counts.json")
    assert sum(json.loads(counts.read_text())["seen"].values()) == 3
