"""Several networks that decide as one: the mean of their calibrated logits.

Letters: N images of H × W pixels and C channels, m members.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from drupe.models.geometry import Geometry
from drupe.models.network import InputScale, Network


class Ensemble(nn.Module):
    """The mean of z_i / T_i over m networks that take the same images.

    Each member keeps what it sees of an image (cut, resolution, views, range of values); its
    ``temperature`` T_i puts its logits on the scale of the others', so that none speaks louder.

    Raises:
        ValueError: fewer than two members, another number of temperatures, or images of another
            size for some.
    """

    def __init__(self, members: Sequence[Network], temperatures: Sequence[float]) -> None:
        super().__init__()
        kinds = {(*member.image_shape, member.scale.white_level) for member in members}
        if len(members) < 2 or len(members) != len(temperatures) or len(kinds) > 1:
            raise ValueError(
                "members: must be at least two networks for images of one size and kind, with a "
                f"temperature each; got {len(members)} for (height, width, channels, white level) "
                f"{sorted(kinds)} and {len(temperatures)} temperatures"
            )
        self.networks = nn.ModuleList(members)
        self.temperatures = tuple(temperatures)

    @property
    def members(self) -> tuple[tuple[Network, float], ...]:
        """Each network with its temperature."""
        networks = [one for one in self.networks if isinstance(one, Network)]
        return tuple(zip(networks, self.temperatures, strict=True))

    @property
    def geometry(self) -> Geometry:
        """The images that it takes, whole, and the most views that a member has of one."""
        seen = [network.geometry for network, _ in self.members]
        return Geometry(seen[0].size, views=max(one.views for one in seen))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the raw images that it takes."""
        return self.members[0][0].image_shape

    @property
    def scale(self) -> InputScale:
        """The scale of a member: all take images of one kind, to which each has its own range."""
        return self.members[0][0].scale

    def defect_logit(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mean calibrated logit, float32 [N], of raw images [N, H, W, C]."""
        calibrated = [network.defect_logit(images) / t for network, t in self.members]
        return torch.stack(calibrated).mean(0)


AnyNetwork = Network | Ensemble
"""Whatever gives a defect's logit of raw bytes."""
