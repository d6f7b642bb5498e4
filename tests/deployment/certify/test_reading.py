from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from drupe.deployment.certify.options import GraphOptions, parse_scale
from drupe.deployment.certify.reading import (
    find_apply,
    find_output,
    find_positive,
    read_input,
    read_onnx,
)
from drupe.errors import InputError
from onnx_files import changed, classifier

CLASSES = ("clean", "bad")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "best.onnx"


def test_what_a_shape_tells_is_found(path) -> None:
    found = read_input(read_onnx(classifier(path)), GraphOptions(scale="0..1"))
    assert (found.name, found.layout, found.size, found.channels) == ("images", "NCHW", 64, "rgb")
    assert found.scale == parse_scale("0..1", "rgb")
    assert not found.fixed
    assert found.origins["layout"] == found.origins["size"] == "the graph"
    assert found.origins["channels"].startswith("assumed")
    assert found.origins["scale"] == "--scale"


def test_what_metadata_tell_is_found(path) -> None:
    metadata = {
        "Image__BitmapPixelFormat": "Bgr8",
        "Image__NominalPixelRange": "Normalized_1_1",
        "names": "{0: 'bad', 1: 'clean'}",
    }
    file = read_onnx(classifier(path, **metadata))
    found = read_input(file, GraphOptions())
    assert found.channels == "bgr"
    assert found.scale == parse_scale("-1..1", "bgr")
    assert found.origins["channels"] == found.origins["scale"] == "the file's metadata"
    assert find_positive(file, 2, CLASSES, GraphOptions()) == ((0,), "the file's metadata (names)")
    said = GraphOptions(order="rgb", scale="0..1", positive=(1,))
    assert read_input(file, said).channels == "rgb"
    assert find_positive(file, 2, CLASSES, said)[0] == (1,)


@pytest.mark.parametrize("names", ["", "[1", "{0: 'a', 2: 'bad'}", "['bad']", "5"])
def test_names_that_say_nothing_are_not_taken(path, names) -> None:
    positive, origin = find_positive(
        read_onnx(classifier(path, names=names)), 2, CLASSES, GraphOptions()
    )
    assert positive == (0,)  # bad, clean
    assert origin.startswith("assumed")


def test_a_graph_of_bytes_needs_no_scale(path) -> None:
    file = read_onnx(classifier(path, pixel=TensorProto.UINT8))
    for said in (GraphOptions(), GraphOptions(scale="0..255")):
        found = read_input(file, said)
        assert found.scale is None
        assert found.origins["scale"] == "the graph"


def test_one_channel_is_mono(path) -> None:
    file = read_onnx(classifier(path, shape=[1, 1, 64, 48]))
    found = read_input(file, GraphOptions(scale="0..1"))
    assert (found.channels, found.size, found.fixed) == ("mono", (64, 48), True)


def test_sizes_and_layouts_that_are_open_are_said(path) -> None:
    file = read_onnx(classifier(path, shape=["N", 3, "H", "W"]))
    assert read_input(file, GraphOptions(scale="0..1", size=96)).size == 96
    file = read_onnx(classifier(path, layout="NHWC", shape=["N", 3, 64, 3]))
    found = read_input(file, GraphOptions(scale="0..1", layout="NHWC"))
    assert (found.layout, found.origins["layout"]) == ("NHWC", "--layout")


@pytest.mark.parametrize(
    ("shape", "said", "message"),
    [
        (None, {}, r"give --scale 0\.\.1, 0\.\.255, -1\.\.1, imagenet or MEAN/STD"),
        (None, {"scale": "0..1", "size": 32}, "--size: must be 64 x 64, .*fixed to, got 32 x 32"),
        (None, {"scale": "0..1", "layout": "NHWC"}, "--layout: must be nchw .*, got nhwc"),
        (["N", 3, "H", "W"], {"scale": "0..1"}, "takes images of any size, .* give --size PIXELS"),
        (["N", 3, 64, 3], {"scale": "0..1"}, r"can't be told from \[\?, 3, 64, 3\]: give --layout"),
        (["N", 4, 64, 64], {"layout": "NCHW"}, "must take one channel or three, got 4"),
        ([4, 3, 64, 64], {}, "must take any number of images, got 4 fixed ones"),
        (["N", 3], {}, r"must be images, \[N, C, H, W\] or \[N, H, W, C\], got \[N, 3\]"),
        (["N", 1, 64, 64], {"order": "bgr"}, "--order: must be left out"),
    ],
)
def test_inputs_that_are_refused(path, shape, said, message) -> None:
    file = read_onnx(classifier(path, shape=shape))
    with pytest.raises(InputError, match=message):
        read_input(file, GraphOptions(**said))


def test_half_precision_is_refused(path) -> None:
    file = read_onnx(classifier(path, pixel=TensorProto.FLOAT16))
    with pytest.raises(InputError, match="must be float32 or uint8, got float16"):
        read_input(file, GraphOptions())


def test_a_scale_of_bytes_is_refused(path) -> None:
    file = read_onnx(classifier(path, pixel=TensorProto.UINT8))
    with pytest.raises(InputError, match=r"--scale: must be left out, .* got '0\.\.1'"):
        read_input(file, GraphOptions(scale="0..1"))


def test_an_unknown_shape_is_refused(path) -> None:
    def forget(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.ClearField("shape")

    file = read_onnx(changed(classifier(path), forget))
    with pytest.raises(InputError, match="got an unknown shape"):
        read_input(file, GraphOptions())


def test_several_inputs_are_refused(path) -> None:
    def add(model: onnx.ModelProto) -> None:
        model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["N", 1]))

    file = read_onnx(changed(classifier(path), add))
    with pytest.raises(InputError, match="must have one input, the images; got images, age"):
        read_input(file, GraphOptions())


def test_weights_among_the_inputs_are_none(path) -> None:
    file = read_onnx(classifier(path, ir=3, opset=8))
    assert len(file.model.graph.input) == 4
    assert [one.name for one in file.inputs] == ["images"]


def _outside(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer[0]
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")


def _old(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 6


def _nameless(model: onnx.ModelProto) -> None:
    model.opset_import[0].domain = "com.example"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_outside, r"1 in other files.* external_data=False\) writes one file"),
        (_old, "must be of ONNX operators 7 or later, got 6"),
        (_nameless, "must be of ONNX operators 7 or later, got none"),
        (lambda model: model.ClearField("graph"), "must be an ONNX file, got something else"),
    ],
)
def test_files_that_are_refused(path, change, message) -> None:
    with pytest.raises(InputError, match=message):
        read_onnx(changed(classifier(path), change))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a checkpoint", b"\xff" * 40])
def test_what_is_no_onnx_file_is_refused(path, content) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"best\.onnx: must be an ONNX file, got something else"):
        read_onnx(path)


def test_a_folder_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="must be an ONNX file, got a folder"):
        read_onnx(tmp_path)


def test_the_output_that_decides(path) -> None:
    assert find_output(read_onnx(classifier(path)), GraphOptions()) == ("score", "the graph")
    file = read_onnx(classifier(path, extra_outputs=1))
    assert find_output(file, GraphOptions(output="other0")) == ("other0", "--output")
    with pytest.raises(InputError, match=r"several outputs .* give --output score or other0"):
        find_output(file, GraphOptions())
    with pytest.raises(InputError, match="--output: must be one of score, other0, got 'probs'"):
        find_output(file, GraphOptions(output="probs"))


def test_labels_decide_nothing(path) -> None:
    def label(model: onnx.ModelProto) -> None:
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64

    file = read_onnx(changed(classifier(path), label))
    with pytest.raises(InputError, match="must have an output in float32 that decides, got score"):
        find_output(file, GraphOptions())


@pytest.mark.parametrize(
    ("end", "outputs", "apply", "origin"),
    [
        ("Softmax", 2, "none", "the graph, which ends in Softmax"),
        ("LogSoftmax", 2, "softmax", "the graph, which ends in LogSoftmax"),
        ("Sigmoid", 1, "none", "the graph, which ends in Sigmoid"),
        (None, 1, "sigmoid", "assumed, as the graph ends in Gemm"),
        (None, 3, "softmax", "assumed, as the graph ends in Gemm"),
    ],
)
def test_what_is_left_to_do_is_found(path, end, outputs, apply, origin) -> None:
    file = read_onnx(classifier(path, end=end, outputs=outputs))
    found, why = find_apply(file, "score", outputs, GraphOptions())
    assert found == apply
    assert why.startswith(origin)
    assert find_apply(file, "score", outputs, GraphOptions(apply="none")) == ("none", "--apply")


def test_an_output_that_nothing_computes(path) -> None:
    def pass_on(model: onnx.ModelProto) -> None:
        del model.graph.node[:]
        model.graph.node.append(helper.make_node("Identity", ["images"], ["score"]))
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "unused"))

    file = read_onnx(changed(classifier(path), pass_on))
    assert "ends in none that is known" in find_apply(file, "score", 2, GraphOptions())[1]


def test_softmax_of_one_number_is_refused(path) -> None:
    with pytest.raises(InputError, match=r"must be sigmoid or none, .* got softmax"):
        find_apply(
            read_onnx(classifier(path, outputs=1)), "score", 1, GraphOptions(apply="softmax")
        )


@pytest.mark.parametrize("positive", [(2,), (0, 1), ()])
def test_places_that_are_none_are_refused(path, positive) -> None:
    with pytest.raises(InputError, match=r"--positive-index: must name outputs .* from 0 to 1"):
        find_positive(read_onnx(classifier(path)), 2, CLASSES, GraphOptions(positive=positive))


def test_more_than_two_classes_ask(path) -> None:
    file = read_onnx(classifier(path, outputs=3))
    with pytest.raises(
        InputError, match=r"has 3 outputs, .*\(bad\) can't be told: give --positive"
    ):
        find_positive(file, 3, CLASSES, GraphOptions())
