from __future__ import annotations

import pytest

from device_stand_in import NAME, StandIn, registered
from drupe.deployment import function_specs
from drupe.deployment.function_specs import require_computable, specs_for
from drupe.errors import InputError


@pytest.fixture(autouse=True)
def no_bf16(monkeypatch) -> None:
    monkeypatch.setattr(function_specs, "native_reduced", lambda device: None)


def names(*asked, **rest) -> list[str]:
    return [f"{one.graph}: {one.name}" for one in specs_for(*asked, **rest)]


def test_a_device_is_used_where_it_is_named(monkeypatch) -> None:
    registered(monkeypatch, StandIn(precisions=("fp32", "fp16", "int8")))
    assert not any(NAME in name for name in names("auto", None, has_int8=True))
    assert names("fp32", (NAME, "onnxruntime", NAME)) == [
        f"fp32.onnx: {NAME} fp32",
        "fp32.onnx: onnxruntime fp32",
    ]
    assert names("auto", (NAME,)) == [f"fp32.onnx: {NAME} fp32", f"fp32.onnx: {NAME} fp16"]
    assert names("auto", (NAME,), has_int8=True)[-1] == f"int8.onnx: {NAME} int8"
    assert names("fp16", (NAME,)) == [f"fp32.onnx: {NAME} fp16"]


def test_every_named_backend_must_compute_what_is_asked_for(monkeypatch) -> None:
    registered(monkeypatch, StandIn())
    require_computable("fp16", (NAME,))
    require_computable("auto", (NAME, "onnxruntime"))
    with pytest.raises(InputError) as caught:
        require_computable("fp16", (NAME, "onnxruntime"))
    assert str(caught.value) == (
        "--backend onnxruntime: must compute fp16 here, but it computes fp32, int8"
    )
    registered(monkeypatch, StandIn(missing="its cable is out"))
    with pytest.raises(InputError) as caught:
        require_computable("auto", (NAME, "onnxruntime"))
    assert str(caught.value) == (
        f"--backend {NAME}: must compute any precision here, but its cable is out"
    )
    with pytest.raises(InputError, match="backend: must be one of onnxruntime, openvino"):
        require_computable("fp32", ("nobodys",))


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_device_s_precision_takes_a_device(precision) -> None:
    with pytest.raises(InputError, match=f"--precision {precision}: takes a --backend .* onnxrunt"):
        require_computable(precision, None)
