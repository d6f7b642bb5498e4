from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import drupe
from drupe.deployment.backends import open_session
from drupe.deployment.graph import export_graph
from drupe.models.geometry import Geometry
from drupe.models.network import InputRange, InputScale, Network, build_network

pytestmark = pytest.mark.thorough


def network_of(architecture: str, input_range: InputRange = "raw", **seen):
    torch.manual_seed(0)
    built = build_network(
        architecture,
        input_range=input_range,
        geometry=Geometry(64, **seen),
        pretrained=False,
        frozen=False,
    )
    return built.network.eval()


@pytest.mark.parametrize(
    ("architecture", "keys"),
    [
        ("test_resnet", {}),
        ("test_resnet", {"input_range": "imagenet"}),  # its first convolution pads
        ("test_convnext", {"input_range": "imagenet"}),
        ("test_nfnet", {"input_range": "imagenet"}),  # it standardises its weights itself
        ("test_efficientnet", {"input_range": "unit", "crop": 48}),
        ("test_efficientnet", {"input_range": "imagenet", "crop": 40, "resolution": 64}),
        ("test_resnet", {"crop": 48, "resolution": 32}),
        ("test_resnet", {"input_range": "imagenet", "views": 2}),
        ("test_convnext", {"views": 4, "resolution": 96}),
        (
            "test_efficientnet",
            {"input_range": "imagenet", "crop": 40, "resolution": 64, "views": 8},
        ),
    ],
)
def test_the_graph_says_what_the_network_says(architecture, keys) -> None:
    network = network_of(architecture, **keys)
    images = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = torch.sigmoid(network.defect_logit(torch.from_numpy(images)) / 1.7).numpy()
    graph = export_graph(network, 1.7)
    for backend in ("onnxruntime", "openvino"):
        session = open_session(graph.content, backend, "fp32", 1)
        np.testing.assert_allclose(session(images), expected, atol=1e-5)
        np.testing.assert_allclose(session(images[:1]), expected[:1], atol=1e-5)


def test_batch_norm_is_folded_and_the_input_is_bytes() -> None:
    graph = onnx.load_from_string(export_graph(network_of("test_resnet"), 1.0).content).graph
    assert not {node.op_type for node in graph.node} & {"BatchNormalization"}
    (image,) = graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_value for dim in image.type.tensor_type.shape.dim] == [0, 64, 64, 3]


@pytest.mark.parametrize(
    ("input_range", "expected"),
    [
        ("raw", ["Transpose", "Cast", "Conv"]),
        ("unit", ["Transpose", "Cast", "Conv"]),
        ("imagenet", ["Transpose", "Cast", "Sub", "Conv"]),
    ],
)
def test_the_scale_of_the_input_costs_no_more_than_a_subtraction(input_range, expected) -> None:
    network = network_of("test_resnet", input_range=input_range)
    graph = onnx.load_from_string(export_graph(network, 1.0).content).graph
    assert [node.op_type for node in graph.node][: len(expected)] == expected


def test_exporting_leaves_the_network_as_it_was() -> None:
    network = network_of("test_resnet", input_range="imagenet")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export_graph(network, 2.0)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


class _Plain(nn.Module):
    """A network whose classifier is a convolution, as some of timm's are."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {"first_conv": "stem"}
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.head(self.stem(pixels).mean((2, 3), keepdim=True)).flatten(1)


def test_a_head_that_is_no_linear_layer_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    network = Network(_Plain(), InputScale("imagenet"), geometry=Geometry(16, 8)).eval()
    images = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = torch.sigmoid(network.defect_logit(torch.from_numpy(images)) / 0.5).numpy()
    session = open_session(export_graph(network, 0.5).content, "onnxruntime", "fp32", 1)
    np.testing.assert_allclose(session(images), expected, atol=1e-6)


def test_weights_too_small_to_be_normal_become_zero_and_are_counted() -> None:
    network = network_of("test_resnet")
    assert export_graph(network, 1.0).flushed_weights == 0
    last = [one for one in network.backbone.modules() if isinstance(one, nn.Conv2d)][-1]
    # By their bits: the smallest and the largest that is not normal, and the smallest normal one.
    last.weight.data.view(torch.int32).view(-1)[:3] = torch.tensor([1, 0x007FFFFF, 0x00800000])
    exported = export_graph(network, 1.0)
    assert exported.flushed_weights == 2
    for one in onnx.load_from_string(exported.content).graph.initializer:
        values = onnx.numpy_helper.to_array(one)
        if values.dtype == np.float32:
            bits = values.view(np.int32) & 0x7FFFFFFF
            assert not ((bits > 0) & (bits < 0x00800000)).any()


def test_the_graph_names_no_source_file_of_the_exporting_machine() -> None:
    content = export_graph(network_of("test_resnet"), 1.0).content
    assert b".py" not in content
    assert str(Path(drupe.__file__).parent).encode() not in content
    graph = onnx.load_from_string(content).graph
    assert not any(node.metadata_props or node.doc_string for node in graph.node)


@pytest.mark.parametrize(
    ("architecture", "input_range", "size", "channels", "white", "seen"),
    [
        ("test_resnet", "imagenet", 64, 1, 255, {}),
        ("test_efficientnet", "imagenet", 64, 1, 4095, {"crop": 48, "views": 8}),
        ("test_resnet", "raw", 64, 1, 65_535, {"resolution": 48}),
        ("test_nfnet", "unit", (64, 96), 1, 1023, {"views": 4}),  # standardises its weights itself
        ("test_convnext", "imagenet", (64, 96), 3, 255, {"crop": (48, 80), "resolution": (64, 64)}),
    ],
)
def test_graphs_of_other_kinds_of_images(
    architecture, input_range, size, channels, white, seen
) -> None:
    torch.manual_seed(0)
    network = build_network(
        architecture,
        input_range=input_range,
        geometry=Geometry(size, **seen),
        channels=channels,
        white_level=white,
        pretrained=False,
        frozen=False,
    ).network.eval()
    dtype = np.uint8 if white == 255 else np.uint16
    random = np.random.default_rng(0)
    images = random.integers(0, white + 1, (5, *network.image_shape)).astype(dtype)
    with torch.inference_mode():
        expected = torch.sigmoid(network.defect_logit(torch.from_numpy(images)) / 1.7).numpy()
    graph = export_graph(network, 1.7)
    for backend in ("onnxruntime", "openvino"):
        session = open_session(graph.content, backend, "fp32", 1)
        assert session.takes == network.image_shape
        np.testing.assert_allclose(session(images), expected, atol=1e-5)
        with pytest.raises(Exception, match=r"uint|u8|u16"):  # each raises a type of its own
            session(images.astype(np.uint16 if white == 255 else np.uint8))
