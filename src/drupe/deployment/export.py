"""A finished run becomes a bundle: graphs, gate, certificates, golden samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drupe.data.fix_matching import FixMatch
from drupe.data.image_contract import Order
from drupe.deployment.answers import ExportAnswer, ExportedFunction
from drupe.deployment.backends import Images, default_threads
from drupe.deployment.bundle import golden_images, require_new, write_bundle
from drupe.deployment.card_heatmaps import CardHeatmap, explain_mistakes
from drupe.deployment.contents import (
    SaidBeside,
    frame_check,
    manifest_of,
    measured_files,
    provenance_of,
    sizes_of,
    with_facts,
)
from drupe.deployment.evidence import Evidence, gather_evidence
from drupe.deployment.familiarity import (
    Familiarity,
    UnknownRequest,
    compare_distances,
    learn_familiarity,
    with_unknown,
)
from drupe.deployment.function_specs import (
    FP32_GRAPH,
    INT8_GRAPH,
    AskedPrecision,
    require_computable,
    specs_for,
)
from drupe.deployment.functions import FunctionEvaluation, FunctionSpec, evaluate_functions
from drupe.deployment.gate import GateError, require_no_flips
from drupe.deployment.graph import ExportedGraph, export_graph
from drupe.deployment.int8.search import LayerSearch, QuantisedGraph
from drupe.deployment.manifest import GraphInput, Manifest
from drupe.deployment.model_card import CARD_FILE, Decides, ModelCard
from drupe.deployment.state_dict import STATE_DICT_FILE, plain_weights, require_torchvision
from drupe.deployment.type_agreement import compare_types
from drupe.evaluation.certificate import NotCertifiableError
from drupe.evaluation.model_predictions import ModelPredictions
from drupe.evaluation.operating_point import Request, operating_point, read_recorded
from drupe.models.ensemble import AnyNetwork
from drupe.models.type_head import TypeHead
from drupe.progress import Progress, silent
from drupe.runs.record import read_record
from drupe.training.saved import Metadata, load_network
from drupe.training.type_fitting import read_types


@dataclass(frozen=True)
class Exported:
    """The bundle that was written, and what was found for each of its functions.

    fixed: what became of the fixes of the run's data and of new crops, by folder; all_known: why
    nothing is unknown to it, None where it tells what is.
    """

    bundle: Path
    manifest: Manifest
    evaluation: FunctionEvaluation
    quantised: QuantisedGraph | None
    sizes: dict[str, int]
    flushed_weights: int
    fixed: Mapping[Path, FixMatch]
    all_known: str | None = None

    @property
    def refusal(self) -> NotCertifiableError | None:
        """The reason why the preferred function has no certificate, if it has none."""
        return self.evaluation.functions[0].refusal

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe export``."""
        return ExportAnswer(
            bundle=str(self.bundle),
            flushed_weights=self.flushed_weights,
            calibration=self.manifest.provenance["calibration"],
            tested_network=self.evaluation.tested_network.to_json(),
            alternatives=self.evaluation.alternatives,
            certified_together=self.evaluation.certified_together,
            int8=self.quantised.to_json() if self.quantised else None,
            functions=tuple(
                ExportedFunction(
                    graph=one.function.graph,
                    backend=one.function.backend,
                    precision=one.function.precision,
                    **one.function.gate.model_dump(),
                    size_bytes=self.sizes[one.function.graph],
                    p50_ms=one.function.p50_ms,
                    low=one.function.low,
                    high=one.function.high,
                    test=one.test.to_json(),
                    certificate=one.function.certificate,
                    refusal=str(one.refusal) if one.refusal else None,
                )
                for one in self.evaluation.functions
            ),
            state_dict=self.manifest.provenance.get("state_dict"),
            types=self.manifest.types.model_dump(mode="json") if self.manifest.types else None,
            unknown=self.manifest.unknown and self.manifest.unknown.model_dump(mode="json"),
            all_known=self.all_known,
        ).model_dump(mode="json")


def export_run(
    run: Path,
    bundle: Path,
    store: Path,
    *,
    fresh: Path | None = None,
    run_data: Path | None = None,
    precision: AskedPrecision = "fp32",
    backends: Sequence[str] | None = None,
    request: Request | None = None,
    threads: int | None = None,
    state_dict: bool = False,
    channels: Order | None = None,
    explain: bool = False,
    unknown: UnknownRequest | None = None,
    progress: Progress = silent,
) -> Exported:
    """Export a finished run for every CPU backend that is installed, and write the bundle.

    ``backends`` are used instead where they are named, as those of devices must be. ``precision``
    int8 quantises the layers that bear it, by crops of ``fit``; bf16 is OpenVINO's, on processors
    that compute it natively; tf32 and fp16 are those of devices; auto offers all that the backends
    compute here, and puts first the fastest that is certified and wastes no clean items. The
    thresholds are those of ``request`` (by default those that the run's certificate was made for),
    certified on the calibration crops, or on newly collected ones in the folder ``fresh``, labelled
    as ``drupe threshold --data`` takes them; ``run_data`` says where the run's own data lies now,
    if it was moved. With too few defects in calibration the bundle has no certificate, and the
    threshold 0.5. ``state_dict`` adds plain weights under torchvision's names; ``channels``: rgb,
    bgr or as it is. ``explain`` puts a few test crops that are decided wrongly into the bundle, as
    heatmaps; ``unknown`` says what of the items that are unlike all that was learnt from.

    Raises:
        InputError: no finished run, other data, a ``bundle`` that exists, crops in ``fresh`` that
            aren't new or can't be read, or a backend or precision that doesn't run here.
        MissingExtraError: bf16 without ``drupe[openvino]``.
        GateError: a function in fp32 turned a decision, int8 was asked for and no layer bears it, a
            rate of unknown items that can't be had, or ``fresh`` has too few defects; nothing is
            written.
    """
    require_new(bundle)
    require_computable(precision, backends)
    evidence = gather_evidence(run, fresh, store, progress, channels, run_data)
    record = read_record(run)
    assert record is not None
    request = request or read_recorded(run).request
    _require_certifiable(fresh, evidence.model, request)
    network, metadata = load_network(run)
    head, unknown = read_types(run, network), unknown or UnknownRequest()
    if state_dict:
        require_torchvision(metadata)
    known = learn_familiarity(network, evidence, unknown, progress)
    exported = _exported_graph(network, metadata, evidence, head, known, progress)
    asked = (precision, backends)
    quantised = _quantise(*asked, exported.content, evidence, request, threads, progress)
    specs = specs_for(*asked, has_int8=quantised is not None)
    graphs = _named_graphs(specs, exported, quantised)
    golden = golden_images(evidence.contract)
    compared = (evidence, golden, threads, progress)
    evaluation = _evaluate(specs, graphs, exported, request, *compared)
    types = compare_types(specs, graphs, network, head, *compared)
    unlike = compare_distances(specs, graphs, network, known, unknown, *compared)
    evaluation = with_unknown(evaluation, unlike)
    frames, takes = frame_check(evidence), _graph_input(evidence, metadata)
    said = SaidBeside(types, unlike)
    graphs, evaluation = with_facts(graphs, evaluation, record.data.classes, takes, said)
    files = measured_files(graphs, golden, evaluation, frames, said, evidence.contract.channels)
    provenance = provenance_of(run, record, metadata.architecture, evidence)
    if state_dict:
        _add_state_dict(files, provenance, network, metadata, evidence, evaluation, progress)
    sizes = sizes_of(graphs)
    decides = Decides.of(metadata, network)
    seen = (evidence, record, decides, evaluation, provenance, sizes, frames, said.types_output)
    shown = _add_heatmaps(files, evaluation, graphs, evidence, threads) if explain else ()
    files[CARD_FILE] = ModelCard.of(*seen, shown, said.unknown_output).render().encode()
    manifest = manifest_of(evidence, takes, evaluation, files, provenance, said)
    write_bundle(bundle, manifest, files)
    made = (sizes, exported.flushed_weights, evidence.fixed, known.reason)
    return Exported(bundle, manifest, evaluation, quantised, *made)


def _graph_input(evidence: Evidence, metadata: Metadata) -> GraphInput:
    sees = tuple(
        one.input.model_dump(mode="json", exclude={"size", "channels", "white_level"})
        for one in metadata.networks
    )
    return GraphInput.of(evidence.contract, sees)


def _exported_graph(
    network: AnyNetwork,
    metadata: Metadata,
    evidence: Evidence,
    head: TypeHead | None,
    known: Familiarity,
    progress: Progress,
) -> ExportedGraph:
    with progress("export", 1, "graphs") as tracker:
        exported = export_graph(
            network, metadata.temperature, evidence.contract.channels, head, known.layer
        )
        tracker.advance()
    return exported


def _evaluate(
    specs: Sequence[FunctionSpec],
    graphs: Mapping[str, bytes],
    exported: ExportedGraph,
    request: Request,
    evidence: Evidence,
    golden: Images,
    threads: int | None,
    progress: Progress,
) -> FunctionEvaluation:
    return evaluate_functions(
        specs,
        graphs,
        exported=exported.content,
        model=evidence.model,
        splits=evidence.splits,
        request=request,
        golden=golden,
        threads=threads,
        progress=progress,
    )


def _named_graphs(
    specs: Sequence[FunctionSpec], exported: ExportedGraph, quantised: QuantisedGraph | None
) -> dict[str, bytes]:
    """Return the content of each graph file that functions need."""
    contents = {FP32_GRAPH: exported.content, INT8_GRAPH: quantised.content if quantised else b""}
    return {name: contents[name] for name in dict.fromkeys(spec.graph for spec in specs)}


def _add_heatmaps(
    files: dict[str, bytes],
    evaluation: FunctionEvaluation,
    graphs: Mapping[str, bytes],
    evidence: Evidence,
    threads: int | None,
) -> tuple[CardHeatmap, ...]:
    """Add heatmaps of test crops that the preferred function decides wrongly; return which."""
    test = next(one for one in evidence.splits if one.name == "test")
    is_bgr = evidence.contract.channels == "bgr"
    found = explain_mistakes(evaluation.functions[0], graphs, test, threads, is_bgr)
    files |= {shown.file: content for shown, content in found.items()}
    return tuple(found)


def _add_state_dict(
    files: dict[str, bytes],
    provenance: dict[str, Any],
    network: AnyNetwork,
    metadata: Metadata,
    evidence: Evidence,
    evaluation: FunctionEvaluation,
    progress: Progress,
) -> None:
    splits = [replace(one, images=evidence.contract.ordered(one.images)) for one in evidence.splits]
    plain = plain_weights(network, metadata, splits, evaluation.thresholds, progress)
    require_no_flips("the state dict in torchvision", plain.gate)
    files[STATE_DICT_FILE], provenance["state_dict"] = plain.content, plain.description


def _require_certifiable(fresh: Path | None, model: ModelPredictions, request: Request) -> None:
    """Refuse new crops that certify nothing, before anything is exported for them."""
    if fresh is not None and (refusal := operating_point(model, request).refusal):
        raise GateError(
            f"{fresh}: {refusal}: nothing was exported; collect more, or ask for less with "
            "--min-recall"
        )


def _quantise(
    precision: AskedPrecision,
    backends: Sequence[str] | None,
    graph: bytes,
    evidence: Evidence,
    request: Request,
    threads: int | None,
    progress: Progress,
) -> QuantisedGraph | None:
    """Return the int8 graph, None where none is wanted or, with auto, no layer bears it."""
    computing = [one.backend for one in specs_for("int8", backends, has_int8=True)]
    if precision not in ("int8", "auto") or not computing:
        return None
    search = LayerSearch(
        graph,
        evidence.fit_images,
        evidence.fit_is_defect,
        request.min_recall,
        computing,
        threads or default_threads(),
        progress,
    )
    found = search.run()
    if found is None and precision == "int8":
        raise GateError(
            "int8: no layer may be quantised without turning decisions on the crops of the fit "
            "split: nothing was exported; --precision auto leaves int8 out"
        )
    return found
