"""How far an image lies from those that were learnt from, by a network's first stages.

The last features tell classes apart and little else: a hand looks like a fruit to them. The first
stages still see light, colour and texture. Their responses are pooled to a mean and a deviation per
channel, and an image's distance is Mahalanobis's from the items of ``fit`` (Lee et al. 2018, *A
simple unified framework for detecting out-of-distribution samples*, which uses all stages).

Letters: N images, V views, C channels of a stage of h × w positions, F features, R directions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from drupe.models.geometry import mean_over_views
from drupe.models.network import Network
from drupe.models.type_head import NoFeaturesError

STAGES = 2
"""Looked at, from the first on: the later ones forget what they aren't asked for."""

SIDE = 32
"""Positions a side of a stage that are looked at, evenly spaced: more would tell little."""

RIDGE = 1e-2
"""Added to each eigenvalue of the features' correlations, as a share of their mean."""

LEAST_SPREAD = 0.05
"""Of a feature that hardly varies, as a share of the features' mean deviation."""

BATCH = 64


class DistanceLayer(nn.Module):
    """Distances float32 [N] of features [N, F]: about 1 for an item like those of ``fit``.

    centre: float32 [F], where these lie on the average; weight: float32 [R, F], what makes them
    uncorrelated with deviation 1.
    """

    def __init__(self, centre: torch.Tensor, weight: torch.Tensor) -> None:
        super().__init__()
        self.centre: torch.Tensor
        self.register_buffer("centre", centre)
        # With a bias, although it is zero: without one, exporters lose the name of the weights.
        self.linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
        self.linear.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})
        self.requires_grad_(False)

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> DistanceLayer:
        """Learn location and shape from features [n, F] of items of ``fit``.

        Raises:
            NoFeaturesError: they say the same of every item.
        """
        found = features.astype(np.float64)
        centre, spread = found.mean(0), found.std(0)
        if not spread.any():
            raise NoFeaturesError("its first stages say the same of every image")
        spread = np.maximum(spread, LEAST_SPREAD * spread.mean())
        scaled = (found - centre) / spread
        values, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
        lengths = np.sqrt(np.maximum(values, 0) + RIDGE * values.mean())
        weight = (directions / lengths).T / spread
        return cls(torch.from_numpy(centre).float(), torch.from_numpy(weight).float())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the root mean square over the R directions."""
        away: torch.Tensor = self.linear(features - self.centre)
        return away.square().mean(1).sqrt()


def early_stages(backbone: nn.Module) -> tuple[nn.Module, ...]:
    """Return the first stages of a timm network; :class:`NoFeaturesError` where it names none."""
    listed: Any = getattr(backbone, "feature_info", None)
    if not isinstance(listed, list) or not listed:
        raise NoFeaturesError("the network doesn't name its stages")
    return tuple(backbone.get_submodule(one["module"]) for one in listed[:STAGES])


@contextmanager
def watching(stages: tuple[nn.Module, ...]) -> Iterator[list[torch.Tensor]]:
    """Collect what ``stages`` make of each batch, pooled: float32 [V · N, 2 C] each.

    Raises:
        NoFeaturesError: while the network runs, where a stage gives no maps [V · N, C, h, w].
    """
    seen: list[torch.Tensor] = []

    def pool(_: nn.Module, __: Any, maps: torch.Tensor) -> None:
        seen.append(_pooled(maps))

    hooks = [stage.register_forward_hook(pool) for stage in stages]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4:
        raise NoFeaturesError("the network's first stages give no maps")
    step = max(1, min(maps.shape[2:]) // SIDE)
    values = maps[:, :, ::step, ::step].float()
    mean = values.mean((2, 3), keepdim=True)
    deviation = (values - mean).square().mean((2, 3)).sqrt()
    return torch.cat((mean.flatten(1), deviation), 1)


@torch.inference_mode()
def early_features(network: Network, images: NDArray[Any]) -> NDArray[np.float32]:
    """Return the features of raw RGB ``images`` [N, H, W, C], float32 [N, F]: means over views."""
    parts = []
    with watching(early_stages(network.backbone)) as seen:
        for start in range(0, len(images), BATCH):
            network.defect_logit(torch.from_numpy(images[start : start + BATCH]))
            parts.append(mean_over_views(torch.cat(seen, 1), network.geometry.views))
            seen.clear()
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found
