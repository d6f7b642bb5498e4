"""A network trained elsewhere becomes a run directory like any other."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.configuration import Tree, fingerprint
from drupe.errors import InputError, TrainingDivergedError
from drupe.files import file_hash
from drupe.models.foreign import FittedWeights, Tensors, fit_to, read_checkpoint
from drupe.models.geometry import Geometry
from drupe.models.network import Network, build_network
from drupe.models.subnormal import flush_subnormals
from drupe.progress import Progress, silent
from drupe.runs.evaluation_file import Evaluation, read_evaluation
from drupe.runs.layout import RunFolder
from drupe.runs.record import (
    ImportRecord,
    RunRecord,
    now,
)
from drupe.runs.results import digest_results
from drupe.runs.training_overlap import Seen
from drupe.training.claim import check_store, exclusive, find_record
from drupe.training.config import ExperimentConfig, validate_experiment, write_config
from drupe.training.distributed import World
from drupe.training.execution import choose_device, set_threads
from drupe.training.image_batches import ImageSource
from drupe.training.judgement import judge
from drupe.training.learnt import write_digests
from drupe.training.preparation import PreparedData, prepare_data
from drupe.training.run import RunOutcome
from drupe.training.saved import save_network
from drupe.training.trained_on import TrainingFiles, find_training_files
from drupe.training.type_fitting import fit_types, write_types

IMPORT_VERSION = 1
"""Raised when the same checkpoint would give another network; part of an import's identity."""

SECTIONS = {"data", "input", "calibration"}
NOT_USED = {"augmentation": True, "training": True}
"""Sections of an experiment's configuration that say nothing about an imported network."""


@dataclass(frozen=True)
class ImportRequest:
    """A checkpoint to import, and what is known of it.

    checkpoint: the file. architecture: a curated or timm name. trained_on: the list of its training
    files (see :mod:`drupe.training.trained_on`), None where they are unknown. classes: the class of
    each output in order, None for the sorted order that torchvision's ``ImageFolder`` gives. key:
    place of the state dict, where the checkpoint holds several. picked_on_test: its epoch was
    picked on the test split. name and seed: of the run, by default the checkpoint's and 0.
    settings: keys of ``data``, ``input`` and ``calibration`` as in an experiment.
    """

    checkpoint: Path
    architecture: str
    trained_on: Path | None
    classes: tuple[str, str] | None = None
    key: str | None = None
    picked_on_test: bool = False
    name: str | None = None
    seed: int = 0
    settings: Tree | None = None

    def config(self) -> ExperimentConfig:
        """Return the experiment that stands for the import.

        Raises:
            InputError: settings that are wrong, or that only mean something in training.
        """
        settings = self.settings or {}
        foreign = sorted(settings.keys() - SECTIONS)
        if foreign:
            raise InputError(
                f"{', '.join(foreign)}: an import takes keys of {', '.join(sorted(SECTIONS))} only"
            )
        document: dict[str, Any] = {
            "name": self.name or run_name(self.checkpoint),
            "seed": self.seed,
            "model": {"architecture": self.architecture, "pretrained": False},
            **settings,
        }
        config = validate_experiment(document, "import")
        require_no_folds(config)
        return config


def require_no_folds(config: ExperimentConfig) -> None:
    """Raise an :class:`InputError` where folds are asked for."""
    if config.calibration.crossfit is not None:
        raise InputError(
            "calibration.crossfit: must be left out, because folds can't be trained like a "
            "network from elsewhere; calibration.holdout is what counts"
        )


def run_name(checkpoint: Path) -> str:
    """Return a network file's name as far as a run may be called so."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", checkpoint.stem).lstrip("._-") or "imported"


def import_checkpoint(
    request: ImportRequest, folder: Path, store: Path, *, progress: Progress = silent
) -> RunOutcome:
    """Check a checkpoint, judge it on calibration and test, and save it as a run in ``folder``.

    Where ``folder`` already holds this import, nothing is done; where it was interrupted, it is
    done again. Until the checkpoint has passed every check nothing is written.

    Raises:
        InputError: the checkpoint, the data, the list or the folder is wrong.
    """
    check_store(store)
    config = request.config()
    tensors, key = read_checkpoint(request.checkpoint, request.key)
    sha256 = file_hash(request.checkpoint)
    with exclusive(folder):
        data = prepare_data(config, store, progress)
        order = _class_order(request, data)
        files = find_training_files(request.trained_on, data) if request.trained_on else None
        seen = Seen(
            trained_on=files.overlap if files else None, picked_on_test=request.picked_on_test
        )
        parts = _identity_parts(request, config, data, sha256, order, seen)
        found = _claim(folder, parts, fingerprint(parts))
        if found and found.status == "done":
            return RunOutcome(folder, read_evaluation(folder), True, data.dataset.skipped)
        geometry = data.geometry(config)
        network, fitted = _network(
            request, config, geometry, tensors, order[0] == data.dataset.classes[1]
        )
        imported = ImportRecord(
            checkpoint=str(request.checkpoint),
            sha256=sha256,
            key=key,
            names=fitted.names,
            outputs=fitted.outputs,
            dtype=fitted.dtype,
            class_order=order,
            flushed_weights=flush_subnormals(network),
            left=fitted.left,
            seen=seen,
        )
        record = _new_record(config, data, geometry, fingerprint(parts), imported)
        evaluation = _judge(network, record, files, config, data, folder, progress)
    return RunOutcome(folder, evaluation, False, data.dataset.skipped)


def _class_order(request: ImportRequest, data: PreparedData) -> tuple[str, str]:
    """Return the class of each output."""
    first, second = sorted(data.dataset.classes)
    if request.classes is None:
        return first, second
    if sorted(request.classes) != [first, second]:
        raise InputError(
            f"--classes: must be {first},{second} or {second},{first}, "
            f"got {','.join(request.classes)}"
        )
    return request.classes


def _identity_parts(
    request: ImportRequest,
    config: ExperimentConfig,
    data: PreparedData,
    sha256: str,
    order: tuple[str, str],
    seen: Seen,
) -> Tree:
    """Return everything that an import depends on; the digest of it is the run's identity."""
    document = config.model_dump(mode="json", include={"data", "input", "calibration"})
    del document["data"]["root"]
    return {
        **document,
        "architecture": config.model.architecture,
        "seed": config.seed,
        "fingerprint": data.dataset.fingerprint,
        "checkpoint": sha256,
        "key": request.key,
        "classes": list(order),
        "seen": seen.model_dump(mode="json"),
        "version": IMPORT_VERSION,
    }


def _claim(folder: Path, parts: Tree, identity: str) -> RunRecord | None:
    """Return the record of this import where ``folder`` holds it, None where it is empty."""
    record = find_record(folder)
    if record and record.identity != identity:
        raise InputError(
            f"{folder}: already holds another run ({_difference(record, parts)}); "
            "choose another --out"
        )
    return record


def _difference(record: RunRecord, parts: Tree) -> str:
    """Say what is different, as far as the record tells."""
    old = record.imported
    if old is None:
        return f"{record.experiment} seed {record.seed}, trained"
    if old.sha256 != parts["checkpoint"]:
        return f"another checkpoint: {old.checkpoint}, SHA-256 {old.sha256[:12]}…"
    if record.data.fingerprint != parts["fingerprint"]:
        return "the same checkpoint on other images, labels, fixes or another defect class"
    if old.seen.model_dump(mode="json") != parts["seen"]:
        return "the same checkpoint with other --trained-on or --picked-on-test"
    return "the same checkpoint with another architecture, class order, key, seed or other settings"


def _network(
    request: ImportRequest,
    config: ExperimentConfig,
    geometry: Geometry,
    tensors: Tensors,
    defect_first: bool,
) -> tuple[Network, FittedWeights]:
    architecture = config.model.architecture
    network = build_network(
        architecture,
        input_range=config.input.range,
        channels=config.contract.shape[2],
        white_level=config.input.white_level,
        geometry=geometry,
        pretrained=False,
        frozen=False,
    ).network
    backbone, source = network.backbone, request.checkpoint
    fitted = fit_to(backbone, architecture, tensors, source, defect_first=defect_first)
    backbone.load_state_dict(fitted.tensors)
    return network, fitted


def _new_record(
    config: ExperimentConfig,
    data: PreparedData,
    geometry: Geometry,
    identity: str,
    imported: ImportRecord,
) -> RunRecord:
    return RunRecord.begin(
        config.name,
        config.seed,
        identity=identity,
        data=data.record,
        crop=geometry.crop,
        resolution=geometry.resolution,
        weights={
            "source": "checkpoint",
            "location": imported.checkpoint,
            "sha256": imported.sha256,
        },
        device=str(choose_device(config.training.device, World())),
        imported=imported,
    )


def _judge(
    network: Network,
    record: RunRecord,
    files: TrainingFiles | None,
    config: ExperimentConfig,
    data: PreparedData,
    folder: Path,
    progress: Progress,
) -> Evaluation:
    """Write the run; a network that answers with NaN leaves nothing behind."""
    assert record.imported is not None
    world = World()
    device = choose_device(config.training.device, world)
    set_threads(config.training.threads, world)
    source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
    started = time.perf_counter()
    write_config(folder, config, leave_out=NOT_USED)
    record.write(folder)
    try:
        types = fit_types(network.to(device), data, source, progress)
        evaluation = judge(
            network, data, source, folder, progress, record.imported.temperature, types.head
        )
        classes, geometry = data.dataset.classes, network.geometry
        save_network(folder, network, config, geometry, classes, evaluation.temperature)
        write_types(folder, types.head)
        record.data.notes += types.notes
        if files:
            write_digests(folder, files.digests)
    except TrainingDivergedError:  # before anything else was written
        written = RunFolder(folder)
        for file in (written.record, written.config):
            file.unlink()
        raise InputError(
            f"{record.imported.checkpoint}: the network answers with NaN or infinity on the images "
            "of the data: check input.range and the architecture"
        ) from None
    except BaseException as error:
        record.stop(folder, error)
        raise
    record.judge_seconds = time.perf_counter() - started
    record.finished = now()
    record.results = digest_results(folder)
    record.status = "done"
    record.write(folder)
    return evaluation
