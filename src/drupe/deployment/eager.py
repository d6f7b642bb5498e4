"""A run as PyTorch computes it, to be timed beside its bundle: what exporting it saves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from drupe.data.image_contract import Channels, ImageContract
from drupe.deployment.backends import Images
from drupe.deployment.timing import Subject
from drupe.errors import InputError
from drupe.models.ensemble import AnyNetwork
from drupe.runs.record import read_record
from drupe.sides import simplest
from drupe.training.saved import load_network

THRESHOLD = 0.5
"""The threshold of a bare run; another would cost the same time."""


def eager_subject(run: Path, threads: int) -> Subject:
    """Return a finished run's network, run by PyTorch in fp32 with ``threads`` threads.

    Raises:
        InputError: no finished run.
    """
    record = read_record(run)
    if record is None or record.status != "done":
        found = "no run.json" if record is None else f"a run that is {record.status}"
        raise InputError(f"{run}: must be a bundle or a finished run, got {found}")
    network, metadata = load_network(run)
    return network_subject(str(run), network, metadata.temperature, threads)


def network_subject(name: str, network: AnyNetwork, temperature: float, threads: int) -> Subject:
    """Return a network on the CPU in evaluation mode, from raw bytes to decision."""
    torch.set_num_threads(threads)

    def decide(images: Images) -> object:
        with torch.inference_mode():
            z = network.defect_logit(torch.from_numpy(images))
            scores = torch.sigmoid(z / temperature).numpy()
        return np.where(scores < THRESHOLD, "accept", "reject")

    return Subject(name, "pytorch", "fp32", threads, taken_by(network), decide)


def taken_by(network: AnyNetwork) -> ImageContract:
    """Return what images a network takes; others are refused."""
    channels: Channels = "mono" if network.scale.channels == 1 else "rgb"
    size = simplest(network.image_shape[:2])
    return ImageContract(size, channels=channels, white_level=network.scale.white_level)
