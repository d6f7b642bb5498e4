"""Bundles and networks that were never trained: they take as long as trained ones."""

from __future__ import annotations

from pathlib import Path

import torch

from drupe.data.image_contract import ImageContract
from drupe.deployment.backends import open_session, runs_here
from drupe.deployment.bundle import (
    GOLDEN_FILE,
    digests,
    golden_file,
    golden_images,
    write_bundle,
)
from drupe.deployment.graph import export_graph
from drupe.deployment.manifest import SCHEMA_VERSION, Function, Gate, GraphInput, Manifest
from drupe.models.geometry import Geometry
from drupe.models.network import InputRange, Network, build_network

GRAPH = "fp32.onnx"

WAYS = (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))


def untrained_network(
    architecture: str, size: int, crop: int | None = None, input_range: InputRange = "imagenet"
) -> Network:
    """Return a network with random weights, in evaluation mode."""
    torch.manual_seed(0)
    built = build_network(
        architecture,
        input_range=input_range,
        geometry=Geometry(size, crop),
        pretrained=False,
        frozen=False,
    )
    return built.network.eval()


def untrained_bundle(
    folder: Path,
    architecture: str,
    size: int,
    crop: int | None = None,
    low: float = 0.5,
    high: float = 0.5,
) -> Path:
    """Write a bundle without certificate, as ``drupe export`` would; return ``folder``."""
    content = export_graph(untrained_network(architecture, size, crop), 1.0).content
    golden = golden_images(ImageContract(size))
    ways = [one for one in WAYS if runs_here(*one)]
    scores = {" ".join(way): open_session(content, *way, None)(golden) for way in ways}
    files = {GRAPH: content, GOLDEN_FILE: golden_file(golden, scores)}
    untested = Gate(images=0, max_score_difference=0, mean_score_difference=0, flips=0)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=f"untrained {architecture}",
        classes=("clean", "defect"),
        input=GraphInput(size=size),
        functions=tuple(
            Function(
                graph=GRAPH,
                backend=backend,
                precision=precision,
                low=low,
                high=high,
                certificate=None,
                gate=untested,
            )
            for backend, precision in ways
        ),
        golden=GOLDEN_FILE,
        files=digests(files),
        provenance={},
    )
    write_bundle(folder, manifest, files)
    return folder
