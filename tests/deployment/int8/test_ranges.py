from __future__ import annotations

import numpy as np
import onnx
import pytest

from drupe.deployment.int8.ranges import (
    BINS,
    RANGES,
    Histogram,
    collect_histograms,
    full_range,
    inner_range,
    least_squares_range,
)
from drupe.progress import silent


def histogram_of(values: np.ndarray) -> Histogram:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return Histogram(low, high, np.histogram(values, BINS, (low, high))[0])


@pytest.fixture(scope="module")
def outlier() -> np.ndarray:
    values = np.random.default_rng(0).normal(0, 1, 1_000_000)
    values[0] = 40
    return values


def test_one_outlier_widens_only_the_full_range(outlier) -> None:
    histogram = histogram_of(outlier)
    assert full_range(histogram)[1] == 40
    assert 3.5 < inner_range(histogram)[1] < 4.0
    assert inner_range(histogram)[0] == pytest.approx(-inner_range(histogram)[1], abs=0.2)
    assert least_squares_range(histogram)[1] < 40


def test_least_squares_beats_the_full_range_on_the_values_themselves(outlier) -> None:
    def error(low: float, high: float) -> float:
        step = (high - low) / 255
        return float(
            np.sum((np.clip(np.round((outlier - low) / step), 0, 255) * step + low - outlier) ** 2)
        )

    histogram = histogram_of(outlier)
    assert error(*least_squares_range(histogram)) < error(*full_range(histogram))


@pytest.mark.parametrize("rule", RANGES.values(), ids=list(RANGES))
def test_zero_lies_in_every_range_and_a_dead_tensor_has_none(rule) -> None:
    low, high = rule(histogram_of(np.linspace(2, 3, 1000)))
    assert low == 0 < high <= 3
    assert rule(Histogram(0.0, 0.0, np.zeros(BINS, np.int64))) == (0.0, 0.0)


def test_histograms_hold_every_value_of_every_image() -> None:
    helper = onnx.helper
    images = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), dtype=np.uint8)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Neg", ["pixels"], ["score"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, ["N", 4, 4, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    pixels = helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["N", 4, 4, 3])
    found = collect_histograms(model, [pixels], images, 1, silent)["pixels"]
    assert (found.low, found.high) == (0, images.max())
    np.testing.assert_array_equal(
        found.counts, np.histogram(images, BINS, (0, float(images.max())))[0]
    )
