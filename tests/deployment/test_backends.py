from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

import device_stand_in
from device_stand_in import NAME, StandIn
from drupe.deployment import backends
from drupe.deployment.backends import (
    backend_named,
    installed,
    is_asked_for,
    obstacle,
    open_session,
    register_backend,
    registered,
    runs_here,
)
from drupe.deployment.session import image_shape
from drupe.errors import InputError, MissingExtraError
from service_files import brightness_graph


@pytest.fixture(scope="module")
def graph() -> bytes:
    return brightness_graph(1.0)


@pytest.mark.thorough
def test_bf16_is_run_only_by_a_processor_that_has_it(bundle, crops) -> None:
    assert runs_here("onnxruntime", "fp32")
    assert not runs_here("onnxruntime", "bf16")
    assert not runs_here("absent-backend", "fp32")
    graph = (bundle / "fp32.onnx").read_bytes()
    if runs_here("openvino", "bf16"):
        exact, reduced = (open_session(graph, "openvino", name, 1) for name in ("fp32", "bf16"))
        assert 0 < abs(exact(crops) - reduced(crops)).max() < 0.2
        return
    with pytest.raises(InputError, match="this processor computes it as f32: not bf16"):
        open_session(graph, "openvino", "bf16", 1)


def test_what_is_known_and_what_works_are_two_things(monkeypatch) -> None:
    names = [one.name for one in registered()]
    assert names[:2] == ["onnxruntime", "openvino"]
    devices = {"onnxruntime-cuda", "onnxruntime-tensorrt", "openvino-gpu", "openvino-npu"}
    assert devices <= set(names)
    assert all(is_asked_for(name) for name in (*devices, "nobodys"))
    assert not is_asked_for("openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert installed() == ("onnxruntime",), "no device is used unless it is named"
    assert obstacle("openvino", "fp32") == (
        "the package 'openvino' isn't installed: pip install 'drupe[openvino]'"
    )
    assert obstacle("onnxruntime", "bf16") == "it computes fp32, int8"
    assert obstacle("nobodys", "fp32") == "no such backend is installed"
    with pytest.raises(
        InputError, match=r"backend: must be one of onnxruntime, openvino, .* got 'n"
    ):
        backend_named("nobodys")


def test_a_precision_that_a_backend_lacks_is_not_replaced(graph) -> None:
    with pytest.raises(InputError) as caught:
        open_session(graph, "onnxruntime", "fp16", 1)
    assert str(caught.value) == "precision: onnxruntime computes fp32, int8, got 'fp16'"


def test_a_backend_can_be_registered_once_and_by_a_plain_name(monkeypatch) -> None:
    monkeypatch.setattr(backends, "_backends", dict(backends._backends))
    register_backend(StandIn())
    assert obstacle(NAME, "fp16") is None
    for wrong in (NAME, "onnxruntime", "Not plain", "a_b", "ends-"):
        with pytest.raises(InputError, match=f"and not taken, got '{wrong}'"):
            register_backend(StandIn(name=wrong))
    with pytest.raises(InputError, match=r"precisions must be some of fp32, .*, got fp64"):
        register_backend(StandIn(name="other", precisions=("fp32", "fp64")))


def test_other_packages_bring_backends_and_a_broken_one_harms_none(monkeypatch) -> None:
    monkeypatch.setattr(backends, "_backends", dict(backends._backends))
    points = [
        EntryPoint(NAME, "device_stand_in:StandIn", backends.ENTRY_POINTS),
        EntryPoint("lost", "drupe_absent:Lost", backends.ENTRY_POINTS),
    ]
    monkeypatch.setattr(backends, "entry_points", lambda group: points)
    backends._load_entry_points.cache_clear()
    try:
        assert type(backend_named(NAME)) is device_stand_in.StandIn
        assert runs_here(NAME, "fp32")
        assert obstacle("lost", "fp32") == (
            "drupe_absent:Lost doesn't load (ModuleNotFoundError: No module named 'drupe_absent')"
        )
        assert runs_here("onnxruntime", "fp32")
    finally:
        monkeypatch.undo()
        backends._load_entry_points.cache_clear()


def test_without_openvino_the_extra_is_named(graph, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        open_session(graph, "openvino", "fp32", 1)
    assert str(caught.value) == (
        "this bundle needs the package 'openvino', which is not installed: "
        "pip install 'drupe[openvino]'"
    )


@pytest.mark.parametrize(
    ("shape", "takes"),
    [
        (["N", 64, 64, 3], (64, 64, 3)),
        ([1, 8, 8, 3], (8, 8, 3)),
        (["N", "S", "S", 3], (None, None, 3)),
        ([None, None, None, 3], (None, None, 3)),
        (["N", 64, 32, 1], (64, 32, 1)),
        (["N", 3, 64, 64], (3, 64, 64)),
        (["N", 64, 64], ()),
    ],
)
def test_the_images_that_a_graph_takes(shape, takes) -> None:
    assert image_shape(shape) == takes


def test_a_precision_that_the_processor_replaces_is_refused(monkeypatch, graph) -> None:
    """As where OpenVINO takes fp32 without a word; the compiled model says what it uses."""
    openvino = pytest.importorskip("openvino")

    class Compiled:
        def get_property(self, name: str) -> object:
            known = {"EXECUTION_DEVICES": ["CPU"], "INFERENCE_PRECISION_HINT": openvino.Type.f32}
            return known[name]

    core = openvino.Core()

    class Core:
        read_model = staticmethod(core.read_model)

        def compile_model(self, model, device: str, settings: dict) -> Compiled:
            assert (device, settings["INFERENCE_PRECISION_HINT"]) == ("CPU", "bf16")
            return Compiled()

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(InputError, match="this processor computes it as f32: not bf16"):
        open_session(graph, "openvino", "bf16", 1)
