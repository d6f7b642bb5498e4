from __future__ import annotations

import numpy as np
import pytest
import torch

from drupe.deployment.graph import export_graph
from drupe.models.geometry import Geometry
from drupe.models.network import build_network


@pytest.fixture(scope="session")
def crops() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [120, 64, 64, 3] and labels bool [120]."""
    random = np.random.default_rng(0)
    is_defect = np.arange(120) % 2 == 1
    images = random.integers(0, 160, (120, 64, 64, 3))
    images[is_defect, 20:40, 20:40] += 80
    return images.astype(np.uint8), is_defect


@pytest.fixture(scope="session")
def graph(crops) -> bytes:
    """A small network with batch statistics and logits like those of a trained one."""
    torch.manual_seed(0)
    network = build_network(
        "test_efficientnet",
        input_range="unit",
        geometry=Geometry(64),
        pretrained=False,
        frozen=False,
    ).network
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.from_numpy(crops[0][:64]))
        network.eval()
        head = network.backbone.get_classifier()
        z = network.defect_logit(torch.from_numpy(crops[0]))
        head.weight *= 2 / z.std()
        head.bias[1] -= 2 * z.mean() / z.std()
    return export_graph(network, 1.0).content
