"""Wrapping a graph: raw bytes in, the score of a defect out, in one file that decides.

Letters: N images of H × W pixels and C channels, K outputs for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.compose import add_prefix

from drupe.deployment.certify.reading import OnnxFile
from drupe.deployment.graph import INPUT, OUTPUT, forget_origin
from drupe.runs.graph_record import GraphRecord
from drupe.sides import height_and_width

PREFIX = "model/"
"""Of everything that the file named, so that no name meets one of ours."""

WEIGHTS_APART = 4
"""The version of ONNX files from which on weights needn't stand among the inputs."""


class _Nodes:
    """Nodes one behind another; constants are nodes too, which every version of ONNX takes."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.listed: list[NodeProto] = []

    def add(self, operator: str, source: str, *others: Any, **attributes: Any) -> str:
        """Add a node that takes ``source`` and constants; return the name of what it gives."""
        names = [source, *(self._constant(np.asarray(value)) for value in others)]
        result = f"{self.place}/{operator.lower()}_{len(self.listed)}"
        self.listed.append(helper.make_node(operator, names, [result], name=result, **attributes))
        return result

    def _constant(self, value: np.ndarray[Any, Any]) -> str:
        name = f"{self.place}/constant_{len(self.listed)}"
        tensor = numpy_helper.from_array(np.atleast_1d(value), name)
        self.listed.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
        return name


def wrap(file: OnnxFile, facts: GraphRecord) -> bytes:
    """Return the graph between nodes that prepare raw images and make a score of its outputs.

    It takes ``images``, uint8 [N, H, W, C] in RGB (or mono), and gives ``score``, float32 [N].
    """
    model = add_prefix(_copy(file.model), PREFIX)
    forget_origin(model)
    graph = model.graph
    if facts.freed:
        _open_batch(graph)
    before, after = _Nodes("before"), _Nodes("after")
    images = _prepared(before, facts)
    before.listed.append(helper.make_node("Identity", [images], [PREFIX + facts.input]))
    _scored(after, facts)
    nodes = [*before.listed, *graph.node, *after.listed]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    height, width = height_and_width(facts.size)
    shape: list[str | int | None] = ["N", height, width, 1 if facts.channels == "mono" else 3]
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N"]))
    model.ir_version = max(model.ir_version, WEIGHTS_APART)
    content: bytes = model.SerializeToString()
    return content


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _prepared(nodes: _Nodes, facts: GraphRecord) -> str:
    """Add what becomes of raw images before the network; see :class:`PixelScale`."""
    name = INPUT
    if facts.channels == "bgr":
        name = nodes.add("Gather", name, np.array([2, 1, 0], np.int64), axis=3)
    if facts.scale is not None:
        name = nodes.add("Cast", name, to=TensorProto.FLOAT)
        if facts.scale.divide != 1:
            name = nodes.add("Div", name, np.float32(facts.scale.divide))
        if any(facts.scale.mean):
            name = nodes.add("Sub", name, np.array(facts.scale.mean, np.float32))
        if set(facts.scale.std) != {1.0}:
            name = nodes.add("Div", name, np.array(facts.scale.std, np.float32))
    return nodes.add("Transpose", name, perm=(0, 3, 1, 2)) if facts.layout == "NCHW" else name


def _scored(nodes: _Nodes, facts: GraphRecord) -> None:
    """Add what becomes of the outputs: probabilities, those that mean a defect, their sum."""
    name = nodes.add("Flatten", PREFIX + facts.output, axis=1)
    if facts.outputs == 1:
        of_clean = facts.positive == (0,)
        if facts.apply == "sigmoid":
            name = nodes.add("Sigmoid", nodes.add("Neg", name) if of_clean else name)
        elif of_clean:  # 1 - p
            name = nodes.add("Add", nodes.add("Neg", name), np.float32(1))
    else:
        if facts.apply != "none":
            axis = {"axis": 1} if facts.apply == "softmax" else {}
            name = nodes.add(facts.apply.capitalize(), name, **axis)
        name = nodes.add("Gather", name, np.array(facts.positive, np.int64), axis=1)
        if len(facts.positive) > 1:
            ones = np.ones((len(facts.positive), 1), np.float32)
            name = nodes.add("MatMul", name, ones)
    name = nodes.add("Reshape", name, np.array([-1], np.int64))
    nodes.listed.append(helper.make_node("Identity", [name], [OUTPUT]))


def _open_batch(graph: onnx.GraphProto) -> None:
    """Let reshapes keep the first axis as it is where they were written for one image."""
    constants = {one.name: one for one in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    opened: list[NodeProto] = []
    for node in graph.node:
        target = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if target is None:
            continue
        shape = np.atleast_1d(numpy_helper.to_array(target))
        if len(shape) > 1 and shape[0] == 1 and shape.all():
            name = f"{node.output[0]}/shape"
            tensor = numpy_helper.from_array(np.array([0, *shape[1:]], np.int64), name)
            opened.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
            node.input[1] = name
            del node.attribute[:]  # its only one, allowzero, gives 0 another meaning
    nodes = [*opened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
