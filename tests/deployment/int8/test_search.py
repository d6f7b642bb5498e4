from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from drupe.deployment.backends import open_session
from drupe.deployment.graph import export_graph
from drupe.deployment.int8 import search
from drupe.deployment.int8.quantise import MOST_UNITS, QuantisableGraph, Unit, _pooled
from drupe.deployment.int8.search import LayerSearch
from drupe.models.network import build_network
from drupe.progress import silent

BACKENDS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def crops() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [120, 64, 64, 3] and labels bool [120]."""
    random = np.random.default_rng(0)
    is_defect = np.arange(120) % 2 == 1
    images = random.integers(0, 160, (120, 64, 64, 3))
    images[is_defect, 20:40, 20:40] += 80
    return images.astype(np.uint8), is_defect


@pytest.fixture(scope="module")
def graph(crops) -> bytes:
    """A small network with batch statistics and logits like those of a trained one."""
    torch.manual_seed(0)
    network = build_network(
        "test_efficientnet",
        input_range="unit",
        size=64,
        crop=None,
        pretrained=False,
        frozen=False,
    ).network
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.from_numpy(crops[0][:64]))
        network.eval()
        head = network.backbone.get_classifier()
        z = network.defect_logit(torch.from_numpy(crops[0]))
        head.weight *= 2 / z.std()
        head.bias[1] -= 2 * z.mean() / z.std()
    return export_graph(network, 1.0).content


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
    pooled = _pooled(layers)
    assert len(pooled) <= MOST_UNITS
    assert sorted(node for unit in pooled for node in unit.nodes) == sorted(
        unit.nodes[0] for unit in layers
    )
    assert _pooled(layers[:MOST_UNITS][::2]) == tuple(layers[:MOST_UNITS][::2])


def logits(content: bytes, backend: str, images: np.ndarray) -> np.ndarray:
    score = open_session(content, backend, "fp32", 1)(images).astype(np.float64)
    return np.log(score / (1 - score))


def test_what_is_found_meets_the_criterion_by_its_own_scores(graph, crops) -> None:
    images, is_defect = crops
    found = LayerSearch(graph, images, is_defect, 0.9, BACKENDS, 1).run()
    assert found is not None
    assert found.closeness.is_enough
    assert any(unit.quantised for unit in found.units)
    exact = logits(graph, "onnxruntime", images)
    for backend in BACKENDS:
        integer = logits(found.content, backend, images)
        error = np.sqrt(np.mean((exact - integer) ** 2)) / exact.std()
        assert 0 < error < 2 * search.MOST_ERROR
    worst_inside = max(unit.error for unit in found.units if unit.quantised)
    best_outside = min((u.error for u in found.units if not u.quantised), default=np.inf)
    assert worst_inside <= best_outside
    document = found.to_json()
    assert document["quantised"] + len(document["kept_in_float"]) == document["units"]


def test_a_layer_that_one_backend_computes_badly_stays_in_float(graph, crops, monkeypatch) -> None:
    """As OpenVINO does additions of a ConvNeXt: off by 0.9 where ONNX Runtime is by 0.01."""

    def broken(content: bytes, backend: str, *rest):
        session = open_session(content, backend, *rest)
        is_off = backend == "openvino" and quantises_the_first_convolution(content)
        return (lambda images: 1 - session(images)) if is_off else session

    monkeypatch.setattr(search, "open_session", broken)
    monkeypatch.setattr(search, "MOST_ERROR", 0.5)
    monkeypatch.setattr(search, "MOST_TURNED", 0.1)
    both = LayerSearch(graph, *crops, 0.9, BACKENDS, 1).run()
    assert both is not None
    kinds = {unit.kind for unit in both.units if unit.quantised}
    assert kinds
    assert "first convolution" not in kinds
    alone = LayerSearch(graph, *crops, 0.9, ("onnxruntime",), 1).run()
    assert alone is not None
    assert "first convolution" in {unit.kind for unit in alone.units if unit.quantised}


def quantises_the_first_convolution(content: bytes) -> bool:
    nodes = onnx.load_from_string(content).graph.node
    makers = {name: node.op_type for node in nodes for name in node.output}
    first = next(node for node in nodes if node.op_type == "Conv")
    return makers.get(first.input[1]) == "DequantizeLinear"


def test_where_no_layer_is_close_enough_there_is_no_graph(graph, crops, monkeypatch) -> None:
    counts = []
    for most in (0.1, 0.0):
        monkeypatch.setattr(search, "MOST_ERROR", most)
        monkeypatch.setattr(search, "MOST_TURNED", 1.0)
        found = LayerSearch(graph, *crops, 0.9, BACKENDS, 1).run()
        counts.append(sum(unit.quantised for unit in found.units) if found else None)
    assert counts[0] > 0
    assert counts[1] is None
