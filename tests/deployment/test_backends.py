from __future__ import annotations

import numpy as np
import pytest

from drupe.deployment import backends
from drupe.deployment.backends import open_session, runs_here
from drupe.errors import InputError


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
