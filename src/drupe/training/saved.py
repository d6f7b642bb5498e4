"""A finished run's network on disk, and judging it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from drupe.configuration import Tree
from drupe.errors import InputError
from drupe.models.network import Network, build_network
from drupe.progress import Progress, silent
from drupe.training.checkpoint import load_tensors, load_weights, save_tensors
from drupe.training.config import ExperimentConfig
from drupe.training.distributed import World
from drupe.training.execution import choose_device, set_threads
from drupe.training.judgement import judge
from drupe.training.preparation import prepare_data
from drupe.training.record import exclusive, read_config, read_record
from drupe.training.source import ImageSource

MODEL_FILE = "model.safetensors"


def save_network(
    folder: Path,
    network: Network,
    config: ExperimentConfig,
    crop: int | None,
    classes: tuple[str, str],
    evaluation: Tree,
) -> None:
    """Write ``model.safetensors``: weights, and all that is needed to build and use the network."""
    contract = {"size": config.input.size, "range": config.input.range, "crop": crop}
    metadata = {
        "architecture": config.model.architecture,
        "classes": list(classes),
        "input": contract,
        "temperature": evaluation["temperature"],
    }
    save_tensors(folder / MODEL_FILE, network.state_dict(), metadata)


def load_network(folder: Path) -> tuple[Network, dict[str, Any]]:
    """Return the network of a finished run, on the CPU in evaluation mode, and its metadata."""
    path = folder / MODEL_FILE
    tensors, metadata = load_tensors(path)
    contract = metadata["input"]
    network = build_network(
        metadata["architecture"],
        input_range=contract["range"],
        size=contract["size"],
        crop=contract["crop"],
        pretrained=False,
        frozen=False,
    ).network
    load_weights(network, tensors, path)
    return network.eval(), metadata


def evaluate_run(
    folder: Path,
    store: Path,
    *,
    data_root: Path | None = None,
    defect: str | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Redo a finished run's predictions and ``evaluation.json`` from its weights.

    ``data_root`` says where the data lies now. It must be the data that the run was trained on:
    with any other, images that the weights have learnt could stand in the test split.

    Raises:
        InputError: no finished run, or other data.
    """
    record = read_record(folder) if folder.is_dir() else None
    if record is None:
        raise InputError(f"{folder}: must be a run directory, but it holds no run.json")
    if record.status != "done":
        raise InputError(f"{folder}: must hold a finished run, got one that is {record.status}")
    config = read_config(folder)
    changes: dict[str, Any] = {"defect": defect} if defect else {}
    changes |= {"root": data_root} if data_root else {}
    config = config.model_copy(update={"data": config.data.model_copy(update=changes)})
    data = prepare_data(config, store, progress)
    if data.dataset.fingerprint != record.data.fingerprint:
        raise InputError(
            f"{config.data.root}: must be the data of the run "
            f"({record.data.fingerprint[:12]}), got other images, labels or fixes "
            f"({data.dataset.fingerprint[:12]})"
        )
    world = World()
    device = choose_device("auto", world)
    set_threads(config.training.threads if device.type == config.training.device else None, world)
    network, _ = load_network(folder)
    source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
    with exclusive(folder), torch.inference_mode():
        evaluation = judge(network.to(device), data, source, folder, progress)
    return evaluation
