"""Running a graph: raw bytes in, scores out. Threads are set once, when a session is made."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from drupe.data.image_contract import RawPixel
from drupe.deployment.forks import loaded, require_first_user, require_own
from drupe.deployment.graph_file import external_tensors
from drupe.errors import DrupeError, InputError, MissingExtraError
from drupe.host import available_cores

Backend = Literal["onnxruntime", "openvino"]

MOST_THREADS = 256
"""More would take minutes to start and slow every call."""

Images = NDArray[RawPixel]
Scores = NDArray[np.float32]
Shape = tuple[int | None, ...]

LEAST, MOST = -1e-6, 1 + 1e-6
"""Scores are in [0, 1]; 32-bit sigmoids may end a rounding step outside."""


def is_score(values: Scores) -> NDArray[np.bool_]:
    """Return which of ``values`` are scores: NaN and what lies outside [0, 1] is none."""
    return (values >= LEAST) & (values <= MOST)


class Session(Protocol):
    """A graph ready to run; may be called from several threads at once.

    ``takes``: height, width and channels of the images that the graph takes, None for what it
    leaves open; empty where it takes no batch of images.
    """

    takes: Shape

    def __call__(self, images: Images) -> Scores:
        """Return scores float32 [N] of raw images [N, H, W, C]."""

    def outputs(self, images: Images) -> tuple[Scores, ...]:
        """Return the scores, then those of types, float32 [N, T], where the graph gives such."""


class UnusableGraphError(DrupeError):
    """A graph that a backend can't load: damaged, or made for a newer version of it."""


def available(backend: str) -> bool:
    """Return whether the packages of ``backend`` are installed."""
    try:
        return find_spec(backend) is not None
    except ModuleNotFoundError:
        return False


def installed() -> tuple[Backend, ...]:
    """Return the backends whose packages are installed."""
    return tuple(one for one in get_args(Backend) if available(one))


def default_threads() -> int:
    """Return the threads of whoever names none: the cores that this process may use."""
    return min(available_cores(), MOST_THREADS)


def runs_here(backend: str, precision: str) -> bool:
    """Return whether ``backend`` is installed and this processor computes ``precision`` itself.

    OpenVINO computes bf16 only where the processor does, and takes fp32 without a word elsewhere.
    """
    if not available(backend):
        return False
    if precision != "bf16":
        return True
    if backend != "openvino":
        return False
    return "BF16" in _openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _openvino_core() -> Any:
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


def open_session(
    graph: bytes, backend: str, precision: str, threads: int | None, callers: int = 1
) -> Session:
    """Return a session; ``threads`` (of a call) None takes the cores that this process may use.

    ``callers``: how many threads will call at once. ONNX Runtime serves any number; OpenVINO lets
    calls wait for one another unless each has a stream of its own.

    Raises:
        InputError: a number of threads or callers that can't be, or a precision that this
            processor doesn't compute.
        ForkedProcessError: OpenVINO was used before this process was forked.
        UnusableGraphError: the backend can't load ``graph``, or weights of it lie in other files.
    """
    count = default_threads() if threads is None else threads
    for name, value in (("threads", count), ("callers", callers)):
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_whole or not 1 <= value <= MOST_THREADS:
            raise InputError(
                f"{name}: must be a whole number in [1, {MOST_THREADS}], got {value!r}"
            )
    try:
        require_self_contained(graph)
        if backend == "openvino":
            return OpenVinoSession(graph, precision, count, callers)
        return OnnxRuntimeSession(graph, count)
    except DrupeError:
        raise
    except Exception as error:  # each backend raises types of its own
        reason = str(error).strip().partition("\n")[0]
        raise UnusableGraphError(f"{backend} can't load the graph ({reason})") from None


def require_self_contained(graph: bytes) -> None:
    """Raise an :class:`UnusableGraphError` where ``graph`` has weights in other files.

    What is no ONNX file is a :class:`ValueError`.
    """
    outside = external_tensors(graph)
    if outside:
        raise UnusableGraphError(
            f"the graph must hold all of its weights, got {len(outside):,} in other files, which "
            f"no digest covers, such as {outside[0]!r}"
        )


def require_scores(scores: Scores) -> None:
    """Raise an :class:`InputError` unless all ``scores`` are probabilities; NaN is none."""
    wrong = ~((scores >= LEAST) & (scores <= MOST))
    if wrong.any():
        raise no_score(float(np.asarray(scores)[wrong].flat[0]))


def no_score(score: float) -> InputError:
    """Return the error of a graph that gives ``score`` as one."""
    return InputError(f"scores: must be probabilities in [0, 1], got {score:g} from the graph")


class OnnxRuntimeSession:
    """ONNX Runtime on the CPU. Its sessions may be run from several threads."""

    def __init__(self, graph: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Weights and activations too small to matter make a CPU ten times slower.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        graph_input = self._session.get_inputs()[0]
        self._input = graph_input.name
        self.takes: Shape = _image_shape(graph_input.shape)
        self._process = os.getpid()
        loaded(self)

    def __call__(self, images: Images) -> Scores:
        """Return scores float32 [N] of raw images [N, H, W, C]."""
        return self.outputs(images)[0]

    def outputs(self, images: Images) -> tuple[Scores, ...]:
        """Return the scores, then those of types, float32 [N, T], where the graph gives such."""
        require_own(self._process)
        return tuple(self._session.run(None, {self._input: images}))


class OpenVinoSession:
    """OpenVINO on the CPU, in exactly the precision asked for; a request for each thread."""

    def __init__(self, graph: bytes, precision: str, threads: int, callers: int = 1) -> None:
        self._process = os.getpid()
        core = _openvino_core()
        model = core.read_model(model=graph)
        shape = model.inputs[0].partial_shape
        self.takes: Shape = _image_shape(
            [None if dim.is_dynamic else dim.get_length() for dim in shape]
        )
        self._pixel = model.inputs[0].element_type.get_type_name()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads * callers,
            # Left to itself, OpenVINO takes bf16 where the processor has it: other scores.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        if callers > 1:
            settings |= {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": callers}
        self._model = core.compile_model(model, "CPU", settings)
        if precision == "bf16":
            used = self._model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            if used != "bf16":
                raise InputError(f"openvino bf16: this processor computes it as {used}: not bf16")
        self._requests = threading.local()
        loaded(self)

    def __call__(self, images: Images) -> Scores:
        """Return scores float32 [N] of raw images [N, H, W, C]."""
        return self.outputs(images)[0]

    def outputs(self, images: Images) -> tuple[Scores, ...]:
        """Return the scores, then those of types, float32 [N, T], where the graph gives such."""
        require_own(self._process)
        if self._pixel != _PIXELS.get(images.dtype.name):  # OpenVINO would convert them
            raise TypeError(f"the graph takes {self._pixel}, got {images.dtype.name}")
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._model.create_infer_request()
        # Neither copied in (the call ends before the images can change) nor out, but for N floats.
        results = request.infer([images], share_inputs=True, share_outputs=True)
        return tuple(np.array(results[place]) for place in range(len(results)))


_PIXELS = {"uint8": "u8", "uint16": "u16"}
"""OpenVINO's names of the types that raw pixels have."""


def _image_shape(shape: Sequence[Any]) -> Shape:
    """Return (H, W, C) of an input shape [N, H, W, C], None for open ones; else nothing."""
    if len(shape) != 4:
        return ()
    return tuple(one if isinstance(one, int) else None for one in shape[1:])
