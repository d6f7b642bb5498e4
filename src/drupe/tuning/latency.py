"""The time that a decision of a trial's network would take here, before anything is trained."""

from __future__ import annotations

from dataclasses import asdict

from drupe.deployment.backends import default_threads, open_session
from drupe.deployment.eager import taken_by
from drupe.deployment.graph import export_graph
from drupe.deployment.timing import Subject, pinned, time_in_turns
from drupe.host import cpu_name
from drupe.models.geometry import Geometry
from drupe.models.network import build_network
from drupe.training.config import ExperimentConfig

BACKEND, PRECISION = "onnxruntime", "fp32"
SAMPLES = 200
QUANTILE = 0.95


def latency_key(config: ExperimentConfig, geometry: Geometry) -> str:
    """Return all that a latency depends on: network, geometry, input scale, processor, threads."""
    sides = "/".join(str(value) for value in asdict(geometry).values())
    machine = f"{cpu_name()}, {default_threads()} threads"
    given = config.input
    kind = f" mono {given.white_level}" if given.channels == "mono" else ""
    return f"{config.model.architecture} {given.range} {sides}{kind} on {machine}"


def measure_latency(config: ExperimentConfig, geometry: Geometry) -> float:
    """Return p95 in ms of one decision: raw bytes to score, ONNX Runtime fp32, all cores.

    The graph is exported from random weights: their values change no time. Nothing else should run
    meanwhile. Resizing at decoding and int8 are not counted in.
    """
    network = build_network(
        config.model.architecture,
        input_range=config.input.range,
        channels=config.contract.shape[2],
        white_level=config.input.white_level,
        geometry=geometry,
        pretrained=False,
        frozen=False,
    ).network
    graph = export_graph(network.eval(), temperature=1.0).content
    with pinned(None) as threads:
        session = open_session(graph, BACKEND, PRECISION, threads)
        subject = Subject("trial", BACKEND, PRECISION, threads, taken_by(network), session)
        (timing,) = time_in_turns([subject], samples=SAMPLES)
    return timing.quantile(QUANTILE).value


def slowness(limit: float, milliseconds: float) -> str:
    """Return why a network is out of the question, empty where it isn't."""
    if milliseconds <= limit:
        return ""
    return f"p95 {milliseconds:.2f} ms, allowed {limit:g} ms"
