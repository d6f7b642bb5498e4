from __future__ import annotations

import numpy as np
import onnx
import pytest

from drupe.deployment.backends import open_session
from drupe.deployment.int8 import search
from drupe.deployment.int8.search import LayerSearch

pytestmark = pytest.mark.thorough

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


@pytest.mark.parametrize(
    ("error", "turned_argmax", "turned_low", "enough"),
    [
        (0.1, 5, 5, True),
        (0.101, 0, 0, False),
        (0.0, 6, 0, False),
        (0.0, 0, 6, False),
        (float("nan"), 0, 0, False),
    ],
)
def test_close_enough_is_a_tenth_in_error_and_one_decision_in_a_hundred(
    error, turned_argmax, turned_low, enough
) -> None:
    assert search.Closeness(500, error, turned_argmax, turned_low).is_close_enough is enough


def stub_search(expected, is_defect, min_recall: float) -> LayerSearch:
    """A search that has run its float graph, which gave the logits ``expected``."""
    found = LayerSearch.__new__(LayerSearch)
    found._expected, found._is_defect = np.float64(expected), np.array(is_defect)
    found._miss_share = 1 - min_recall
    return found


def test_closeness_by_hand() -> None:
    """Deviation 2; the logits differ by 1 once of four: an error of 0.5 / 2.

    All defects must be caught, so the threshold is the lowest defect's logit: -1, then -2.
    """
    one = stub_search([-3.0, -1.0, 1.0, 3.0], [False, True, False, True], 1.0)
    found = one._closeness(np.array([-3.0, -2.0, 1.0, 3.0]))
    assert (found.crops, found.turned_argmax, found.turned_low) == (4, 0, 0)
    assert found.error == pytest.approx(0.5 / np.sqrt(5))
    turned = one._closeness(np.array([-3.0, 0.0, -1.0, 3.0]))
    # -1 became 0 and 1 became -1: both turn at 0, and at 0 instead of -1 the second clean crop.
    assert (turned.turned_argmax, turned.turned_low) == (2, 1)


def test_without_defects_the_threshold_is_a_half() -> None:
    one = stub_search([-1.0, 1.0], [False, False], 0.9)
    assert one._closeness(np.array([1.0, -1.0])).turned_low == 2


def test_where_all_logits_are_equal_any_error_is_too_much() -> None:
    one = stub_search([1.0, 1.0], [False, True], 0.9)
    assert one._closeness(np.array([1.0, 1.0])).error == 0
    assert one._closeness(np.array([1.0, 1.1])).error == 1
