"""A trained network as an ONNX graph: raw bytes in, the probability of a defect out.

Letters: N images of H × W pixels and C channels, r × q pixels after cropping and resizing.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from timm.layers import Conv2dSame
from torch import nn

from drupe.data.decode import BYTE
from drupe.data.image_contract import Channels
from drupe.models.early_features import DistanceLayer, early_stages, watching
from drupe.models.ensemble import AnyNetwork, Ensemble
from drupe.models.geometry import mean_over_views, views_of
from drupe.models.network import CLEAN, DEFECT, InputScale, Network
from drupe.models.subnormal import flush_subnormals
from drupe.models.type_head import TypeHead, last_layer
from drupe.sides import Size, height_and_width

INPUT, OUTPUT = "images", "score"
TYPE_OUTPUT = "type_scores"
DISTANCE_OUTPUT = "distance"
TYPE_LAYER = "type_layer"
DISTANCE_LAYER = "distance_layer"
IN_FLOAT = (TYPE_LAYER, DISTANCE_LAYER)
"""Parts of the names of the weights of further outputs: they stay in float."""

OPSET = 20


@dataclass(frozen=True)
class ExportedGraph:
    """The serialised graph and how many of its weights were too small to be normal numbers."""

    content: bytes
    flushed_weights: int


class ScoreGraph(nn.Module):
    """Raw images [N, H, W, C] to sigmoid(z / T), float32 [N]; ``channels``: their order in images.

    An ensemble's z is the mean of its m members' z_i / T_i: the sum of what each says, divided
    within it by m · T_i · T. With ``types``, each type's probability float32 [N, T] comes second.
    With ``distance``, of a single network, how far the image lies from those that were learnt from
    comes last, float32 [N].
    """

    def __init__(
        self,
        network: AnyNetwork,
        temperature: float,
        channels: Channels = "rgb",
        types: TypeHead | None = None,
        distance: DistanceLayer | None = None,
    ) -> None:
        super().__init__()
        self.turns = channels == "bgr"
        members = network.members if isinstance(network, Ensemble) else ((network, 1.0),)
        shares = [len(members) * own * temperature for _, own in members]
        layers = types.linear if types else (None,) * len(members)
        self.has_types, self.has_distance = types is not None, distance is not None
        self.members = nn.ModuleList(
            _LogitGraph(one, share, layer, distance)
            for (one, _), share, layer in zip(members, shares, layers, strict=True)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the scores, those of types and distances, as far as there are such."""
        if self.turns:  # networks are trained on RGB
            images = images.flip(3)
        found = [member(images) for member in self.members]
        logits = [one[0] for one in found]
        outputs = [torch.sigmoid(sum(logits[1:], start=logits[0]))]
        if self.has_types:
            of_types = [one[1] for one in found]
            outputs.append((sum(of_types[1:], start=of_types[0]) / len(of_types)).softmax(1))
        if self.has_distance:
            outputs.append(found[0][-1])
        return tuple(outputs) if len(outputs) > 1 else outputs[0]


class _LogitGraph(nn.Module):
    """Raw images [N, H, W, C] to one network's z / T, float32 [N], and what else is asked of it.

    A last linear layer becomes one output instead of two: z and the temperature are linear. The
    first convolution divides by the deviations of the input's scale; the means are subtracted
    before it, because its padding of zeros stands for them. With a ``type_layer``, the logits of
    types, float32 [N, T], come second; with ``distance``, distances float32 [N] come last.
    """

    def __init__(
        self,
        network: Network,
        temperature: float,
        type_layer: nn.Linear | None = None,
        distance: DistanceLayer | None = None,
    ) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(network.backbone).eval()
        _plain_pools(self.backbone)
        self.geometry, self.resize = network.geometry, network.resize
        self.scale = _folded_scale(self.backbone, network.scale, network.geometry.side)
        head = self.backbone.get_classifier()  # type: ignore[operator]
        self.is_folded = isinstance(head, nn.Linear)
        self.temperature = temperature
        if isinstance(head, nn.Linear):
            _fold_head(head, temperature)
        self.has_types = type_layer is not None
        if type_layer is not None:
            _replace(self.backbone, last_layer(self.backbone), _BothLayers(head, type_layer))
        self.has_distance = distance is not None
        if distance is not None:
            self.add_module(DISTANCE_LAYER, copy.deepcopy(distance))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        centre = self.geometry.centre(images).permute(0, 3, 1, 2).float()
        views = self.geometry.views
        # Resizing keeps what all pixels have in common, so the means may be subtracted before it.
        # OpenVINO 2026.4 takes a subtraction after the product for a part of it, and fails.
        pixels = views_of(self.resize(self.scale(centre)), views)
        with watching(early_stages(self.backbone) if self.has_distance else ()) as seen:
            logits = mean_over_views(self.backbone(pixels), views)
        outputs = [self._logit(logits)]
        if self.has_types:
            outputs.append(logits[:, 1:])
        if self.has_distance:
            features = mean_over_views(torch.cat(seen, 1), views)
            outputs.append(self.get_submodule(DISTANCE_LAYER)(features))
        return tuple(outputs)

    def _logit(self, logits: torch.Tensor) -> torch.Tensor:
        if self.has_types:
            return logits[:, 0]
        if self.is_folded:
            return logits.flatten()
        z: torch.Tensor = logits[:, DEFECT] - logits[:, CLEAN]
        return z / self.temperature


class _BothLayers(nn.Module):
    """A folded last layer and one of types beside it: float32 [N, 1 + T]."""

    def __init__(self, head: nn.Linear, type_layer: nn.Linear) -> None:
        super().__init__()
        self.head = head
        self.add_module(TYPE_LAYER, copy.deepcopy(type_layer))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        types = self.get_submodule(TYPE_LAYER)
        return torch.cat((self.head(features), types(features)), dim=1)


def _replace(module: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` into the place of ``old``, somewhere below ``module``."""
    name = next(name for name, child in module.named_modules() if child is old)
    module.set_submodule(name, new)


class _Mean(nn.Module):
    """The mean of each channel, float32 [N, C, 1, 1]."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean((2, 3), keepdim=True)


def _plain_pools(module: nn.Module) -> None:
    """Let pools to one pixel be means, as torch computes them.

    Exported as they are, their result is gathered element by element, by indices that are made
    anew for every image.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
            setattr(module, name, _Mean())
        else:
            _plain_pools(child)


class _Centre(nn.Module):
    """Subtract the mean of each channel."""

    def __init__(self, mean: torch.Tensor) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels - self.mean


def _folded_scale(backbone: nn.Module, scale: InputScale, side: Size) -> nn.Module:
    """Return what is left of ``scale`` once the first convolution divides by the deviations.

    All of it, where no single convolution takes the pixels as they are.
    """
    first = _first_convolution(backbone, scale.channels, height_and_width(side))
    if first is None:
        return scale
    with torch.no_grad():
        first.weight = nn.Parameter(first.weight / scale.std)
    return _Centre(scale.mean) if scale.mean.any() else nn.Identity()


def _first_convolution(
    backbone: nn.Module, channels: int, sides: tuple[int, int]
) -> nn.Conv2d | None:
    """Return the convolution that timm names as the first, if the pixels reach it unchanged."""
    # A network that was registered from outside timm need not have one.
    configuration: Any = getattr(backbone, "pretrained_cfg", None) or {}
    name = configuration.get("first_conv")
    first = backbone.get_submodule(name) if isinstance(name, str) else None
    # Only these multiply by their weight as it is: other subclasses standardise it first.
    if type(first) not in (nn.Conv2d, Conv2dSame):
        return None
    assert isinstance(first, nn.Conv2d)
    seen: list[torch.Tensor] = []
    hook = first.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    shape = (channels, *sides)
    pixels = torch.linspace(0, 255, math.prod(shape)).view(1, *shape)
    with torch.inference_mode():
        backbone(pixels)
    hook.remove()
    return first if len(seen) == 1 and torch.equal(seen[0], pixels) else None


def _fold_head(head: nn.Linear, temperature: float) -> None:
    """Make ``head`` give z / T instead of two logits."""
    with torch.no_grad():
        weight = (head.weight[DEFECT] - head.weight[CLEAN]) / temperature
        head.weight = nn.Parameter(weight[None])
        if head.bias is not None:
            bias = (head.bias[DEFECT] - head.bias[CLEAN]) / temperature
            head.bias = nn.Parameter(bias[None])
        head.out_features = 1


def export_graph(
    network: AnyNetwork,
    temperature: float,
    channels: Channels = "rgb",
    types: TypeHead | None = None,
    distance: DistanceLayer | None = None,
) -> ExportedGraph:
    """Return ``network`` as an ONNX graph with dynamic N, batch norms folded into convolutions.

    ``channels``: the order in which the graph takes them; what the network sees is the same.
    ``types``: the network's type head, for a second output; ``distance``: for the last one, of a
    single network; the first stays as it is. Subnormal weights, which make a CPU many times slower,
    become zero and are counted.
    """
    graph = ScoreGraph(network, temperature, channels, types, distance)
    names = [OUTPUT, *([TYPE_OUTPUT] if types else ()), *([DISTANCE_OUTPUT] if distance else ())]
    flushed = flush_subnormals(graph)
    pixel = torch.uint8 if network.scale.white_level == BYTE else torch.uint16
    images = torch.zeros((2, *network.image_shape), dtype=pixel)
    chatty = logging.getLogger("torch.onnx")
    level = chatty.level
    try:
        chatty.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                (images,),
                input_names=[INPUT],
                output_names=names,
                dynamic_shapes={INPUT: {0: torch.export.Dim("N", min=1)}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    finally:
        chatty.setLevel(level)
    assert program is not None
    model = program.model_proto
    forget_origin(model)
    onnx.checker.check_model(model)
    return ExportedGraph(model.SerializeToString(), flushed)


def forget_origin(model: onnx.ModelProto) -> None:
    """Remove which source lines each node comes from.

    They name folders of the exporting machine, so the same network would have another file, and
    another digest, wherever it is exported.
    """
    for part in (model.graph, *model.graph.node):
        del part.metadata_props[:]
        part.doc_string = ""
