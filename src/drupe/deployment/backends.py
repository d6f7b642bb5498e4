"""Running a graph: raw bytes in, scores out, by one of the backends that are registered here.

A backend is a runtime on a kind of device. Other packages add their own by an entry point of the
group ``drupe.backends``, or by :func:`register_backend`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.graph_file import external_tensors
from drupe.deployment.onnx_runtime import OnnxRuntimeCpu, OnnxRuntimeCuda, OnnxRuntimeTensorRt
from drupe.deployment.open_vino import GPU, NPU, OpenVinoCpu, OpenVinoDevice
from drupe.deployment.session import (
    Backend,
    Images,
    OtherDeviceError,
    Precision,
    Scores,
    Session,
    SessionSettings,
    Shape,
    UnusableGraphError,
)
from drupe.errors import DrupeError, InputError
from drupe.host import available_cores

__all__ = [
    "LEAST",
    "MOST",
    "MOST_THREADS",
    "NAME",
    "Backend",
    "Images",
    "OtherDeviceError",
    "Precision",
    "Scores",
    "Session",
    "SessionSettings",
    "Shape",
    "UnusableGraphError",
    "backend_named",
    "default_threads",
    "installed",
    "is_asked_for",
    "is_score",
    "no_score",
    "obstacle",
    "open_session",
    "register_backend",
    "registered",
    "require_scores",
    "require_self_contained",
    "runs_here",
]

MOST_THREADS = 256
"""More would take minutes to start and slow every call."""

LEAST, MOST = -1e-6, 1 + 1e-6
"""Scores are in [0, 1]; 32-bit sigmoids may end a rounding step outside."""

NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
"""A backend's name: part of file names, arrays' names and messages."""

ENTRY_POINTS = "drupe.backends"

_backends: dict[str, Backend] = {
    one.name: one
    for one in (
        OnnxRuntimeCpu(),
        OpenVinoCpu(),
        OnnxRuntimeCuda(),
        OnnxRuntimeTensorRt(),
        OpenVinoDevice("openvino-gpu", GPU, ("fp32", "fp16", "int8"), "the GPU's OpenCL driver"),
        OpenVinoDevice("openvino-npu", NPU, ("fp16", "int8"), "the NPU's driver"),
    )
}


def register_backend(backend: Backend) -> None:
    """Make ``backend`` known under its name, in this process.

    Raises:
        InputError: a name that is taken or isn't lower-case words with hyphens, or precisions that
            Drupe doesn't know.
    """
    if not re.match(NAME, backend.name) or backend.name in _backends:
        raise InputError(
            "backend: its name must be lower-case letters, digits and hyphens, and not taken, got "
            f"{backend.name!r}"
        )
    unknown = sorted(set(backend.precisions) - set(get_args(Precision)))
    if unknown or not backend.precisions:
        raise InputError(
            f"backend {backend.name}: precisions must be some of "
            f"{', '.join(get_args(Precision))}, got {', '.join(unknown) or 'none'}"
        )
    _backends[backend.name] = backend


@dataclass(frozen=True)
class BrokenBackend:
    """A backend of another package that doesn't load; ``reason`` says why."""

    name: str
    reason: str
    precisions: tuple[Precision, ...] = ()
    is_asked_for: bool = True

    def obstacle(self, precision: Precision) -> str | None:
        """Return why it doesn't load."""
        return self.reason

    def open(self, graph: bytes, settings: SessionSettings) -> Session:
        """Raise an :class:`InputError`."""
        raise InputError(f"backend {self.name}: {self.reason}")


@cache
def _load_entry_points() -> None:
    """Register what other packages bring, once; a broken one is known as such, and harms no other.

    An entry point names a class, or a function, that returns the backend when called.
    """
    for point in entry_points(group=ENTRY_POINTS):
        try:
            register_backend(point.load()())
        except Exception as error:  # another package's code
            reason = f"{point.value} doesn't load ({type(error).__name__}: {error})"
            _backends.setdefault(point.name, BrokenBackend(point.name, reason))


def registered() -> tuple[Backend, ...]:
    """Return every backend that is known, whether it works here or not."""
    _load_entry_points()
    return tuple(_backends.values())


def backend_named(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        InputError: there is none.
    """
    known = {one.name: one for one in registered()}
    if name not in known:
        raise InputError(f"backend: must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def obstacle(backend: str, precision: str) -> str | None:
    """Return why ``backend`` can't compute ``precision`` here; None: it can."""
    try:
        found = backend_named(backend)
    except InputError:
        return "no such backend is installed"
    if isinstance(found, BrokenBackend):
        return found.reason
    offered = next((one for one in found.precisions if one == precision), None)
    if offered is None:
        return f"it computes {', '.join(found.precisions)}"
    return found.obstacle(offered)


def runs_here(backend: str, precision: str) -> bool:
    """Return whether ``backend`` is installed and computes ``precision`` here itself."""
    return obstacle(backend, precision) is None


def is_asked_for(backend: str) -> bool:
    """Return whether a backend is used only where it is named; one that isn't known is."""
    return next((one.is_asked_for for one in registered() if one.name == backend), True)


def installed() -> tuple[str, ...]:
    """Return the backends that are used unless others are asked for, and can be used here."""
    usual = (one for one in registered() if not one.is_asked_for)
    return tuple(one.name for one in usual if runs_here(one.name, one.precisions[0]))


def is_score(values: Scores) -> NDArray[np.bool_]:
    """Return which of ``values`` are scores: NaN and what lies outside [0, 1] is none."""
    return (values >= LEAST) & (values <= MOST)


def default_threads() -> int:
    """Return the threads of whoever names none: the cores that this process may use."""
    return min(available_cores(), MOST_THREADS)


def open_session(
    graph: bytes,
    backend: str,
    precision: str,
    threads: int | None,
    callers: int = 1,
    cache: Path | None = None,
) -> Session:
    """Return a session; ``threads`` (of a call) None takes the cores that this process may use.

    ``callers``: how many threads will call at once. ONNX Runtime serves any number; OpenVINO lets
    calls wait for one another unless each has a stream of its own. ``cache``: see
    :class:`drupe.deployment.session.SessionSettings`.

    Raises:
        InputError: a number of threads or callers that can't be, a backend that isn't known, a
            precision that it or this processor doesn't compute, or a session that would run
            elsewhere than on the backend's device.
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
    chosen = backend_named(backend)
    computed = next((one for one in chosen.precisions if one == precision), None)
    if computed is None:
        offered = ", ".join(chosen.precisions) or "nothing here"
        raise InputError(f"precision: {backend} computes {offered}, got {precision!r}")
    try:
        require_self_contained(graph)
        return chosen.open(graph, SessionSettings(computed, count, callers, cache))
    except OtherDeviceError as error:
        raise InputError(f"{backend} {precision}: {error}: refused") from None
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
    wrong = ~is_score(scores)
    if wrong.any():
        raise no_score(float(np.asarray(scores)[wrong].flat[0]))


def no_score(score: float) -> InputError:
    """Return the error of a graph that gives ``score`` as one."""
    return InputError(f"scores: must be probabilities in [0, 1], got {score:g} from the graph")
