"""An ONNX file becomes a scored run, a certificate and a bundle, by the data path of any run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.configuration import Tree, fingerprint, validate
from drupe.deployment.backends import UnusableGraphError, open_session
from drupe.deployment.bundle import golden_images, require_new, write_bundle
from drupe.deployment.certify.options import GraphOptions
from drupe.deployment.certify.original import Original, require_meaning, scores_of
from drupe.deployment.certify.reading import (
    InputFacts,
    OnnxFile,
    find_apply,
    find_output,
    find_positive,
    read_input,
    read_onnx,
)
from drupe.deployment.certify.wrapping import wrap
from drupe.deployment.contents import (
    SaidBeside,
    frame_check,
    manifest_of,
    measured_files,
    provenance_of,
    sizes_of,
    with_facts,
)
from drupe.deployment.evidence import Evidence, own_evidence
from drupe.deployment.export import Exported
from drupe.deployment.function_specs import FP32_GRAPH, require_computable, specs_for
from drupe.deployment.functions import FunctionEvaluation, evaluate_functions
from drupe.deployment.gate import run_all
from drupe.deployment.manifest import TOLERANCE, GraphInput
from drupe.deployment.model_card import CARD_FILE, Decides, ModelCard
from drupe.errors import InputError
from drupe.evaluation.document import evaluation_document
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import OperatingPoint, Request, operating_point
from drupe.files import replacing
from drupe.progress import Progress, silent
from drupe.runs.evaluation_file import Evaluation, record_certificate
from drupe.runs.graph_record import GraphRecord
from drupe.runs.layout import RunFolder
from drupe.runs.record import ImportRecord, RunRecord, now
from drupe.runs.results import digest_results
from drupe.runs.training_overlap import Seen
from drupe.training.claim import check_store, exclusive, find_record
from drupe.training.config import ExperimentConfig, write_config
from drupe.training.imported import NOT_USED, require_no_folds, run_name
from drupe.training.judgement import Judgement, predictions_of
from drupe.training.learnt import write_digests
from drupe.training.preparation import PreparedData, prepare_data
from drupe.training.trained_on import TrainingFiles, find_training_files

CERTIFY_VERSION = 1
"""Raised when the same file would be scored otherwise; part of the run's identity."""

SECTIONS = {"data", "calibration"}

Scores = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class CertifyRequest:
    """An ONNX file to certify, what is said of it, and what its threshold must promise.

    trained_on: the list of its training files (see :mod:`drupe.training.trained_on`); unseen: a
    person says that it has learnt from none of the crops. With neither, nothing is certified.
    picked_on_test: its epoch was picked on the test split. settings: keys of ``data`` and
    ``calibration`` as in an experiment. backends: to certify for; None: the usual ones.
    """

    model: Path
    said: GraphOptions = field(default_factory=GraphOptions)
    settings: Tree = field(default_factory=dict)
    trained_on: Path | None = None
    unseen: bool = False
    picked_on_test: bool = False
    name: str | None = None
    asked: Request = field(default_factory=Request)
    backends: tuple[str, ...] | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Scored:
    """The wrapped graph and what was found on the data, before anything is written.

    ``scores`` are the wrapped graph's, ``reference`` those of the file as it came, of each split.
    """

    wrapped: bytes
    facts: GraphRecord
    scores: Scores
    reference: Scores


@dataclass(frozen=True)
class JudgedGraph:
    """The run that was written, its figures, and the threshold as far as it is certified."""

    run: Path
    record: RunRecord
    evaluation: Evaluation
    point: OperatingPoint

    @property
    def imported(self) -> ImportRecord:
        """What the run says of the file."""
        assert self.record.imported is not None
        return self.record.imported


@dataclass(frozen=True)
class GraphCertification:
    """One ONNX file on its way: :meth:`judge` writes the run, :meth:`deliver` the bundle.

    Between the two a person can be told what was found.
    """

    request: CertifyRequest
    config: ExperimentConfig
    data: PreparedData
    file: OnnxFile
    scored: Scored

    @classmethod
    def begin(
        cls, request: CertifyRequest, store: Path, *, progress: Progress = silent
    ) -> GraphCertification:
        """Read the file, wrap it and score calibration and test; nothing is written.

        Raises:
            InputError: something of the file, the data or the options is wrong, or must be said.
        """
        if request.unseen and request.trained_on:
            raise InputError(
                "--unseen, --trained-on: only one of them can say what it has learnt from"
            )
        require_computable("fp32", request.backends)
        check_store(store)
        file = read_onnx(request.model)
        takes = read_input(file, request.said)
        config = _config(request, file, takes)
        data = prepare_data(config, store, progress)
        return cls(request, config, data, file, _score(request, file, takes, data, progress))

    def judge(self, store: Path, run: Path | None = None) -> JudgedGraph:
        """Write the run (into ``run``, or the store) and certify its threshold.

        Raises:
            InputError: ``run`` holds something else, or the list of training files is wrong.
        """
        listed = self.request.trained_on
        files = find_training_files(listed, self.data) if listed else None
        seen = Seen(
            trained_on=files.overlap if files else None,
            picked_on_test=self.request.picked_on_test,
            unseen=self.request.unseen,
        )
        identity = fingerprint(self._identity_parts(seen))
        own = store / "runs" / "certify" / f"{self.config.name}-{identity[:8]}"
        folder = run or own
        with exclusive(folder):
            found = find_record(folder)
            if found and found.identity != identity:
                raise InputError(
                    f"{folder}: already holds another run ({found.name}: another file, other data, "
                    "or other options); choose another --run"
                )
            record, evaluation = self._write(folder, identity, seen, files)
        point = operating_point(read_run_predictions(folder), self.request.asked)
        if point.certificate:
            record_certificate(folder, point.certified_figures())
        return JudgedGraph(folder, record, evaluation, point)

    def deliver(
        self, judged: JudgedGraph, bundle: Path, *, progress: Progress = silent
    ) -> Exported:
        """Pass the gate from the files on, in every runtime, and write the bundle.

        Raises:
            InputError: a ``bundle`` that exists, or a graph that a runtime can't load.
            GateError: a runtime decides otherwise than the file as it came; nothing is written.
        """
        require_new(bundle)
        contract, facts = self.config.contract, self.scored.facts
        evidence = own_evidence(judged.point.model, self.data, contract, progress)
        crops = tuple(
            replace(one, expected=self.scored.reference[one.name]) for one in evidence.splits
        )
        evidence = replace(evidence, splits=crops)
        golden = golden_images(contract)
        evaluation = self._evaluate(evidence, golden, progress)
        takes = GraphInput.of(contract, (facts.model_dump(mode="json", exclude={"origins"}),))
        classes = self.data.dataset.classes
        wrapped = {FP32_GRAPH: self.scored.wrapped}
        graphs, evaluation = with_facts(wrapped, evaluation, classes, takes)
        frames, sizes = frame_check(evidence), sizes_of(graphs)
        files = measured_files(graphs, golden, evaluation, frames, SaidBeside(), contract.channels)
        architecture = self.config.model.architecture
        provenance = provenance_of(judged.run, judged.record, architecture, evidence)
        provenance["model_sha256"] = self.file.sha256
        provenance["caveats"] = list(judged.imported.seen.caveats)
        decides = Decides(architecture, _parameters(self.file), graph=facts)
        seen = (evidence, judged.record, decides, evaluation, provenance, sizes, frames)
        files[CARD_FILE] = ModelCard.of(*seen).render().encode()
        manifest = manifest_of(evidence, takes, evaluation, files, provenance)
        write_bundle(bundle, manifest, files)
        made = (sizes, 0, evidence.fixed, "the network came as an ONNX file")
        return Exported(bundle, manifest, evaluation, None, *made)

    def _evaluate(
        self, evidence: Evidence, golden: NDArray[Any], progress: Progress
    ) -> FunctionEvaluation:
        specs = specs_for("fp32", self.request.backends)
        try:
            return evaluate_functions(
                specs,
                {FP32_GRAPH: self.scored.wrapped},
                exported=self.scored.wrapped,
                model=evidence.model,
                splits=evidence.splits,
                request=self.request.asked,
                golden=golden,
                threads=self.request.threads,
                progress=progress,
            )
        except UnusableGraphError as error:
            raise InputError(
                f"{self.file.path}: {error}: --backend names the one to certify for instead"
            ) from None

    def _identity_parts(self, seen: Seen) -> Tree:
        document = self.config.model_dump(mode="json", include={"data", "calibration"})
        del document["data"]["root"]
        return {
            **document,
            "graph": self.scored.facts.model_dump(mode="json", exclude={"origins"}),
            "file": self.file.sha256,
            "fingerprint": self.data.dataset.fingerprint,
            "seen": seen.model_dump(mode="json"),
            "version": CERTIFY_VERSION,
        }

    def _write(
        self, folder: Path, identity: str, seen: Seen, files: TrainingFiles | None
    ) -> tuple[RunRecord, Evaluation]:
        judgement = _judgement(self.data, self.scored.scores)
        imported = ImportRecord(
            checkpoint=str(self.file.path),
            sha256=self.file.sha256,
            key=None,
            names="onnx",
            outputs=self.scored.facts.outputs,
            dtype="float32",
            class_order=self.data.dataset.classes,
            flushed_weights=0,
            graph=self.scored.facts,
            seen=seen,
        )
        location = {"source": "onnx", "location": str(self.file.path), "sha256": self.file.sha256}
        record = RunRecord.begin(
            self.config.name,
            self.config.seed,
            identity=identity,
            data=self.data.record,
            crop=None,
            weights=location,
            device="cpu",
            imported=imported,
        )
        write_config(folder, self.config, leave_out=NOT_USED)
        with replacing(RunFolder(folder).graph) as new:
            new.write_bytes(self.scored.wrapped)
        judgement.write(folder)
        if files:
            write_digests(folder, files.digests)
        record.finished, record.status = now(), "done"
        record.results = digest_results(folder)
        record.write(folder)
        return record, judgement.evaluation


def _config(request: CertifyRequest, file: OnnxFile, takes: InputFacts) -> ExperimentConfig:
    """Return the experiment that stands for the file."""
    foreign = sorted(request.settings.keys() - SECTIONS)
    if foreign:
        raise InputError(
            f"{', '.join(foreign)}: certify takes keys of {', '.join(sorted(SECTIONS))} only; "
            "what the graph takes is said by options"
        )
    mono = takes.channels == "mono"
    document: dict[str, Any] = {
        "name": request.name or run_name(file.path),
        "seed": 0,
        "model": {"architecture": file.path.name, "pretrained": False},
        "input": {"size": takes.size, "channels": "mono" if mono else "rgb"},
        **request.settings,
    }
    config = validate(ExperimentConfig, document, "certify")
    require_no_folds(config)
    if config.data.root is None:
        return config
    data = config.data.model_copy(update={"root": config.data.root.absolute()})
    return config.model_copy(update={"data": data})


def _score(
    request: CertifyRequest,
    file: OnnxFile,
    takes: InputFacts,
    data: PreparedData,
    progress: Progress,
) -> Scored:
    """Score calibration and test by the wrapped graph, and by the file as it came."""
    output, found_output = find_output(file, request.said)
    original = Original.open(file, takes, output, request.threads)
    name = str(file.path)
    sides = {"calibration": data.split.calibration, "test": data.split.test}
    images = {side: data.dataset.images[items] for side, items in sides.items() if items.size}
    try:
        outputs = {
            side: original.outputs(pixels, progress, f"{file.path.name} on {side}")
            for side, pixels in images.items()
        }
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    facts = _facts(request, file, takes, data, (output, found_output), outputs["test"].shape[1])
    for values in outputs.values():
        require_meaning(values, facts, name)
    reference = {side: np.clip(scores_of(values, facts), 0, 1) for side, values in outputs.items()}
    wrapped = wrap(file, facts)
    scores = _batched(wrapped, images, request.threads, name, progress)
    off = max(float(np.abs(scores[side] - reference[side]).max()) for side in scores)
    if off > TOLERANCE["fp32"]:
        raise InputError(
            f"{name}: must answer to several images at once as it does to each alone, got scores "
            f"off by {off:.2g}: export it with a dynamic batch axis"
        )
    return Scored(wrapped, facts, scores, reference)


def _facts(
    request: CertifyRequest,
    file: OnnxFile,
    takes: InputFacts,
    data: PreparedData,
    output: tuple[str, str],
    count: int,
) -> GraphRecord:
    apply, found_apply = find_apply(file, output[0], count, request.said)
    positive, found_positive = find_positive(file, count, data.dataset.classes, request.said)
    if apply == "sigmoid" and len(positive) > 1:
        raise InputError(
            "--positive-index: several outputs add up to a probability only with --apply softmax "
            f"or none, got {','.join(map(str, positive))} with sigmoid"
        )
    origins = {
        **takes.origins,
        "output": output[1],
        "apply": found_apply,
        "positive": found_positive,
    }
    return GraphRecord(
        input=takes.name,
        output=output[0],
        layout=takes.layout,
        size=takes.size,
        channels=takes.channels,
        scale=takes.scale,
        opset=file.opset,
        outputs=count,
        apply=apply,
        positive=positive,
        freed=takes.fixed,
        origins=origins,
    )


def _batched(
    wrapped: bytes,
    images: Mapping[str, NDArray[Any]],
    threads: int | None,
    name: str,
    progress: Progress,
) -> Scores:
    """Return the wrapped graph's scores of each split, many images at once."""
    session = open_session(wrapped, "onnxruntime", "fp32", threads)
    try:
        return {
            side: np.clip(run_all(session, pixels, progress, f"wrapped on {side}"), 0, 1)
            for side, pixels in images.items()
        }
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # ONNX Runtime raises types of its own
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"{name}: must take several images at once, and can't ({reason}): export it with a "
            "dynamic batch axis"
        ) from None


def _judgement(data: PreparedData, scores: Scores) -> Judgement:
    items = {side: getattr(data.split, side) for side in scores}
    tables = {side: predictions_of(data, items[side], values) for side, values in scores.items()}
    groups = {side: data.groups[items[side]] for side in scores}
    document = evaluation_document(
        calibration=tables.get("calibration"),
        test=tables["test"],
        temperature=1.0,
        test_groups=groups["test"],
    )
    return Judgement(tables, groups, Evaluation.model_validate(document))


def _parameters(file: OnnxFile) -> int:
    """Return how many numbers stand among the graph's weights."""
    return sum(math.prod(one.dims) for one in file.model.graph.initializer)
