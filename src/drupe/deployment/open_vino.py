"""OpenVINO: on the CPU, and on Intel's GPUs and NPUs."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from drupe.deployment.forks import loaded, require_first_user, require_own
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
from drupe.errors import InputError, MissingExtraError

CPU, GPU, NPU = "CPU", "GPU", "NPU"

PIXELS = {"uint8": "u8", "uint16": "u16"}
"""OpenVINO's names of the types that raw pixels have."""

FLOATS: dict[Precision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""OpenVINO's name of the type that floating-point layers are computed in, by precision."""


class OpenVinoSession:
    """OpenVINO on one device, in exactly the precision asked for; a request for each thread."""

    def __init__(self, graph: bytes, settings: SessionSettings, device: str = CPU) -> None:
        self._process = os.getpid()
        core = _core()
        model = core.read_model(model=graph)
        shape = model.inputs[0].partial_shape
        sides = [None if dim.is_dynamic else dim.get_length() for dim in shape]
        self.takes: Shape = image_shape(sides)
        self._pixel = model.inputs[0].element_type.get_type_name()
        self._singly = device == NPU or (device != CPU and settings.precision != "fp32")
        if device == NPU:  # it takes no graph with an open axis
            model.reshape([1, *sides[1:]])
        self._model = core.compile_model(model, device, _properties(settings, device))
        _require_as_asked(self._model, settings.precision, device)
        self._requests = threading.local()
        loaded(self)

    def __call__(self, images: Images) -> Scores:
        """Return scores float32 [N] of raw images [N, H, W, C]."""
        return self.outputs(images)[0]

    def outputs(self, images: Images) -> tuple[Scores, ...]:
        """Return the scores, then those of types, float32 [N, T], where the graph gives such."""
        require_own(self._process)
        if self._pixel != PIXELS.get(images.dtype.name):  # OpenVINO would convert them
            raise TypeError(f"the graph takes {self._pixel}, got {images.dtype.name}")
        if self._singly:
            return one_at_a_time(self._run, images)
        return self._run(images)

    def _run(self, images: Images) -> tuple[Scores, ...]:
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._model.create_infer_request()
        # Neither copied in (the call ends before the images can change) nor out, but for N floats.
        results = request.infer([images], share_inputs=True, share_outputs=True)
        return tuple(np.array(results[place]) for place in range(len(results)))


def _properties(settings: SessionSettings, device: str) -> dict[str, Any]:
    """Return what a device is told: left to itself, it takes the fastest type, with other scores.

    That is bf16 on CPUs that have it, fp16 on GPUs. An NPU has no fp32 for what int8 leaves out.
    """
    float_type = "f16" if device == NPU else FLOATS[settings.precision]
    found: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY" if settings.callers == 1 else "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": float_type,
    }
    if device == CPU:
        found["INFERENCE_NUM_THREADS"] = settings.threads * settings.callers
    if settings.callers > 1 and device != NPU:
        found["NUM_STREAMS"] = settings.callers
    if settings.cache is not None:
        found["CACHE_DIR"] = str(settings.cache / "openvino")
    return found


def _require_as_asked(model: Any, precision: Precision, device: str) -> None:
    """Refuse a compiled model that runs on another device, or in another precision."""
    found = [str(one) for one in model.get_property("EXECUTION_DEVICES")]
    if not found or any(one.partition(".")[0] != device for one in found):
        raise OtherDeviceError(f"must be computed by {device}, got {', '.join(found) or 'none'}")
    if device == CPU and precision != "bf16":
        return
    used = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if device == CPU and used != "bf16":
        raise InputError(f"openvino bf16: this processor computes it as {used}: not bf16")
    asked = "f16" if device == NPU else FLOATS[precision]
    if used != asked:
        raise OtherDeviceError(f"{precision} must be computed in {asked}, got {used} on {device}")


@dataclass(frozen=True)
class OpenVinoCpu:
    """OpenVINO on the CPU; bf16 only where the processor computes it itself."""

    name: str = "openvino"
    precisions: tuple[Precision, ...] = ("fp32", "int8", "bf16")
    is_asked_for: bool = False

    def obstacle(self, precision: Precision) -> str | None:
        """Return why it can't compute ``precision`` here; OpenVINO would take fp32 for bf16."""
        if missing := _missing():
            return missing
        if precision == "bf16" and "BF16" not in _capabilities(CPU):
            return "this processor doesn't compute bf16 itself"
        return None

    def open(self, graph: bytes, settings: SessionSettings) -> Session:
        """Return a session; callers beyond those of the settings wait for one another."""
        return OpenVinoSession(graph, settings)


@dataclass(frozen=True)
class OpenVinoDevice:
    """OpenVINO on a GPU or NPU of Intel, named as OpenVINO does: the first one of its kind."""

    name: str
    device: str
    precisions: tuple[Precision, ...]
    driver: str
    is_asked_for: bool = True

    def obstacle(self, precision: Precision) -> str | None:
        """Return why there is no such device, or why it doesn't compute ``precision``."""
        if missing := _missing():
            return missing
        found = _core().available_devices
        if not any(one.partition(".")[0] == self.device for one in found):
            return (
                f"OpenVINO finds {', '.join(found)} here, no {self.device}: it needs {self.driver}"
            )
        needed = {"fp16": "FP16", "int8": "INT8"}.get(precision)
        if needed and needed not in _capabilities(self.device):
            return f"this {self.device} doesn't compute {precision}"
        return None

    def open(self, graph: bytes, settings: SessionSettings) -> Session:
        """Return a session on this device alone; images one at a time where it isn't fp32."""
        return OpenVinoSession(graph, settings, self.device)


def _missing() -> str | None:
    try:
        import openvino  # noqa: F401
    except ModuleNotFoundError:
        return "the package 'openvino' isn't installed: pip install 'drupe[openvino]'"
    return None


def _capabilities(device: str) -> list[str]:
    return [str(one) for one in _core().get_property(device, "OPTIMIZATION_CAPABILITIES")]


def _core() -> Any:
    """Return OpenVINO's core, in the process that was the first to ask for it.

    Raises:
        MissingExtraError: OpenVINO isn't installed.
        ForkedProcessError: this process was forked from that one.
    """
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise MissingExtraError("this bundle", "openvino", "openvino") from error
    require_first_user("OpenVINO")
    return openvino.Core()
