from __future__ import annotations

import numpy as np
import onnx

from drupe.deployment.backends import open_session
from drupe.deployment.int8 import search
from drupe.deployment.int8.search import LayerSearch

BACKENDS = ("onnxruntime", "openvino")


def logits(content: bytes, backend: str, images: np.ndarray) -> np.ndarray:
    score = open_session(content, backend, "fp32", 1)(images).astype(np.float64)
    return np.log(score / (1 - score))


def test_what_is_found_meets_the_criterion_by_its_own_scores(graph, crops) -> None:
    images, is_defect = crops
    found = LayerSearch(graph, images, is_defect, 0.9, BACKENDS, 1).run()
    assert found is not None
    assert found.closeness.is_close_enough
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
