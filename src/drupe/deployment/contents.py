"""What every bundle holds, whatever network decides: facts in its graphs, samples, manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.image_contract import Channels
from drupe.deployment.backends import Images
from drupe.deployment.bench import circumstances
from drupe.deployment.bundle import GOLDEN_FILE, digests, golden_file
from drupe.deployment.drift import CALIBRATION_FILE, calibration_file
from drupe.deployment.evidence import Evidence
from drupe.deployment.familiarity import ExportedUnknown
from drupe.deployment.frames import FRAMES_FILE, FrameCheck
from drupe.deployment.functions import FunctionEvaluation, line_reference
from drupe.deployment.integrator_files import golden_files, with_metadata
from drupe.deployment.manifest import (
    KNOWN_TO_ALL,
    KNOWS_ALL,
    SCHEMA_VERSION,
    GraphInput,
    Manifest,
    TypeOutput,
    UnknownOutput,
)
from drupe.deployment.type_agreement import ExportedTypes
from drupe.deployment.unknown import distance_arrays, distance_name
from drupe.files import file_hash
from drupe.runs.layout import RunFolder
from drupe.runs.record import RunRecord


@dataclass(frozen=True)
class SaidBeside:
    """What functions say beside scores: types of defects, and what is unknown; None where not."""

    types: ExportedTypes | None = None
    unknown: ExportedUnknown | None = None

    @property
    def types_output(self) -> TypeOutput | None:
        """The output that tells types."""
        return self.types.output if self.types else None

    @property
    def unknown_output(self) -> UnknownOutput | None:
        """The output that tells what is unknown."""
        return self.unknown.output if self.unknown else None

    @property
    def golden(self) -> Mapping[str, NDArray[np.float32]]:
        """Golden answers beside the scores, as they stand in the golden samples' file."""
        found = dict(self.types.golden) if self.types else {}
        if self.unknown:
            found |= {distance_name(name): one for name, one in self.unknown.golden.items()}
        return found


def frame_check(evidence: Evidence) -> FrameCheck | None:
    """Return what images look like; None where they are too few."""
    white = evidence.contract.white_level
    return FrameCheck.of(evidence.fit_images, evidence.held_out_images, white)


def with_facts(
    graphs: Mapping[str, bytes],
    evaluation: FunctionEvaluation,
    classes: Sequence[str],
    takes: GraphInput,
    said: SaidBeside = SaidBeside(),
) -> tuple[dict[str, bytes], FunctionEvaluation]:
    """Return the graphs with facts for other programs, and certificates that name these files."""
    functions = tuple(one.function for one in evaluation.functions)
    told = {
        name: with_metadata(content, name, classes, takes, functions, said.unknown_output)
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
    said: SaidBeside,
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
        **golden_files(golden, channels, scored, said.unknown_output, said.golden),
        GOLDEN_FILE: golden_file(golden, {**scores, **said.golden}),
        CALIBRATION_FILE: calibration_file(
            {one.function.name: line_reference(one.model) for one in functions},
            distance_arrays(said.unknown.calibration) if said.unknown else {},
        ),
    }


def manifest_of(
    evidence: Evidence,
    takes: GraphInput,
    evaluation: FunctionEvaluation,
    files: Mapping[str, bytes],
    provenance: dict[str, Any],
    said: SaidBeside = SaidBeside(),
) -> Manifest:
    """Return the manifest of a bundle of these ``files``."""
    functions = tuple(one.function for one in evaluation.functions)
    is_old = all((one.backend, one.precision) in KNOWN_TO_ALL for one in functions)
    return Manifest(
        schema_version=KNOWS_ALL if is_old and not said.unknown else SCHEMA_VERSION,
        name=evidence.model.name,
        classes=evidence.data.dataset.classes,
        input=takes,
        functions=functions,
        golden=GOLDEN_FILE,
        calibration=CALIBRATION_FILE,
        frames=FRAMES_FILE if FRAMES_FILE in files else None,
        files=digests(files),
        provenance=provenance,
        types=said.types_output,
        unknown=said.unknown_output,
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
