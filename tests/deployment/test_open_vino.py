"""OpenVINO's sessions. There is no GPU or NPU here: a core stands in that computes on the CPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto

from drupe.deployment.backends import obstacle, open_session
from drupe.errors import InputError
from onnx_files import SIDE, classifier

openvino = pytest.importorskip("openvino", reason="needs drupe[openvino]")
CAPABLE = ["FP32", "FP16", "INT8", "BIN"]


class Core:
    """OpenVINO's core where ``device`` is: the CPU computes, the answers name ``runs_on``."""

    def __init__(self, device: str, runs_on: list[str], precision: str) -> None:
        self._core, self._device = openvino.Core(), device
        self._runs_on, self._precision = runs_on, precision
        self.asked: dict[str, object] = {}
        self.batches: list[object] = []
        self.available_devices = ["CPU", device]
        self.read_model = self._core.read_model

    def get_property(self, device: str, name: str) -> list[str]:
        assert (device.partition(".")[0], name) == (
            self._device.partition(".")[0],
            "OPTIMIZATION_CAPABILITIES",
        )
        return CAPABLE

    def compile_model(self, model, device: str, settings: dict):
        self.asked = {"device": device, **settings}
        axis = model.inputs[0].partial_shape[0]
        self.batches.append("any" if axis.is_dynamic else axis.get_length())
        compiled = self._core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        known = {
            "EXECUTION_DEVICES": self._runs_on,
            "INFERENCE_PRECISION_HINT": SimpleNamespace(get_type_name=lambda: self._precision),
        }
        return SimpleNamespace(
            get_property=known.__getitem__, create_infer_request=compiled.create_infer_request
        )


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> bytes:
    file = tmp_path_factory.mktemp("graph") / "one.onnx"
    kind = {"layout": "NHWC", "pixel": TensorProto.UINT8, "end": "Sigmoid"}
    return classifier(file, outputs=1, **kind).read_bytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


def core(monkeypatch, device: str, runs_on: list[str], precision: str) -> Core:
    found = Core(device, runs_on, precision)
    monkeypatch.setattr(openvino, "Core", lambda: found)
    return found


@pytest.mark.parametrize(
    ("backend", "precision", "device", "hint", "batch"),
    [
        ("openvino-gpu", "fp32", "GPU.0", "f32", "any"),
        ("openvino-gpu", "fp16", "GPU", "f16", "any"),
        ("openvino-gpu", "int8", "GPU", "f32", "any"),
        ("openvino-npu", "fp16", "NPU", "f16", 1),
        ("openvino-npu", "int8", "NPU", "f16", 1),
    ],
)
def test_a_device_is_asked_for_by_name_and_in_one_precision(
    monkeypatch, graph, images, backend, precision, device, hint, batch
) -> None:
    expected = open_session(graph, "openvino", "fp32", 1)(images)
    found = core(monkeypatch, device, [device], hint)
    assert obstacle(backend, precision) is None
    session = open_session(graph, backend, precision, 1, callers=2)
    np.testing.assert_allclose(session(images), expected, atol=1e-6)
    assert found.asked["device"] == device.partition(".")[0], "never AUTO"
    assert found.asked["INFERENCE_PRECISION_HINT"] == hint
    assert "INFERENCE_NUM_THREADS" not in found.asked
    assert ("NUM_STREAMS" in found.asked) == (device != "NPU")
    assert found.batches == [batch]


@pytest.mark.parametrize("runs_on", [["CPU"], ["GPU", "CPU"], []])
def test_a_model_that_runs_elsewhere_is_refused(monkeypatch, graph, runs_on) -> None:
    core(monkeypatch, "GPU", runs_on, "f32")
    words = f"openvino-gpu fp32: must be computed by GPU, got {', '.join(runs_on) or 'none'}: ref"
    with pytest.raises(InputError, match=words):
        open_session(graph, "openvino-gpu", "fp32", 1)


def test_a_device_that_takes_another_precision_is_refused(monkeypatch, graph) -> None:
    core(monkeypatch, "GPU", ["GPU"], "f16")  # what OpenVINO takes on GPUs unless told otherwise
    with pytest.raises(InputError, match="fp32 must be computed in f32, got f16 on GPU: refused"):
        open_session(graph, "openvino-gpu", "fp32", 1)


def test_a_missing_device_and_a_precision_that_it_lacks_are_told(monkeypatch) -> None:
    core(monkeypatch, "GPU", ["GPU"], "f32")
    assert obstacle("openvino-npu", "fp16") == (
        "OpenVINO finds CPU, GPU here, no NPU: it needs the NPU's driver"
    )
    monkeypatch.setattr(f"{__name__}.CAPABLE", ["FP32"])
    assert obstacle("openvino-gpu", "fp16") == "this GPU doesn't compute fp16"
    assert obstacle("openvino-gpu", "fp32") is None
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert obstacle("openvino-gpu", "fp32") == (
        "the package 'openvino' isn't installed: pip install 'drupe[openvino]'"
    )


def test_what_was_compiled_is_kept_where_asked(graph, images, tmp_path) -> None:
    first = open_session(graph, "openvino", "fp32", 1, cache=tmp_path)(images)
    (kept,) = (tmp_path / "openvino").iterdir()
    changed = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(
        open_session(graph, "openvino", "fp32", 1, cache=tmp_path)(images), first
    )
    assert [one.stat().st_mtime_ns for one in (tmp_path / "openvino").iterdir()] == [changed]
