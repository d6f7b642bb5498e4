from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from drupe.deployment.backends import UnusableGraphError, open_session
from drupe.deployment.graph_file import external_tensors

OPSET = [helper.make_opsetid("", 20)]
OUTSIDE = "weights.bin"


def external(name: str) -> TensorProto:
    """Return a float tensor [1] whose value is in a file beside the process."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": OUTSIDE, "offset": "0", "length": "4"}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def model(
    tensor: TensorProto | None = None, attribute: TensorProto | None = None
) -> onnx.ModelProto:
    """Return a graph of one score an image: the mean, plus an initializer or a constant."""
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["rows"]),
        helper.make_node("ReduceMean", ["rows", "axis"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "offset"], ["score"]),
    ]
    initializers = [numpy_helper.from_array(np.array([1]), "axis")]
    if attribute is not None:
        nodes.insert(0, helper.make_node("Constant", [], ["offset"], value=attribute))
    else:
        given = numpy_helper.from_array(np.zeros(1, np.float32), "offset")
        initializers.append(tensor if tensor is not None else given)
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 64, 64, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=OPSET, ir_version=10)


def test_a_graph_that_holds_its_weights_has_none_outside() -> None:
    content = model().SerializeToString()
    assert external_tensors(content) == []
    session = open_session(content, "onnxruntime", "fp32", 1)
    assert session(np.zeros((2, 64, 64, 3), np.uint8)).tolist() == [0.0, 0.0]


def test_weights_in_another_file_are_found_wherever_they_stand() -> None:
    assert external_tensors(model(external("offset")).SerializeToString()) == ["offset"]
    constant = model(attribute=external("constant")).SerializeToString()
    assert external_tensors(constant) == ["constant"]

    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [external("inner")],
    )
    nested = model()
    nested.graph.node.append(
        helper.make_node("If", ["yes"], ["x"], then_branch=branch, else_branch=branch)
    )
    assert external_tensors(nested.SerializeToString()) == ["inner", "inner"]

    function = model()
    body = [helper.make_node("Constant", [], ["y"], value=external("in a function"))]
    function.functions.append(helper.make_function("own", "F", [], ["y"], body, OPSET))
    assert external_tensors(function.SerializeToString()) == ["in a function"]

    sparse = model()
    sparse.graph.sparse_initializer.add().values.CopyFrom(external("sparse"))
    assert external_tensors(sparse.SerializeToString()) == ["sparse"]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_no_backend_opens_it_also_where_the_file_is_there(backend, tmp_path, monkeypatch) -> None:
    pytest.importorskip(backend)
    (tmp_path / OUTSIDE).write_bytes(np.float32(-4.06).tobytes())
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UnusableGraphError, match="must hold all of its weights, got 1 in other"):
        open_session(model(external("offset")).SerializeToString(), backend, "fp32", 1)


def test_what_is_no_onnx_file_is_an_error_of_its_own() -> None:
    whole = model(external("offset")).SerializeToString()
    for content in (whole[:-3], b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"<html>"):
        with pytest.raises(ValueError, match=r"cut off|too long|no field"):
            external_tensors(content)
    deep = b""
    for _ in range(200):
        deep = b"\x32" + _length(deep) + deep  # an attribute's graph
        deep = b"\x2a" + _length(deep) + deep  # a node's attribute
        deep = b"\x0a" + _length(deep) + deep  # a graph's node
    with pytest.raises(ValueError, match="nested too deeply"):
        external_tensors(b"\x3a" + _length(deep) + deep)


def _length(content: bytes) -> bytes:
    count, out = len(content), bytearray()
    while True:
        out.append((count & 0x7F) | (0x80 if count > 0x7F else 0))
        count >>= 7
        if not count:
            return bytes(out)
