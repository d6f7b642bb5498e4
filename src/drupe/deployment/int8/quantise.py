"""A float graph in 8-bit integers (QDQ), layer by layer as asked.

Weights are quantised per channel to 7 bits: with 8, processors without VNNI saturate their 16-bit
sums, and the same graph would give other scores there than where it was certified.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorsData,
)

from drupe.deployment.backends import Images, require_self_contained
from drupe.deployment.graph import IN_FLOAT
from drupe.deployment.int8.ranges import RANGES, Histogram, collect_histograms
from drupe.progress import Progress

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
FUSED = frozenset({"Clip", "Relu"})
"""Activations that become part of the quantised layer before them."""

MOST_UNITS = 64
"""Layers are measured one by one up to here; beyond, neighbours of a kind are measured together."""


@dataclass(frozen=True)
class Unit:
    """Layers that are quantised, or left in float, together: one, or neighbours of one kind."""

    kind: str
    nodes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The first node, and how many more there are."""
        more = f" + {len(self.nodes) - 1}" if len(self.nodes) > 1 else ""
        return f"{self.nodes[0]}{more}"


class QuantisableGraph:
    """A float graph, the ranges of its activations, and the units that may be quantised."""

    def __init__(self, content: bytes, images: Images, threads: int, progress: Progress) -> None:
        """``images``: [n, H, W, C], the crops that the ranges come from."""
        require_self_contained(content)
        model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
        self._model = _named(model)
        self._shapes = {info.name: info for info in model.graph.value_info}
        self._weights = {weight.name for weight in model.graph.initializer}
        layers = self._layers()
        self.units = _group_neighbours(layers)
        self._followers = self._fusable(layers)
        tensors = self._activations(layers)
        self._histograms: Mapping[str, Histogram] = collect_histograms(
            self._model, tensors, images, threads, progress
        )

    def quantised(self, units: Collection[Unit], ranges: str) -> bytes:
        """Return the graph with ``units`` in int8, activations spanning by the rule ``ranges``."""
        rule = RANGES[ranges]
        spans = {}
        for name, histogram in self._histograms.items():
            low, high = rule(histogram)
            spans[name] = (np.float32(low), np.float32(high))
        chosen = [node for unit in units for node in unit.nodes]
        chosen += [self._followers[node] for node in chosen if node in self._followers]
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        quantizer = QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, spans),
            nodes_to_quantize=chosen,
            nodes_to_exclude=[],
            op_types_to_quantize=[*WEIGHTED, *FUSED, "Add"],
            extra_options={},
        )
        quantizer.quantize_model()
        content: bytes = quantizer.model.model.SerializeToString()
        return content

    def _layers(self) -> list[Unit]:
        units = []
        weighted = [node for node in self._model.graph.node if self._has_weights(node)]
        for node in self._model.graph.node:
            if self._has_weights(node):
                units.append(Unit(self._kind(node, weighted), (node.name,)))
            elif node.op_type == "Add" and all(self._is_float(name) for name in node.input):
                units.append(Unit("addition", (node.name,)))
        return units

    def _has_weights(self, node: onnx.NodeProto) -> bool:
        return (
            node.op_type in WEIGHTED
            and node.input[1] in self._weights
            and not any(name in node.input[1] for name in IN_FLOAT)  # the search looks at scores
            and self._is_float(node.input[0])
        )

    def _kind(self, node: onnx.NodeProto, weighted: Sequence[onnx.NodeProto]) -> str:
        if node is weighted[0]:
            return "first convolution"
        if node is weighted[-1]:
            return "head"
        if node.op_type != "Conv":
            return "linear"
        if any(one.name == "group" and one.i > 1 for one in node.attribute):
            return "depthwise convolution"
        sides = self._shapes[node.output[0]].type.tensor_type.shape.dim[2:]
        one_pixel = all(side.dim_value == 1 for side in sides)
        return "squeeze-excite" if one_pixel else "convolution"

    def _is_float(self, tensor: str) -> bool:
        """Return whether ``tensor`` is an activation in float32 (weights are not)."""
        if tensor in self._weights or tensor not in self._shapes:
            return False
        kind: int = self._shapes[tensor].type.tensor_type.elem_type
        return kind == onnx.TensorProto.FLOAT

    def _fusable(self, layers: Sequence[Unit]) -> dict[str, str]:
        """Return the activation that follows each layer, where it can be fused."""
        names = {unit.nodes[0] for unit in layers}
        makers = {n.output[0]: n.name for n in self._model.graph.node if n.name in names}
        return {
            makers[node.input[0]]: node.name
            for node in self._model.graph.node
            if node.op_type in FUSED and node.input[0] in makers
        }

    def _activations(self, layers: Sequence[Unit]) -> list[onnx.ValueInfoProto]:
        """Return the tensors that go into and come out of what may be quantised."""
        names = {unit.nodes[0] for unit in layers} | set(self._followers.values())
        found = dict.fromkeys(
            tensor
            for node in self._model.graph.node
            if node.name in names
            for tensor in (*node.input, *node.output)
            if self._is_float(tensor)
        )
        return [self._shapes[name] for name in found]


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a name to every node that has none: nodes are chosen by name."""
    for place, node in enumerate(model.graph.node):
        if not node.name:
            node.name = f"{node.op_type}_{place}"
    return model


def _group_neighbours(layers: Sequence[Unit]) -> tuple[Unit, ...]:
    """Return ``layers``, neighbours of a kind together where there are more than MOST_UNITS."""
    together = -(-len(layers) // MOST_UNITS)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        by_kind[layer.kind] += layer.nodes
    return tuple(
        Unit(kind, tuple(nodes[start : start + together]))
        for kind, nodes in by_kind.items()
        for start in range(0, len(nodes), together)
    )
