"""What every bundle holds, whatever network decides: facts in its graphs, samples, manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from drupe.data.image_contract import Channels
from drupe.deployment.backends import Images
from drupe.deployment.bench import circumstances
from drupe.deployment.bundle import GOLDEN_FILE, digests, golden_file
from drupe.deployment.drift import CALIBRATION_FILE, calibration_file
from drupe.deployment.evidence import Evidence
from drupe.deployment.frames import FRAMES_FILE, FrameCheck
from drupe.deployment.functions import FunctionEvaluation, line_reference
from drupe.deployment.integrator_files import golden_files, with_metadata
from drupe.deployment.manifest import SCHEMA_VERSION, GraphInput, Manifest, TypeOutput
from drupe.deployment.type_agreement import ExportedTypes
from drupe.files import file_hash
from drupe.runs.layout import RunFolder
from drupe.runs.record import RunRecord


def frame_check(evidence: Evidence) -> FrameCheck | None:
    """Return what images look like; None where they are too few."""
    white = evidence.contract.white_level
    return FrameCheck.of(evidence.fit_images, evidence.held_out_images, white)


def with_facts(
    graphs: Mapping[str, bytes],
    evaluation: FunctionEvaluation,
    classes: Sequence[str],
    takes: GraphInput,
) -> tuple[dict[str, bytes], FunctionEvaluation]:
    """Return the graphs with facts for other programs, and certificates that name these files."""
    functions = tuple(one.function for one in evaluation.functions)
    told = {
        name: with_metadata(content, name, classes, takes, functions)
        for name, content in graphs.items()
    }
    hashes = digests(told)
    renamed = tuple(
        replace(one, function=one.function.measured_on(hashes[one.function.graph]))
        for one in evaluation.functions
    )
    return told, replace(evaluation, functions=renamed)


def measured_files(
    graphs: Mapping[str, bytes],
    golden: Images,
    evaluation: FunctionEvaluation,
    frames: FrameCheck | None,
    types: ExportedTypes | None,
    channels: Channels,
) -> dict[str, bytes]:
    """Return the graphs, what their functions say of golden samples and calibration, and frames."""
    functions = evaluation.functions
    scored = [(one.function, one.golden) for one in functions]
    scores = {one.function.name: one.golden for one in functions}
    checked = {FRAMES_FILE: frames.model_dump_json(indent=1).encode()} if frames else {}
    return {
        **graphs,
        **checked,
        **golden_files(golden, channels, scored),
        GOLDEN_FILE: golden_file(golden, scores | (dict(types.golden) if types else {})),
        CALIBRATION_FILE: calibration_file(
            {one.function.name: line_reference(one.model) for one in functions}
        ),
    }


def manifest_of(
    evidence: Evidence,
    takes: GraphInput,
    evaluation: FunctionEvaluation,
    files: Mapping[str, bytes],
    provenance: dict[str, Any],
    types: TypeOutput | None = None,
) -> Manifest:
    """Return the manifest of a bundle of these ``files``."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=evidence.model.name,
        classes=evidence.data.dataset.classes,
        input=takes,
        functions=tuple(one.function for one in evaluation.functions),
        golden=GOLDEN_FILE,
        calibration=CALIBRATION_FILE,
        frames=FRAMES_FILE if FRAMES_FILE in files else None,
        files=digests(files),
        provenance=provenance,
        types=types,
    )


def provenance_of(
    run: Path, record: RunRecord, architecture: str, evidence: Evidence
) -> dict[str, Any]:
    """Return where a bundle's network and certificates come from."""
    members = [one.model_dump(exclude={"folder"}) for one in record.members]
    return {
        "run": record.name,
        "architecture": architecture,
        **({"members": members} if members else {}),
        "weights_sha256": file_hash(record.network_file(run)),
        "config_sha256": file_hash(RunFolder(run).config),
        "data_fingerprint": record.data.fingerprint,
        "calibration": evidence.calibration_json(),
        "identity": record.identity,
        "versions": record.versions,
        "exported_with": circumstances()["versions"],
    }


def sizes_of(files: Mapping[str, bytes]) -> dict[str, int]:
    """Return the bytes of each file."""
    return {name: len(content) for name, content in files.items()}
