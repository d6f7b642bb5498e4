"""An existing Ray cluster: reached, found fit for this version of Drupe, and measured."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from drupe import __version__
from drupe.errors import InputError

AUTO = "auto"
CLIENT = "ray://"
LISTENER_SECONDS = 5.0
CONNECT_SECONDS = 15.0
"""Ray itself tries for minutes, and then ends the process."""
PROBE_SECONDS = 120.0
"""For a busy node to start a Python process and import Ray."""


@dataclass(frozen=True)
class Share:
    """A run's part of a node; ``gpus`` may be a fraction of one, 0.0 where there are none."""

    cpus: int
    gpus: float

    def runs_on(self, resources: Mapping[str, float], with_gpu: bool) -> int:
        """Return how many such runs a node of these ``resources`` takes at once."""
        by_cpu = int(resources.get("CPU", 0) // self.cpus)
        if not with_gpu or not self.gpus:
            return by_cpu
        return min(by_cpu, int(resources.get("GPU", 0) / self.gpus + 1e-6))


def connect(address: str) -> None:
    """Join the cluster at ``address`` as a driver.

    Raises:
        InputError: it can't be reached within about 20 seconds, or Ray refuses it.
    """
    where = f"--address {address}"
    _require_listener(address, where)
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")
    refusals: list[str] = []

    def join() -> None:
        try:
            ray.init(
                address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True
            )
        except Exception as error:
            refusals.append(str(error).splitlines()[0] if str(error) else type(error).__name__)

    # In a thread, because Ray can't be interrupted while it tries.
    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if refusals:
        raise InputError(f"{where}: no Ray cluster could be joined: {refusals[0]}")
    if thread.is_alive():
        raise InputError(
            f"{where}: must be a running Ray cluster, got no answer in {CONNECT_SECONDS:.0f} s"
        )


def _require_listener(address: str, where: str) -> None:
    """Refuse an address at once where nobody listens."""
    if address == AUTO:
        return
    host, _, port = address.removeprefix(CLIENT).rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"{where}: must be auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), LISTENER_SECONDS).close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"{where}: no Ray cluster can be reached there: {reason}") from None


def nodes() -> list[Mapping[str, Any]]:
    """Return the nodes that are alive and have processors for runs."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def measure(runs: int = 1) -> Share:
    """Return the share of a run, after every node has been found to have this version of Drupe.

    A run gets a GPU, or the fraction of it that memory allows, and an equal share of the
    processors; without any GPU, an ``runs``-th of the smallest node.

    Raises:
        InputError: there is no node, or one that lacks Drupe or has another version.
    """
    found = nodes()
    if not found:
        raise InputError("the Ray cluster has no node with a processor (CPU >= 1) for runs")
    asked = [_start_probe(node) for node in found]  # all at once
    answers = [_probe_result(node, reference) for node, reference in zip(found, asked, strict=True)]
    problems = [answer["problem"] for answer in answers if answer["problem"]]
    if problems:
        raise InputError(problems)
    with_gpu = [
        (node["Resources"], max(1, answer["runs_per_gpu"]))
        for node, answer in zip(found, answers, strict=True)
        if node["Resources"].get("GPU", 0) >= 1
    ]
    if not with_gpu:
        return Share(max(1, int(min(node["Resources"]["CPU"] for node in found)) // runs), 0.0)
    per_gpu = min(runs_per_gpu for _, runs_per_gpu in with_gpu)
    cpus = min(res["CPU"] // (res["GPU"] * per_gpu) for res, _ in with_gpu)
    return Share(max(1, int(cpus)), 1 / per_gpu)


def _start_probe(node: Mapping[str, Any]) -> Any:
    place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    return ray.remote(_probe_function()).options(num_cpus=0, scheduling_strategy=place).remote()


def _probe_result(node: Mapping[str, Any], reference: Any) -> dict[str, Any]:
    name = node["NodeManagerHostname"]
    try:
        found: dict[str, Any] = ray.get(reference, timeout=PROBE_SECONDS)
    except ray.exceptions.RayError as error:
        return {"problem": f"node {name}: doesn't answer: {str(error).splitlines()[0]}"}
    version = found["version"]
    if version is None:
        problem = f"node {name}: needs Drupe {__version__}, but its Python ({found['python']}) "
        return {"problem": f"{problem} can't import it: {found['reason']}"}
    if version != __version__:
        problem = f"node {name}: must have the version of Drupe that runs the study, {__version__}"
        return {"problem": f"{problem}, got {version}"}
    return {"problem": "", **found}


def _probe_function() -> Callable[[], dict[str, Any]]:
    """Return a function that travels as code: it must run where Drupe isn't installed."""

    def probe() -> dict[str, Any]:
        import sys

        try:
            import drupe
            from drupe.study.execution.local import find_devices
        except ImportError as error:
            return {"version": None, "python": sys.executable, "reason": str(error)}
        per_gpu = min((device.runs for device in find_devices()), default=1)
        return {"version": drupe.__version__, "runs_per_gpu": per_gpu}

    return probe


def total_runs(share: Share, alive: Sequence[Mapping[str, Any]], with_gpu: bool) -> int:
    """Return how many runs of ``share`` the nodes ``alive`` take at once."""
    return sum(share.runs_on(node["Resources"], with_gpu) for node in alive)
