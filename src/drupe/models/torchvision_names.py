"""Networks that torchvision has too, and what it calls their tensors.

Both libraries list the layers of these networks in the same order. The tests load the weights of
one into the other and compare what the two networks answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model

from drupe.models.zoo import CURATED, resolve

TORCHVISION: Mapping[str, str] = MappingProxyType(
    {
        **{
            name: name
            for name in (
                "convnext_tiny",
                "densenet121",
                "efficientnet_b0",
                "efficientnet_b1",
                "efficientnet_b2",
                "efficientnet_b3",
                "efficientnet_b4",
                "resnet18",
                "resnet34",
                "resnet50",
                "resnet101",
                "resnext50_32x4d",
                "wide_resnet50_2",
            )
        },
        "mobilenetv2_100": "mobilenet_v2",
    }
)
"""torchvision's name of each timm network that computes the same.

Not here: what torchvision lacks (SE-ResNet50, ConvNeXt V2, EfficientNet-Lite), and MobileNetV3,
whose batch norms add another epsilon there (1e-3, timm: 1e-5).
"""


@dataclass(frozen=True)
class ForeignTensor:
    """A tensor's name and shape in torchvision; the values are those of timm's, in their order."""

    name: str
    shape: torch.Size


def torchvision_name(architecture: str) -> str | None:
    """Return torchvision's name of the same network as ``architecture``, None where it has none."""
    return TORCHVISION.get(resolve(architecture).partition(".")[0])


def curated_in_torchvision() -> tuple[str, ...]:
    """Return the curated names of networks that torchvision has."""
    return tuple(name for name, entry in CURATED.items() if entry.timm_name in TORCHVISION)


def build_torchvision(name: str) -> nn.Module:
    """Return torchvision's network with two outputs and random weights."""
    network: nn.Module = get_model(name, weights=None, num_classes=2)
    return network


def torchvision_names(architecture: str, backbone: nn.Module) -> dict[str, ForeignTensor] | None:
    """Map each name in ``backbone.state_dict()`` to torchvision's; None where there is none.

    ``backbone`` is the two-class timm network of ``architecture``.
    """
    name = torchvision_name(architecture)
    if name is None:
        return None
    with torch.device("meta"):
        theirs: dict[str, Any] = build_torchvision(name).state_dict()
    ours = backbone.state_dict()
    names = {}
    for (own, tensor), (foreign, counterpart) in zip(ours.items(), theirs.items(), strict=True):
        if tensor.numel() != counterpart.numel():  # another version of either library
            raise RuntimeError(f"{architecture}: {own} is not torchvision's {foreign}")
        names[own] = ForeignTensor(foreign, counterpart.shape)
    return names
