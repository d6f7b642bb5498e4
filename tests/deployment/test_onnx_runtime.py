"""ONNX Runtime's sessions. There is no GPU here: a stand-in computes on the CPU and names a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from device_stand_in import GpuRuntime
from drupe.deployment import onnx_runtime
from drupe.deployment.backends import open_session
from drupe.deployment.onnx_runtime import (
    CPU,
    CUDA,
    PROBE,
    TENSORRT,
    OnnxRuntimeCuda,
    OnnxRuntimeTensorRt,
    tensorrt_options,
)
from drupe.deployment.session import OtherDeviceError, SessionSettings
from drupe.errors import InputError
from onnx_files import SIDE, classifier


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> bytes:
    file = tmp_path_factory.mktemp("graph") / "one.onnx"
    kind = {"layout": "NHWC", "pixel": TensorProto.UINT8, "end": "Sigmoid"}
    return classifier(file, outputs=1, **kind).read_bytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


def gpu(monkeypatch, **facts) -> GpuRuntime:
    runtime = GpuRuntime(**facts)
    monkeypatch.setattr(onnxruntime, "InferenceSession", runtime)
    return runtime


def test_a_gpu_gives_its_scores_under_its_own_name(monkeypatch, graph, images) -> None:
    runtime = gpu(monkeypatch)
    session = open_session(graph, "onnxruntime-cuda", "fp32", 1)
    assert session.takes == (SIDE, SIDE, 3)
    expected = open_session(graph, "onnxruntime", "fp32", 1)(images)
    np.testing.assert_array_equal(session(images), expected)
    (asked,) = runtime.given
    # TF32 isn't fp32, and kernels that win a race would be others the next time.
    options = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert asked["providers"] == {CUDA: options}
    assert (asked["enable_fallback"], asked["falls_back"]) == (False, False)
    assert runtime.batches == [3]


def test_reduced_precision_runs_one_image_at_a_time(monkeypatch, graph, images) -> None:
    runtime = gpu(monkeypatch)
    session = open_session(graph, "onnxruntime-cuda", "tf32", 1)
    expected = open_session(graph, "onnxruntime", "fp32", 1)(images)
    np.testing.assert_allclose(session(images), expected, atol=1e-6)
    assert runtime.given[0]["providers"][CUDA]["use_tf32"] == "1"
    assert runtime.batches == [1, 1, 1]


def test_a_provider_that_does_not_load_is_refused(monkeypatch, graph) -> None:
    gpu(monkeypatch, loads=False)
    with pytest.raises(InputError) as caught:
        open_session(graph, "onnxruntime-cuda", "fp32", 1)
    assert str(caught.value) == (
        "onnxruntime-cuda fp32: CUDAExecutionProvider doesn't load, the graph would run on "
        "CPUExecutionProvider: refused"
    )


def test_a_provider_that_takes_no_node_is_refused_though_it_is_listed(graph) -> None:
    """A real one: it is among the session's providers, and the CPU computes everything."""
    listed = "AzureExecutionProvider"
    settings = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(graph, settings, providers=[listed])
    assert session.get_providers()[0] == listed
    with pytest.raises(OtherDeviceError, match=rf"{listed} must compute .* Conv by {CPU}"):
        OnnxRuntimeCuda(provider=listed).open(graph, SessionSettings("fp32", 1))


def test_one_node_on_the_cpu_is_enough_to_refuse(monkeypatch, graph) -> None:
    gpu(monkeypatch, placed={"Transpose": CPU})
    with pytest.raises(InputError, match=f"must compute the graph, got Transpose by {CPU}: ref"):
        open_session(graph, "onnxruntime-cuda", "fp32", 1)


def test_tensorrt_may_leave_casts_to_cuda_but_no_layer(monkeypatch, graph, images) -> None:
    runtime = gpu(monkeypatch, placed={"Cast": CUDA})
    session = open_session(graph, "onnxruntime-tensorrt", "fp16", 1)
    assert session(images).shape == (3, 1)
    assert runtime.batches == [1, 1, 1]
    assert list(runtime.given[0]["providers"]) == [TENSORRT, CUDA]
    assert runtime.given[0]["providers"][CUDA]["use_tf32"] == "0"
    runtime.placed = {"Conv": CUDA}
    with pytest.raises(InputError, match=f"{TENSORRT} must compute the graph, got Conv by {CUDA}"):
        open_session(graph, "onnxruntime-tensorrt", "fp16", 1)


def test_a_session_of_helpers_alone_is_none_of_the_first_provider() -> None:
    node = SimpleNamespace(op_type="Add")
    session = SimpleNamespace(
        get_providers=lambda: [TENSORRT, CUDA, CPU],
        get_provider_graph_assignment_info=lambda: [
            SimpleNamespace(ep_name=CUDA, get_nodes=lambda: [node])
        ],
    )
    with pytest.raises(OtherDeviceError, match="must compute the graph, got nothing for it"):
        onnx_runtime._require_placement(session, (TENSORRT, CUDA))


def test_a_runtime_that_can_not_say_where_nodes_run_is_refused() -> None:
    with pytest.raises(OtherDeviceError, match="can't say which provider computes a node"):
        onnx_runtime._require_placement(SimpleNamespace(get_providers=lambda: [CUDA]), (CUDA,))


def test_tensorrt_has_no_fp32(graph) -> None:
    with pytest.raises(InputError, match="onnxruntime-tensorrt computes tf32, fp16, int8, got 'fp"):
        open_session(graph, "onnxruntime-tensorrt", "fp32", 1)


def test_engines_are_kept_by_the_graph_they_were_built_from(graph, tmp_path) -> None:
    """TensorRT's provider tells engines by the names of nodes: other weights would look alike."""
    cached = SessionSettings("fp16", 1, cache=tmp_path)
    options = tensorrt_options(graph, cached)
    assert options["trt_profile_min_shapes"] == f"images:1x{SIDE}x{SIDE}x3"
    assert options["trt_profile_max_shapes"] == options["trt_profile_opt_shapes"]
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == ("1", "0")
    other = graph.replace(b"classifier", b"classifies")  # the graph's name
    assert other != graph
    folders = {
        tensorrt_options(content, SessionSettings(precision, 1, cache=tmp_path))[
            "trt_engine_cache_path"
        ]
        for content in (graph, other)
        for precision in ("fp16", "int8")
    }
    assert len(folders) == 4
    assert "trt_engine_cache_enable" not in tensorrt_options(graph, SessionSettings("int8", 1))


def test_what_is_missing_is_said(monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    onnx_runtime._obstacle.cache_clear()
    found = OnnxRuntimeTensorRt().obstacle("fp16")
    assert found.startswith(f"the installed ONNX Runtime has no {TENSORRT}: it needs onnxruntime-g")
    gpu(monkeypatch, loads=False)
    found = OnnxRuntimeCuda().obstacle("fp32")
    assert found.startswith(f"{CUDA} doesn't load, the graph would run on {CPU}: it needs onnxrunt")
    onnx_runtime._obstacle.cache_clear()
    gpu(monkeypatch)
    assert OnnxRuntimeCuda().obstacle("fp32") is None
    onnx_runtime._obstacle.cache_clear()


def test_the_probe_is_one_addition() -> None:
    one = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    graph = helper.make_graph(nodes, "probe", one[:1], one[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    assert model.SerializeToString() == PROBE
