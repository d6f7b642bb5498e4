"""A run's weights as a plain state dict under torchvision's names.

It is for lines that already load a network by themselves: no graph, no preprocessing, no runtime.
Such a line feeds raw pixels 0-255, and takes the softmax of what torchvision's network answers.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from drupe.deployment.backends import Images, Shape
from drupe.deployment.gate import Crops, compare_scores, run_all
from drupe.deployment.manifest import Gate
from drupe.errors import InputError
from drupe.evaluation.lanes import Thresholds
from drupe.models.ensemble import AnyNetwork
from drupe.models.network import DEFECT, Network
from drupe.models.subnormal import flush_subnormals
from drupe.models.torchvision_names import (
    build_torchvision,
    curated_in_torchvision,
    torchvision_name,
    torchvision_names,
)
from drupe.progress import Progress
from drupe.training.saved import EnsembleMetadata, Metadata, NetworkMetadata

STATE_DICT_FILE = "state_dict.pt"


@dataclass(frozen=True)
class PlainWeights:
    """The file's bytes, what ``bundle.json`` says of them, and how their scores compare."""

    content: bytes
    description: dict[str, Any]
    gate: Gate


def require_torchvision(metadata: Metadata) -> str:
    """Return torchvision's name of the network.

    Raises:
        InputError: torchvision has no such network, or the graph does more than the network.
    """
    if isinstance(metadata, EnsembleMetadata):
        raise InputError(
            "--format pt: needs a run of one network, because a state dict can't average several, "
            f"got an {metadata.architecture}"
        )
    name = torchvision_name(metadata.architecture)
    problems = []
    if name is None:
        problems.append(
            "--format pt: torchvision must have the same network (curated ones: "
            f"{', '.join(curated_in_torchvision())}), got {metadata.architecture}"
        )
    if metadata.input.range != "raw":
        problems.append(
            "--format pt: input.range must be raw, because a state dict can't hold the scaling of "
            f"pixels, got {metadata.input.range}"
        )
    if metadata.input.crop is not None:
        problems.append(
            "--format pt: input.crop must be none, because a state dict can't cut images, got "
            f"{metadata.input.crop}"
        )
    if metadata.input.resolution is not None:
        problems.append(
            "--format pt: input.resolution must be null, because a state dict can't resize images, "
            f"got {metadata.input.resolution}"
        )
    if metadata.input.channels != "rgb":
        problems.append(
            "--format pt: input.channels must be rgb, because torchvision's networks take three, "
            f"got {metadata.input.channels}"
        )
    if metadata.input.views != 1:
        problems.append(
            "--format pt: input.views must be 1, because a state dict can't turn images, got "
            f"{metadata.input.views}"
        )
    if problems or name is None:
        raise InputError(problems)
    return name


def plain_weights(
    network: AnyNetwork,
    metadata: Metadata,
    splits: Sequence[Crops],
    thresholds: Thresholds,
    progress: Progress,
) -> PlainWeights:
    """Return the weights as torchvision's network loads them, compared with the run's scores.

    The outputs stand in the sorted order of the classes, as ``ImageFolder`` numbers them; the
    temperature is folded into the last layer, so that their softmax is the score that thresholds
    are about. Subnormal weights become zero. The bytes are read back, restricted to tensors, and
    loaded into torchvision's network, which then judges every crop.

    Raises:
        InputError: as :func:`require_torchvision`.
    """
    name = require_torchvision(metadata)
    assert isinstance(network, Network)
    assert isinstance(metadata, NetworkMetadata)
    order = tuple(sorted(metadata.classes))
    content = _serialised(network, metadata, flip=order != metadata.classes)
    defect = order.index(metadata.classes[DEFECT])
    line = _TorchvisionSession(name, content, defect, network.image_shape)
    found = [run_all(line, one.images, progress, f"torchvision on {one.name}") for one in splits]
    expected = np.concatenate([one.expected for one in splits])
    gate = compare_scores(expected, np.concatenate(found), thresholds)
    description = {
        "file": STATE_DICT_FILE,
        "network": f"torchvision.models.{name}(num_classes=2)",
        "input": "float32 [N, 3, height, width], RGB, 0-255",
        "outputs": list(order),
        "score": f"softmax of the outputs, column {line.defect}",
        "gate": gate.model_dump(),
    }
    return PlainWeights(content, description, gate)


class _TorchvisionSession:
    """The file as a line uses it: torchvision's network on raw pixels, and softmax."""

    def __init__(self, name: str, content: bytes, defect: int, takes: Shape) -> None:
        self.network = build_torchvision(name).eval()
        self.network.load_state_dict(torch.load(io.BytesIO(content), weights_only=True))
        self.defect = defect
        self.takes = takes

    def __call__(self, images: Images) -> NDArray[np.float32]:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
            scores: NDArray[np.float32] = self.network(pixels).softmax(1)[:, self.defect].numpy()
        return scores

    def outputs(self, images: Images) -> tuple[NDArray[np.float32], ...]:
        return (self(images),)


def _serialised(network: Network, metadata: NetworkMetadata, *, flip: bool) -> bytes:
    backbone = copy.deepcopy(network.backbone).eval()
    head = backbone.get_classifier()  # type: ignore[operator]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.div_(metadata.temperature)
            if flip:
                parameter.copy_(parameter.flip(0))
    flush_subnormals(backbone)
    names = torchvision_names(metadata.architecture, backbone)
    assert names is not None
    tensors = backbone.state_dict()
    plain = {
        foreign.name: tensors[key].reshape(foreign.shape).contiguous().clone()
        for key, foreign in names.items()
    }
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()
