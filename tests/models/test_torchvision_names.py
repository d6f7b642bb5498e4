from __future__ import annotations

import pytest
import timm
import torch

from drupe.models.torchvision_names import (
    TORCHVISION,
    build_torchvision,
    curated_in_torchvision,
    torchvision_name,
    torchvision_names,
)
from drupe.models.zoo import CURATED

QUICK = ("resnet18", "resnet50", "convnext_tiny", "efficientnet_b0", "efficientnet_b2")


def randomised(name: str) -> torch.nn.Module:
    """Return timm's network with norms and layer scales as training leaves them, not at 0 and 1."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=2).eval()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
                layer.weight.uniform_(0.5, 1.0)
                layer.bias.normal_(0, 0.1)
        for key, parameter in network.named_parameters():
            if key.endswith("gamma"):
                parameter.uniform_(0.1, 1.0)
    return network


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TORCHVISION],
)
def test_torchvision_answers_as_timm_does(name: str) -> None:
    ours = randomised(name)
    theirs = build_torchvision(TORCHVISION[name]).eval()
    names = torchvision_names(name, ours)
    assert names is not None
    own = ours.state_dict()
    theirs.load_state_dict(
        {foreign.name: own[key].reshape(foreign.shape) for key, foreign in names.items()}
    )

    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    with torch.inference_mode():
        expected, found = ours(pixels), theirs(pixels)

    assert expected.std() > 0
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_the_curated_networks_that_torchvision_has() -> None:
    assert curated_in_torchvision() == (
        "resnet18",
        "resnet50",
        "convnext_tiny",
        "efficientnet_b0",
        "efficientnet_b2",
        "efficientnet_b3",
    )
    assert all(torchvision_name(name) is not None for name in curated_in_torchvision())


def test_a_weights_tag_is_the_same_network() -> None:
    assert torchvision_name("resnet50.a1_in1k") == "resnet50"


@pytest.mark.parametrize("name", ["seresnet50", "mobilenet_v3_large", "test_resnet"])
def test_what_torchvision_lacks_has_no_names(name: str) -> None:
    network = timm.create_model(CURATED[name].timm_name, num_classes=2)
    assert torchvision_name(name) is None
    assert torchvision_names(name, network) is None
