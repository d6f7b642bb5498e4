"""A finished run's network on disk, and judging it again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, Field

from drupe.configuration import validate
from drupe.data.decode import BYTE
from drupe.errors import InputError
from drupe.files import check_replaceable, unless_read_only
from drupe.models.ensemble import AnyNetwork, Ensemble
from drupe.models.geometry import Geometry, Views
from drupe.models.network import Network, build_network
from drupe.models.weights import WeightsOrigin
from drupe.progress import Progress, silent
from drupe.runs.evaluation_file import Evaluation
from drupe.runs.layout import RunFolder
from drupe.runs.record import (
    RunRecord,
    read_record,
    require_done,
    require_run,
    require_same_data,
    require_same_splits,
    require_weights,
)
from drupe.runs.results import digest_results, require_own
from drupe.sides import Size
from drupe.training.claim import check_store, exclusive
from drupe.training.config import AncestorConfig, ExperimentConfig
from drupe.training.distributed import World
from drupe.training.execution import choose_device, set_threads
from drupe.training.image_batches import ImageSource
from drupe.training.input_config import InputConfig, Side, Sides
from drupe.training.judgement import judged
from drupe.training.preparation import PreparedData, prepare_data, recorded_config
from drupe.training.tensor_file import (
    Tensors,
    load_tensors,
    load_weights,
    prefixed,
    save_tensors,
    under,
)
from drupe.training.type_fitting import notes_on_types, read_types


class InputContract(BaseModel):
    """The images that a network takes, what it sees of them (pixels), and the range of values."""

    size: Side | Sides
    channels: Literal["rgb", "mono"] = "rgb"
    white_level: int = BYTE
    range: Literal["raw", "unit", "imagenet"]
    crop: Side | Sides | None
    resolution: Side | Sides | None = None
    views: Views = 1

    @property
    def geometry(self) -> Geometry:
        """The same as the network knows it."""
        return Geometry(self.size, self.crop, self.resolution, self.views)

    @property
    def kind(self) -> tuple[Size, str, int]:
        """Size, channels and white level: what networks that decide together share."""
        return self.size, self.channels, self.white_level


class NetworkMetadata(BaseModel):
    """The header of ``model.safetensors``: enough to build and use the network."""

    architecture: str
    classes: tuple[str, str]
    input: InputContract
    temperature: float

    @property
    def size(self) -> Size:
        """The size of the images that it takes, in pixels."""
        return self.input.size

    @property
    def networks(self) -> tuple[NetworkMetadata, ...]:
        """Itself: what an ensemble has several of."""
        return (self,)


class EnsembleMetadata(BaseModel):
    """The header where several networks decide as one.

    ``members`` are their own headers, whose tensors stand under their places (from 0) in the file;
    ``temperature`` is what the mean of their calibrated logits is divided by.
    """

    members: tuple[NetworkMetadata, ...] = Field(min_length=2)
    classes: tuple[str, str]
    temperature: float

    @property
    def size(self) -> Size:
        """The size of the images that all members take, in pixels."""
        return self.members[0].size

    @property
    def networks(self) -> tuple[NetworkMetadata, ...]:
        """The members' own headers."""
        return self.members

    @property
    def architecture(self) -> str:
        """The members' networks, in words."""
        return f"ensemble of {', '.join(one.architecture for one in self.members)}"


Metadata = NetworkMetadata | EnsembleMetadata


def save_network(
    folder: Path,
    network: Network,
    config: ExperimentConfig,
    geometry: Geometry,
    classes: tuple[str, str],
    temperature: float,
) -> None:
    """Write ``model.safetensors``: weights, and all that is needed to build and use the network."""
    metadata = NetworkMetadata(
        architecture=config.model.architecture,
        classes=classes,
        input=InputContract(
            range=config.input.range,
            channels=config.input.channels,
            white_level=config.input.white_level,
            **asdict(geometry),
        ),
        temperature=temperature,
    )
    save_tensors(RunFolder(folder).weights, network.state_dict(), metadata.model_dump(mode="json"))


def save_ensemble(folder: Path, network: Ensemble, metadata: EnsembleMetadata) -> None:
    """Write ``model.safetensors`` of an ensemble: every member's weights and header."""
    tensors: Tensors = {}
    for place, (member, _) in enumerate(network.members):
        tensors |= prefixed(str(place), member.state_dict())
    save_tensors(RunFolder(folder).weights, tensors, metadata.model_dump(mode="json"))


def load_network(folder: Path) -> tuple[AnyNetwork, Metadata]:
    """Return the network of a finished run, on the CPU in evaluation mode, and its metadata.

    Raises:
        InputError: the file is missing, damaged or not this run's.
    """
    path, record = RunFolder(folder).weights, read_record(folder)
    require_weights(folder, record)
    if record:
        require_own(folder, record, path)
    tensors, document = load_tensors(path)
    if not isinstance(document, dict) or "members" not in document:
        one = validate(NetworkMetadata, document, str(path))
        return _built(one, tensors, path), one
    several = validate(EnsembleMetadata, document, str(path))
    if len({member.input.kind for member in several.members}) > 1:
        raise InputError(f"{path}: damaged: its members take images of different sizes or kinds")
    networks = [
        _built(member, under(str(place), tensors), path)
        for place, member in enumerate(several.members)
    ]
    temperatures = [member.temperature for member in several.members]
    return Ensemble(networks, temperatures).eval(), several


def _built(metadata: NetworkMetadata, tensors: Tensors, path: Path) -> Network:
    network = build_network(
        metadata.architecture,
        input_range=metadata.input.range,
        channels=1 if metadata.input.channels == "mono" else 3,
        white_level=metadata.input.white_level,
        geometry=metadata.input.geometry,
        pretrained=False,
        frozen=False,
    ).network
    load_weights(network, tensors, path)
    return network.eval()


def start_from(network: Network, given: InputConfig, ancestor: AncestorConfig) -> WeightsOrigin:
    """Load the weights of an earlier run, its head too; return where they came from.

    Raises:
        InputError: it is another network, or expects another range of pixels or other channels.
    """
    found, metadata = load_network(ancestor.run)
    if isinstance(metadata, EnsembleMetadata):
        raise InputError(
            f"training.init: must be a run of one network, got the ensemble {ancestor.run}"
        )
    for key in ("range", "channels"):
        wanted, got = (getattr(one, key) for one in (given, metadata.input))
        if wanted != got:
            raise InputError(
                f"training.init: must be a run with input.{key} {wanted}, got {got} in "
                f"{ancestor.run}"
            )
    try:
        network.load_state_dict(found.state_dict())
    except RuntimeError:
        raise InputError(
            "training.init: must be a run of the same architecture (and, for transformers, "
            f"resolution), got {metadata.architecture} in {ancestor.run}"
        ) from None
    return WeightsOrigin("run", str(ancestor.run), ancestor.weights)


def evaluate_run(
    folder: Path,
    store: Path,
    *,
    data_root: Path | None = None,
    defect: str | None = None,
    labels: str | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Redo a finished run's predictions and ``evaluation.json`` from its weights.

    ``data_root`` says where the data lies now, ``labels`` which revision of its labels was learnt.
    It must be the data that the run was trained on: with any other, images that the weights have
    learnt could stand in the test split. Of a run that can only be read nothing is kept, which is
    said.

    Raises:
        InputError: no finished run, other data, or another class taken for the defect.
    """
    check_store(store)
    record = require_run(folder)
    require_done(folder, record.status)
    require_weights(folder, record)
    require_same_splits(folder, record)
    files = RunFolder(folder)
    require_own(folder, record, files.weights, files.training_files)
    config = recorded_config(folder, data_root, option="--data")
    given = {name: value for name, value in (("defect", defect), ("labels", labels)) if value}
    config = config.model_copy(update={"data": config.data.model_copy(update=given)})
    data = prepare_data(config, store, progress)
    if data.dataset.classes != record.data.classes:
        trained, got = (" / ".join(names) for names in (record.data.classes, data.dataset.classes))
        raise InputError(
            f"data.defect: the classes (clean / defect) must be {trained}, as the run was trained, "
            f"got {got}"
        )
    require_same_data(config.data.root, record.data.fingerprint, data.dataset.fingerprint)
    world = World()
    device = choose_device("auto", world)
    set_threads(config.training.threads if device.type == config.training.device else None, world)
    network, _ = load_network(folder)
    source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
    temperature = record.imported.temperature if record.imported else None
    with exclusive(folder), torch.inference_mode():
        types = read_types(folder, network)
        found = judged(network.to(device), data, source, progress, temperature, types)
        with unless_read_only(folder, "what was found"):
            check_replaceable(RunFolder(folder).record)  # all of it or nothing
            found.write(folder)
            _record(record, folder, data)
    return found.evaluation


def _record(record: RunRecord, folder: Path, data: PreparedData) -> None:
    """Write into ``run.json`` what judging a run again changes."""
    record.data.calibration, record.data.approximate = len(data.split.calibration), None
    found = data.record
    notes = [*found.notes, *notes_on_types(record.data.notes)]
    record.data.fixes, record.data.notes = found.fixes, notes
    record.data.passed_over = found.passed_over
    record.results = digest_results(folder)
    record.write(folder)
