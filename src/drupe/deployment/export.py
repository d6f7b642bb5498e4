"""A finished run becomes a bundle: graphs, gate, certificates, golden samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.deployment.backends import Session, available, open_session
from drupe.deployment.bench import median_ms
from drupe.deployment.bundle import (
    GOLDEN_FILE,
    digests,
    golden_file,
    golden_images,
    require_new,
    write_bundle,
)
from drupe.deployment.drift import CALIBRATION_FILE, CalibrationScores, calibration_file
from drupe.deployment.gate import Crops, compare_scores, run_all
from drupe.deployment.graph import ExportedGraph, export_graph
from drupe.deployment.manifest import SCHEMA_VERSION, Function, Gate, GraphInput, Manifest
from drupe.deployment.state_dict import (
    STATE_DICT_FILE,
    plain_weights,
    require_torchvision,
)
from drupe.errors import DrupeError, InputError
from drupe.evaluation.certificate import Certificate, MeasuredOn, NotCertifiableError
from drupe.evaluation.lanes import Thresholds
from drupe.evaluation.operating_point import OperatingPoint, Request, operating_point
from drupe.evaluation.source import ModelPredictions, file_hash, read_run_predictions
from drupe.files import read_json
from drupe.models.network import Network
from drupe.progress import Progress, silent
from drupe.training.preparation import PreparedData, prepare_data
from drupe.training.record import RunRecord, read_config, read_record
from drupe.training.saved import MODEL_FILE, NetworkMetadata, load_network

FP32_GRAPH = "fp32.onnx"


class GateError(DrupeError):
    """An exported function decides otherwise than the network that was tested."""


@dataclass(frozen=True)
class Exported:
    """What was written, and what the gate found for each function."""

    bundle: Path
    manifest: Manifest
    sizes: dict[str, int]
    flushed_weights: int
    refusal: NotCertifiableError | None

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe export``."""
        return {
            "bundle": str(self.bundle),
            "flushed_weights": self.flushed_weights,
            "functions": [
                {
                    "graph": one.graph,
                    "backend": one.backend,
                    "precision": one.precision,
                    **one.gate.model_dump(),
                    "size_bytes": self.sizes[one.graph],
                    "p50_ms": one.p50_ms,
                    "low": one.low,
                    "high": one.high,
                    "certificate": one.certificate,
                }
                for one in self.manifest.functions
            ],
            "state_dict": self.manifest.provenance.get("state_dict"),
        }


def export_run(
    run: Path,
    bundle: Path,
    store: Path,
    *,
    request: Request | None = None,
    threads: int | None = None,
    state_dict: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Export a finished run in fp32 for every backend that is installed, and write the bundle.

    The thresholds are those of ``request`` (by default those that the run's certificate was made
    for), certified on the run's calibration predictions. Where there are too few defects the
    bundle is written without a certificate, at the threshold 0.5. ``state_dict`` adds the plain
    weights under torchvision's names.

    Raises:
        InputError: no finished run, other data, or a ``bundle`` that exists.
        GateError: a function turned a decision at these thresholds; nothing is written.
    """
    require_new(bundle)
    model = read_run_predictions(run)
    config, record = read_config(run), read_record(run)
    assert record is not None
    data = prepare_data(config, store, progress)
    if data.dataset.fingerprint != model.data_fingerprint:
        raise InputError(
            f"{config.data.root}: must be the data of the run ({model.data_fingerprint[:12]}), "
            f"got other images, labels or fixes ({data.dataset.fingerprint[:12]})"
        )
    point = operating_point(model, request or _recorded_request(run))
    thresholds = point.thresholds or Thresholds(0.5, 0.5)
    network, metadata = load_network(run)
    if state_dict:
        require_torchvision(metadata)
    with progress("export", 1, "graphs") as tracker:
        exported = export_graph(network, metadata.temperature)
        tracker.advance()
    splits = _crops(model, data)
    golden = golden_images(metadata.input.size)
    functions, golden_scores, calibration = [], {}, {}
    for backend in ("onnxruntime", "openvino"):
        if not available(backend):
            continue
        session = open_session(exported.content, backend, "fp32", threads)
        function, scores = _judged(session, backend, splits, thresholds, point, exported, progress)
        functions.append(function)
        calibration[function.name] = _reference(model, *scores)
        golden_scores[function.name] = session(golden)
    files = {
        FP32_GRAPH: exported.content,
        GOLDEN_FILE: golden_file(golden, golden_scores),
        CALIBRATION_FILE: calibration_file(calibration),
    }
    provenance = _provenance(run, record, metadata.architecture)
    if state_dict:
        _add_state_dict(files, provenance, network, metadata, splits, thresholds, progress)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=model.name,
        classes=record.data.classes,
        input=GraphInput(size=metadata.input.size),
        functions=tuple(sorted(functions, key=lambda one: one.p50_ms or np.inf)),
        golden=GOLDEN_FILE,
        calibration=CALIBRATION_FILE,
        files=digests(files),
        provenance=provenance,
    )
    write_bundle(bundle, manifest, files)
    return Exported(
        bundle=bundle,
        manifest=manifest,
        sizes={name: len(content) for name, content in files.items()},
        flushed_weights=exported.flushed_weights,
        refusal=point.refusal,
    )


def _add_state_dict(
    files: dict[str, bytes],
    provenance: dict[str, Any],
    network: Network,
    metadata: NetworkMetadata,
    splits: list[Crops],
    thresholds: Thresholds,
    progress: Progress,
) -> None:
    plain = plain_weights(network, metadata, splits, thresholds, progress)
    _require_no_flips("the state dict in torchvision", plain.gate)
    files[STATE_DICT_FILE], provenance["state_dict"] = plain.content, plain.description


def _provenance(run: Path, record: RunRecord, architecture: str) -> dict[str, Any]:
    return {
        "run": f"{record.experiment} seed {record.seed}",
        "architecture": architecture,
        "weights_sha256": file_hash(run / MODEL_FILE),
        "config_sha256": file_hash(run / "config.yaml"),
        "data_fingerprint": record.data.fingerprint,
        "identity": record.identity,
        "versions": record.versions,
    }


def _recorded_request(run: Path) -> Request:
    """Return what the run's certificate was made for; without one, the defaults."""
    document = read_json(run / "evaluation.json")
    certificate = document.get("certificate") if isinstance(document, dict) else None
    if not isinstance(certificate, dict):
        return Request()
    return Request(min_recall=certificate["min_recall"], confidence=certificate["confidence"])


def _crops(model: ModelPredictions, data: PreparedData) -> list[Crops]:
    """Return the images of calibration and test in the order of their predictions."""
    place = {path: index for index, path in enumerate(data.dataset.paths)}
    splits = []
    for name, split in (("calibration", model.calibration), ("test", model.test)):
        assert split is not None
        items = [place[path] for path in split.table.paths]
        splits.append(Crops(name, data.dataset.images[items], split.table.scores))
    return splits


def _judged(
    session: Session,
    backend: str,
    splits: list[Crops],
    thresholds: Thresholds,
    point: OperatingPoint,
    graph: ExportedGraph,
    progress: Progress,
) -> tuple[Function, list[NDArray[np.float32]]]:
    """Run the gate for a function in fp32, which must turn no decision.

    Returns the function and its scores of each split.
    """
    name = f"{backend} fp32"
    found = [run_all(session, one.images, progress, f"{name} on {one.name}") for one in splits]
    expected = np.concatenate([one.expected for one in splits])
    gate = compare_scores(expected, np.concatenate(found), thresholds)
    _require_no_flips(name, gate)
    function = Function(
        graph=FP32_GRAPH,
        backend=backend,
        precision="fp32",
        low=thresholds.low,
        high=thresholds.high,
        certificate=_certificate(point.certificate, backend, graph),
        gate=gate,
        p50_ms=median_ms(session, splits[0].images[:1]),
    )
    return function, found


def _reference(
    model: ModelPredictions, calibration: NDArray[np.float32], test: NDArray[np.float32]
) -> CalibrationScores:
    """Return a function's scores that a line can be compared with, one item per duplicate group.

    Those of calibration; where the network learnt from these items too (cross-fitting), they would
    look better than any line, and those of the test split stand in.
    """
    split, scores = (model.test, test) if model.approximate else (model.calibration, calibration)
    assert split is not None
    _, first = np.unique(split.groups, return_index=True)
    return CalibrationScores.of(scores[first], split.table.is_defect[first])


def _require_no_flips(name: str, gate: Gate) -> None:
    if gate.flips:
        raise GateError(
            f"{name}: {gate.flips:,} of {gate.images:,} decisions differ from those of the tested "
            f"network (scores by up to {gate.max_score_difference:.2g}): nothing was exported"
        )


def _certificate(
    certificate: Certificate | None, backend: str, graph: ExportedGraph
) -> dict[str, Any] | None:
    """Carry the certificate over to a function that decides every calibration item alike.

    The same items lie on the same side of the threshold, so its counts hold for this function too.
    """
    if certificate is None:
        return None
    digest = digests({FP32_GRAPH: graph.content})[FP32_GRAPH]
    return replace(certificate, measured_on=MeasuredOn(digest, backend, "fp32")).to_json()
