from __future__ import annotations

import sys

import numpy as np
import pytest

from drupe.deployment import backends
from drupe.deployment.backends import available, installed, open_session, runs_here
from drupe.errors import InputError, MissingExtraError


@pytest.mark.thorough
def test_bf16_is_run_only_by_a_processor_that_has_it(bundle, crops) -> None:
    assert runs_here("onnxruntime", "fp32")
    assert not runs_here("onnxruntime", "bf16")
    assert not runs_here("absent_backend", "fp32")
    graph = (bundle / "fp32.onnx").read_bytes()
    if runs_here("openvino", "bf16"):
        exact, reduced = (open_session(graph, "openvino", name, 1) for name in ("fp32", "bf16"))
        assert 0 < np.abs(exact(crops) - reduced(crops)).max() < 0.2
        return
    with pytest.raises(InputError, match="this processor computes it as f32: not bf16"):
        open_session(graph, "openvino", "bf16", 1)


def test_a_precision_that_this_processor_lacks_is_passed_over(bundle, monkeypatch) -> None:
    from drupe.deployment.manifest import read_manifest
    from drupe.deployment.runtime import choose_function

    manifest = read_manifest(bundle)
    first = manifest.functions[0].model_copy(update={"backend": "openvino", "precision": "bf16"})
    offered = manifest.model_copy(update={"functions": (first, *manifest.functions)})
    monkeypatch.setattr(backends, "available", lambda backend: backend == "onnxruntime")
    assert choose_function(offered, bundle, None, None, False).precision == "fp32"
    with pytest.raises(InputError, match="needs openvino bf16, which is not installed or not"):
        choose_function(offered, bundle, None, "bf16", False)


def test_what_is_installed_is_asked_of_the_packages(monkeypatch) -> None:
    assert available("numpy")
    assert not available("drupe_absent")
    assert not available("drupe_absent.inner")  # find_spec raises: the parent isn't there
    monkeypatch.setattr(backends, "available", lambda backend: backend == "onnxruntime")
    assert installed() == ("onnxruntime",)
    assert not runs_here("openvino", "bf16")


def test_without_openvino_the_extra_is_named(bundle, monkeypatch) -> None:
    graph = (bundle / "fp32.onnx").read_bytes()
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
    assert backends._image_shape(shape) == takes


def test_a_precision_that_the_processor_replaces_is_refused(monkeypatch, bundle) -> None:
    """As where OpenVINO takes fp32 without a word; the compiled model says what it uses."""
    openvino = pytest.importorskip("openvino")

    class Compiled:
        def get_property(self, name: str) -> openvino.Type:
            assert name == "INFERENCE_PRECISION_HINT"
            return openvino.Type.f32

    core = openvino.Core()

    class Core:
        read_model = staticmethod(core.read_model)

        def compile_model(self, model, device: str, settings: dict) -> Compiled:
            assert (device, settings["INFERENCE_PRECISION_HINT"]) == ("CPU", "bf16")
            return Compiled()

    monkeypatch.setattr(openvino, "Core", Core)
    with pytest.raises(InputError, match="this processor computes it as f32: not bf16"):
        open_session((bundle / "fp32.onnx").read_bytes(), "openvino", "bf16", 1)
