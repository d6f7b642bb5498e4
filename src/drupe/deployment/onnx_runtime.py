"""ONNX Runtime: on the CPU, and on NVIDIA's GPUs by CUDA or TensorRT.

A provider that doesn't load, or lacks an operator, leaves its work to the CPU without an error.
Such a session is refused here: where each node runs is asked of the session itself.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

from drupe.deployment.forks import loaded, require_own
from drupe.deployment.session import (
    Images,
    OtherDeviceError,
    Precision,
    Scores,
    Session,
    SessionSettings,
    Shape,
    image_shape,
    one_at_a_time,
)

CPU, CUDA, TENSORRT = (f"{one}ExecutionProvider" for one in ("CPU", "CUDA", "Tensorrt"))

PROBE = bytes.fromhex(
    "08083a390a0e0a01780a01781201792203416464120570726f62655a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)
"""An ONNX file of one addition: whether a provider takes it tells whether the provider works."""

COMPUTING = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Operators that a session's first provider must compute itself: by them a network is told."""

Options = Mapping[str, str]


class OnnxRuntimeSession:
    """A graph in ONNX Runtime. Its sessions may be run from several threads.

    ``providers``: with their options, the one that the session is named after first; none of them
    leaves a node to the CPU unless the CPU is named. ``singly``: images are run one at a time.
    """

    def __init__(
        self,
        graph: bytes,
        threads: int,
        providers: Mapping[str, Options] | None = None,
        *,
        singly: bool = False,
    ) -> None:
        self._session = _open(graph, threads, providers or {CPU: {}})
        graph_input = self._session.get_inputs()[0]
        self._input = graph_input.name
        self.takes: Shape = image_shape(graph_input.shape)
        self._singly = singly
        self._process = os.getpid()
        loaded(self)

    def __call__(self, images: Images) -> Scores:
        """Return scores float32 [N] of raw images [N, H, W, C]."""
        return self.outputs(images)[0]

    def outputs(self, images: Images) -> tuple[Scores, ...]:
        """Return the scores, then those of types, float32 [N, T], where the graph gives such."""
        require_own(self._process)
        if self._singly:
            return one_at_a_time(self._run, images)
        return self._run(images)

    def _run(self, images: Images) -> tuple[Scores, ...]:
        return tuple(self._session.run(None, {self._input: images}))


def _open(graph: bytes, threads: int, providers: Mapping[str, Options], log_level: int = 3) -> Any:
    """Return ONNX Runtime's session of ``graph``, which these providers compute.

    Raises:
        OtherDeviceError: another provider computes a part of it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = log_level
    # Weights and activations too small to matter make a CPU ten times slower.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if CPU in providers:
        return onnxruntime.InferenceSession(graph, options, providers=[CPU])
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a provider that isn't there: an error, see below
        session = onnxruntime.InferenceSession(
            graph, options, providers=list(providers.items()), enable_fallback=False
        )
    session.disable_fallback()  # else a failing call would be run by the CPU
    _require_placement(session, tuple(providers))
    return session


def _require_placement(session: Any, providers: tuple[str, ...]) -> None:
    """Refuse a session of which a node is not computed by ``providers``, by the first where it
    computes.
    """
    first = providers[0]
    found = session.get_providers()
    if first not in found:
        raise OtherDeviceError(f"{first} doesn't load, the graph would run on {', '.join(found)}")
    if not hasattr(session, "get_provider_graph_assignment_info"):
        raise OtherDeviceError(
            "this ONNX Runtime can't say which provider computes a node: it takes a newer one"
        )
    placed = [
        (node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]
    strays = {
        f"{operator} by {provider}"
        for operator, provider in placed
        if provider not in providers or (operator in COMPUTING and provider != first)
    }
    if strays or all(provider != first for _, provider in placed):
        raise OtherDeviceError(
            f"{first} must compute the graph, got {', '.join(sorted(strays)) or 'nothing for it'}"
        )


@dataclass(frozen=True)
class OnnxRuntimeCpu:
    """ONNX Runtime on the CPU."""

    name: str = "onnxruntime"
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    is_asked_for: bool = False

    def obstacle(self, precision: Precision) -> str | None:
        """Return None where the package is installed."""
        return None if find_spec("onnxruntime") else "the package 'onnxruntime' isn't installed"

    def open(self, graph: bytes, settings: SessionSettings) -> Session:
        """Return a session on the CPU; any number of callers share it."""
        return OnnxRuntimeSession(graph, settings.threads)


@dataclass(frozen=True)
class OnnxRuntimeCuda:
    """ONNX Runtime on a GPU by CUDA. Its fp32 is exact: TF32 is a function of its own."""

    name: str = "onnxruntime-cuda"
    precisions: tuple[Precision, ...] = ("fp32", "tf32")
    is_asked_for: bool = True
    provider: str = CUDA

    def obstacle(self, precision: Precision) -> str | None:
        """Return why CUDA doesn't load, None where it does."""
        return _obstacle((self.provider,), "onnxruntime-gpu in place of onnxruntime, CUDA, cuDNN")

    def open(self, graph: bytes, settings: SessionSettings) -> Session:
        """Return a session on the first GPU; images one at a time in TF32."""
        _preload()
        is_tf32 = settings.precision == "tf32"
        options = cuda_options(is_tf32)
        return OnnxRuntimeSession(graph, settings.threads, {self.provider: options}, singly=is_tf32)


@dataclass(frozen=True)
class OnnxRuntimeTensorRt:
    """ONNX Runtime on a GPU by TensorRT, and by CUDA what TensorRT doesn't take and no layer is.

    The provider has no switch for TF32, which TensorRT uses unless told otherwise: it has no fp32.
    """

    name: str = "onnxruntime-tensorrt"
    precisions: tuple[Precision, ...] = ("tf32", "fp16", "int8")
    is_asked_for: bool = True
    provider: str = TENSORRT

    def obstacle(self, precision: Precision) -> str | None:
        """Return why TensorRT doesn't load, None where it does."""
        needs = "onnxruntime-gpu in place of onnxruntime, CUDA, cuDNN, TensorRT"
        return _obstacle((self.provider, CUDA), needs)

    def open(self, graph: bytes, settings: SessionSettings) -> Session:
        """Return a session on the first GPU, its engine built for one image at a time.

        Building takes minutes, unless the settings' cache holds the engine of this very graph.
        """
        _preload()
        options = tensorrt_options(graph, settings)
        helper = cuda_options(settings.precision == "tf32")
        providers = {self.provider: options, CUDA: helper}
        return OnnxRuntimeSession(graph, settings.threads, providers, singly=True)


def cuda_options(is_tf32: bool) -> dict[str, str]:
    """Return the provider's options: the same kernels each time, not those that win a race."""
    return {"use_tf32": str(int(is_tf32)), "cudnn_conv_algo_search": "HEURISTIC"}


def tensorrt_options(graph: bytes, settings: SessionSettings) -> dict[str, str]:
    """Return the provider's options for one image of the size that ``graph`` takes."""
    given = _open(graph, settings.threads, {CPU: {}}).get_inputs()[0]
    one = "x".join(str(side) for side in (1, *given.shape[1:]))
    profile = {f"trt_profile_{end}_shapes": f"{given.name}:{one}" for end in ("min", "opt", "max")}
    options = {
        **profile,
        "trt_fp16_enable": str(int(settings.precision == "fp16")),
        "trt_int8_enable": str(int(settings.precision == "int8")),
    }
    if settings.cache is not None:
        # The provider knows an engine by the names of a graph's nodes, whatever its weights are.
        digest = hashlib.sha256(graph).hexdigest()
        folder = settings.cache / "tensorrt" / f"{settings.precision}-{digest}"
        folder.mkdir(parents=True, exist_ok=True)
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
    return options


@cache
def _preload() -> None:
    """Load CUDA's libraries where pip has put them; what is found by the system stays."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        with redirect_stdout(sys.stderr):  # it prints what it doesn't find
            onnxruntime.preload_dlls()


@cache
def _obstacle(providers: tuple[str, ...], needs: str) -> str | None:
    """Return why ``providers`` don't compute here, and what they need; None: they do."""
    if not find_spec("onnxruntime"):
        return f"it needs {needs}"
    import onnxruntime

    missing = [one for one in providers if one not in onnxruntime.get_available_providers()]
    if missing:
        return f"the installed ONNX Runtime has no {missing[0]}: it needs {needs}"
    _preload()
    try:
        _open(PROBE, 1, {one: {} for one in providers}, log_level=4)
    except Exception as error:  # the runtime raises types of its own
        reason = str(error).strip().partition("\n")[0]
        return f"{reason}: it needs {needs}"
    return None
