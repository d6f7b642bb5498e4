"""The type head: which type of defect an image shows, from the features that the decision rests on.

It is one linear layer beside the network's last one, and changes nothing of what that says.

Letters: N images, F features that go into a network's last layer, T types.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn

from drupe.errors import DrupeError
from drupe.models.ensemble import AnyNetwork, Ensemble
from drupe.models.geometry import mean_over_views
from drupe.models.network import Network


class NoFeaturesError(DrupeError):
    """A network without one vector of features an image that a type head could rest on."""


class TypeHead(nn.Module):
    """Logits of the T types ``names``: a linear layer for each of m networks, and their mean.

    Raises:
        ValueError: fewer than two types, no layer, or a layer with another number of outputs.
    """

    def __init__(self, names: Sequence[str], layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        outputs = [layer.out_features for layer in layers]
        if len(names) < 2 or not layers or set(outputs) != {len(names)}:
            raise ValueError(f"layers: must give one of {len(names)} ≥ 2 types, got {outputs}")
        self.names = tuple(names)
        self.layers = nn.ModuleList(layers)

    @property
    def linear(self) -> tuple[nn.Linear, ...]:
        """The layer of each network, float32 [T, F] and [T]."""
        return tuple(layer for layer in self.layers if isinstance(layer, nn.Linear))

    def scores(self, logits: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return each type's probability, float32 [N, T], of the layers' logits [N, T]."""
        return torch.stack(list(logits)).mean(0).softmax(1)

    def said(self, scores: torch.Tensor) -> tuple[str, ...]:
        """Return the likeliest type of each image, of scores [N, T]."""
        return tuple(self.names[place] for place in scores.argmax(1).tolist())


def linear_layer(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    """Return the layer of ``weight`` [T, F] and ``bias`` [T], in float32; it doesn't learn."""
    # Its weights aren't drawn first: whatever is random elsewhere stays as it is.
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer.requires_grad_(False)


def networks_of(network: AnyNetwork) -> tuple[Network, ...]:
    """Return the members of an ensemble, or the network itself."""
    if isinstance(network, Ensemble):
        return tuple(member for member, _ in network.members)
    return (network,)


def last_layer(backbone: nn.Module) -> nn.Linear:
    """Return the last layer of a timm network; :class:`NoFeaturesError` where it isn't linear."""
    layer = backbone.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear):
        raise NoFeaturesError("the network's last layer isn't a single linear one")
    return layer


class FeatureTap:
    """Takes what goes into the last layer of a network, through ``layers``, while it is entered.

    One layer for each of an ensemble's networks, such as those of a :class:`TypeHead`;
    ``nn.Identity`` takes the features as they are, and none takes nothing. What the network
    computes stays as it is.

    Raises:
        NoFeaturesError: when entered or while the network runs, as :func:`last_layer`, or because
            it takes something else than vectors.
    """

    def __init__(self, network: AnyNetwork, layers: Sequence[nn.Module]) -> None:
        self._networks = networks_of(network) if layers else ()
        self._layers = layers
        self._taken: list[list[torch.Tensor]] = [[] for _ in layers]
        self._hooks: list[Any] = []

    def __enter__(self) -> FeatureTap:
        taps = zip(self._networks, self._layers, self._taken, strict=True)
        for network, layer, taken in taps:
            hook = _taking(layer, network, taken)
            self._hooks.append(last_layer(network.backbone).register_forward_pre_hook(hook))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def take(self, images: int) -> tuple[torch.Tensor, ...]:
        """Return what came of all ``images`` N so far: float32 [N, …] on the CPU, per network.

        Of an image's views it is the mean, which for linear layers is the mean of their logits.
        """
        found = tuple(torch.cat(taken) for taken in self._taken)
        if any(len(one) != images for one in found):
            raise NoFeaturesError("the network's last layer isn't asked once for each image")
        return found


def _taking(layer: nn.Module, network: Network, taken: list[torch.Tensor]) -> Any:
    """Return a hook that keeps what ``layer`` makes of the features."""

    def take(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        features = arguments[0]
        if features.ndim != 2:
            raise NoFeaturesError("the network's last layer takes no vector of each image")
        seen = mean_over_views(layer(features.float()), network.geometry.views)
        taken.append(seen.cpu())

    return take
