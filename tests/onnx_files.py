"""Small classifiers in ONNX files, as other people's programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 64


def classifier(
    path: Path,
    *,
    outputs: int = 2,
    layout: str = "NCHW",
    shape: list[Any] | None = None,
    pixel: int = TensorProto.FLOAT,
    end: str | None = None,
    opset: int = 17,
    ir: int | None = None,
    reshape: bool = False,
    flip: bool = False,
    extra_outputs: int = 0,
    **metadata: str,
) -> Path:
    """Write a convolution, a mean and a linear layer.

    end: an operator behind the outputs; reshape: for one image, where others flatten; flip: the
    last node is one that doesn't show what it makes (a softmax written out).
    """
    random = np.random.default_rng(0)
    channels = 3 if shape is None else shape[3 if layout == "NHWC" else 1]
    taken = shape or (["N", 3, SIDE, SIDE] if layout == "NCHW" else ["N", SIDE, SIDE, 3])
    given, result = "images", "score"
    weights = {
        "kernel": random.normal(0, 0.2, (8, channels, 5, 5)),
        "matrix": random.normal(0, 2, (8, outputs)),
        "bias": random.normal(0, 0.1, outputs),
    }
    nodes, name = [], given
    if pixel != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Div", ["float", "white"], ["unit"]))
        weights["white"], name = np.array([255.0]), "unit"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [name], ["nchw"], perm=[0, 3, 1, 2]))
        name = "nchw"
    nodes += [
        helper.make_node("Conv", [name, "kernel"], ["convolved"], strides=[4, 4]),
        helper.make_node("Relu", ["convolved"], ["bent"]),
        helper.make_node("GlobalAveragePool", ["bent"], ["pooled"]),
    ]
    if reshape:
        nodes.append(helper.make_node("Reshape", ["pooled", "target"], ["flat"]))
    else:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], axis=1))
    last = "logits" if end or flip else result
    nodes.append(helper.make_node("Gemm", ["flat", "matrix", "bias"], [last]))
    if end:
        axis = {} if end == "Sigmoid" else {"axis": 1}
        nodes.append(helper.make_node(end, ["logits"], ["ended"], **axis))
        nodes.append(helper.make_node("Identity", ["ended"], [result]))
    if flip:
        nodes += [
            helper.make_node("Exp", ["logits"], ["powers"]),
            helper.make_node("ReduceSum", ["powers", "axis"], ["sum"], keepdims=1),
            helper.make_node("Div", ["powers", "sum"], [result]),
        ]
    initializers = [
        numpy_helper.from_array(np.asarray(value, np.float32), key)
        for key, value in weights.items()
    ]
    whole = {"target": [1, 8]} if reshape else {}
    whole |= {"axis": [1]} if flip else {}
    initializers += [
        numpy_helper.from_array(np.array(value, np.int64), key) for key, value in whole.items()
    ]
    others = [f"other{place}" for place in range(extra_outputs)]
    nodes += [helper.make_node("Identity", ["flat"], [other]) for other in others]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(given, pixel, taken)],
        [
            helper.make_tensor_value_info(result, TensorProto.FLOAT, ["N", outputs]),
            *(helper.make_tensor_value_info(one, TensorProto.FLOAT, ["N", 8]) for one in others),
        ],
        initializers,
    )
    if ir is not None and ir < 4:  # every weight is an input too
        graph.input.extend(
            helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in initializers
        )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir or 8
    for key, value in metadata.items():
        model.metadata_props.add(key=key.replace("__", "."), value=value)
    path.write_bytes(model.SerializeToString())
    return path


def changed(path: Path, change: Any) -> Path:
    """Rewrite a file after ``change`` has been at its model."""
    model = onnx.load_model_from_string(path.read_bytes())
    change(model)
    path.write_bytes(model.SerializeToString())
    return path
