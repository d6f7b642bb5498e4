"""Features by which trained networks tell images to be alike: what goes into their last layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.progress import Progress, silent
from drupe.training.distributed import World
from drupe.training.execution import choose_device, set_threads
from drupe.training.image_batches import ImageSource
from drupe.training.judgement import pooled_features
from drupe.training.preparation import PreparedData
from drupe.training.saved import load_network


def unit_features(
    runs: Sequence[Path], data: PreparedData, progress: Progress = silent
) -> NDArray[np.float32]:
    """Return F features of all N items, float32 [N, F], of the networks of ``runs`` side by side.

    The product of two rows is the mean of their cosines in the networks: 1 for the same picture.

    Raises:
        NoFeaturesError: one of the networks has none.
    """
    device = choose_device("auto", World())
    set_threads(None, World())
    source = ImageSource(data.dataset.images, data.dataset.is_defect, device)
    items = np.arange(len(data.dataset.paths), dtype=np.intp)
    parts: list[NDArray[np.float32]] = []
    for run in runs:
        network = load_network(run)[0].to(device)
        parts += pooled_features(network, source, items, progress, "features")
    for part in parts:
        part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.concatenate(parts, axis=1) / np.float32(np.sqrt(len(parts)))
