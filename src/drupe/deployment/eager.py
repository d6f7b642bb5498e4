"""A run as PyTorch computes it: timed beside its bundle, and asked where a score comes from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from drupe.data.image_contract import Channels, ImageContract
from drupe.deployment.backends import Images, Scores
from drupe.deployment.explain import Explanation, Scorer, explain
from drupe.deployment.timing import Subject
from drupe.errors import InputError
from drupe.models.ensemble import AnyNetwork
from drupe.runs.record import read_record
from drupe.sides import simplest
from drupe.training.config import read_config
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
    scores = _scorer(network, temperature)

    def decide(images: Images) -> object:
        return np.where(scores(images) < THRESHOLD, "accept", "reject")

    return Subject(name, "pytorch", "fp32", threads, taken_by(network), decide)


def eager_explainer(run: Path) -> Callable[[Path], Explanation]:
    """Return what tells of an image file where the score of a finished run's network comes from.

    Raises:
        InputError: the network is missing, damaged or not this run's.
    """
    network, metadata = load_network(run)
    contract, scores = read_config(run).contract, _scorer(network, metadata.temperature)
    return lambda file: explain(scores, contract.of_file(file).copy())  # PyTorch wants to own it


def _scorer(network: AnyNetwork, temperature: float) -> Scorer:
    """Return what scores raw images on the CPU."""

    def scores(images: Images) -> Scores:
        with torch.inference_mode():
            z = network.defect_logit(torch.from_numpy(images))
            found: Scores = torch.sigmoid(z / temperature).numpy()
        return found

    return scores


def taken_by(network: AnyNetwork) -> ImageContract:
    """Return what images a network takes; others are refused."""
    channels: Channels = "mono" if network.scale.channels == 1 else "rgb"
    size = simplest(network.image_shape[:2])
    return ImageContract(size, channels=channels, white_level=network.scale.white_level)
