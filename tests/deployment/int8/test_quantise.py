from __future__ import annotations

import numpy as np
import onnx
import pytest

from drupe.deployment.backends import open_session
from drupe.deployment.int8.quantise import MOST_UNITS, QuantisableGraph, Unit, _group_neighbours
from drupe.deployment.int8.ranges import RANGES
from drupe.progress import silent


@pytest.fixture(scope="module")
def quantisable(graph, crops) -> QuantisableGraph:
    return QuantisableGraph(graph, crops[0][:32], 1, silent)


def weights(content: bytes) -> dict[str, np.ndarray]:
    model = onnx.load_from_string(content)
    return {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}


def test_only_the_units_asked_for_become_integers(graph, quantisable) -> None:
    unit = next(one for one in quantisable.units if one.kind == "convolution")
    found = weights(quantisable.quantised([unit], "min-max"))
    integers = [name for name, value in found.items() if value.dtype == np.int8 and value.ndim == 4]
    (name,) = integers
    # 7 bits: two products of a byte and a weight fit into 16 bits on every processor.
    assert np.abs(found[name].astype(int)).max() <= 64
    scales = found[name.replace("_quantized", "_scale")]
    assert scales.shape == (found[name].shape[0],), "per channel"
    before = weights(graph)
    kept = [name for name, value in found.items() if name in before and value.ndim == 4]
    assert len(kept) == sum(value.ndim == 4 for value in before.values()) - 1
    assert all(np.array_equal(found[name], before[name]) for name in kept)


def test_kinds_of_layers_are_told_apart(quantisable) -> None:
    kinds = [unit.kind for unit in quantisable.units]
    assert kinds.count("first convolution") == kinds.count("head") == 1
    assert {"depthwise convolution", "convolution"} < set(kinds)


def test_more_layers_than_the_bound_are_measured_together() -> None:
    layers = [Unit("convolution" if n % 2 else "addition", (f"n{n}",)) for n in range(200)]
    pooled = _group_neighbours(layers)
    assert len(pooled) <= MOST_UNITS
    assert sorted(node for unit in pooled for node in unit.nodes) == sorted(
        unit.nodes[0] for unit in layers
    )
    assert _group_neighbours(layers[:MOST_UNITS][::2]) == tuple(layers[:MOST_UNITS][::2])


def small_graph() -> bytes:
    """A graph of unnamed nodes with a layer of each kind, from uint8 [N, 8, 8, 3] to a score."""
    random = np.random.default_rng(0)
    helper = onnx.helper

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = random.normal(0, 0.5, shape).astype(np.float32)
        return onnx.numpy_helper.from_array(values, name)

    node = helper.make_node
    nodes = [
        node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        node("Transpose", ["floats"], ["pixels"], perm=[0, 3, 1, 2]),
        node("Conv", ["pixels", "w1"], ["a"]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "w2"], ["c"], group=4),
        node("Add", ["b_cut", "c"], ["d"]),
        node("GlobalAveragePool", ["d"], ["e"]),
        node("Conv", ["e", "w3"], ["f"]),
        node("Flatten", ["f"], ["g"]),
        node("Gemm", ["g", "w4"], ["h"]),
        node("Relu", ["h"], ["i"]),
        node("Add", ["i", "offset"], ["j"]),
        node("Gemm", ["j", "w5"], ["k"]),
        node("Flatten", ["k"], ["l"], axis=0),
        node("Div", ["l", "thousand"], ["m"]),
        node("Sigmoid", ["m"], ["score"]),
    ]
    nodes.insert(4, node("AveragePool", ["b"], ["b_cut"], kernel_shape=[3, 3]))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [1, "N"])],
        [
            weight("w1", 4, 3, 3, 3),
            weight("w2", 4, 1, 3, 3),
            weight("w3", 4, 4, 1, 1),
            weight("w4", 4, 5),
            weight("w5", 5, 1),
            onnx.numpy_helper.from_array(np.float32([1, 2, 3, 4, 5]), "offset"),
            onnx.numpy_helper.from_array(np.float32(1000), "thousand"),
        ],
    )
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)


def test_every_kind_of_layer_is_a_unit_and_every_node_has_a_name(images) -> None:
    graph = QuantisableGraph(small_graph(), images, 1, silent)
    assert {(unit.name, unit.kind) for unit in graph.units} == {
        ("Conv_2", "first convolution"),
        ("Conv_5", "depthwise convolution"),
        ("Add_6", "addition"),  # Add_12 adds a constant
        ("Conv_8", "squeeze-excite"),
        ("Gemm_10", "linear"),
        ("Gemm_13", "head"),
    }


def test_an_activation_is_quantised_with_the_layer_before_it(images) -> None:
    graph = QuantisableGraph(small_graph(), images, 1, silent)
    (first,) = [unit for unit in graph.units if unit.kind == "first convolution"]
    model = onnx.load_from_string(graph.quantised([first], "min-max"))
    makers = {name: node for node in model.graph.node for name in node.output}
    assert [node.name for node in model.graph.node if node.op_type == "Relu"] == ["Relu_11"]
    (layer,) = [node for node in model.graph.node if node.name == "Conv_2"]
    (rounding,) = [node for node in model.graph.node if layer.output[0] in node.input]
    assert rounding.op_type == "QuantizeLinear"
    values = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    assert values[rounding.input[2]] == 0, "what is below zero becomes zero, as by the activation"
    # What was not asked for takes floats as they are.
    last = next(node for node in model.graph.node if node.op_type == "Gemm")
    assert "DequantizeLinear" not in {makers[name].op_type for name in last.input if name in makers}


@pytest.mark.parametrize("ranges", list(RANGES))
def test_all_layers_in_integers_still_compute_the_same_function(images, ranges) -> None:
    content = small_graph()
    graph = QuantisableGraph(content, images, 1, silent)
    quantised = graph.quantised(graph.units, ranges)
    integers = [one for one in weights(quantised).values() if one.dtype == np.int8]
    assert sum(array.ndim > 1 for array in integers) == 5
    exact, rounded = (
        open_session(one, "onnxruntime", "fp32", 1)(images).ravel() for one in (content, quantised)
    )
    assert 0 < np.abs(exact - rounded).max() < 0.1 * np.ptp(exact)


def test_a_unit_of_several_nodes_names_the_first() -> None:
    assert Unit("linear", ("a",)).name == "a"
    assert Unit("linear", ("a", "b", "c")).name == "a + 2"
