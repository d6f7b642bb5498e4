from __future__ import annotations

import numpy as np
import onnx
import pytest

from drupe.deployment.int8.quantise import MOST_UNITS, QuantisableGraph, Unit, _group_neighbours
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
