"""The part of an image that a network sees: its size, the cut, the resizing and the views.

Letters: N images, S pixels of their side, s pixels after the centre crop, r pixels after resizing,
V views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Views = Literal[1, 2, 4, 8]


@dataclass(frozen=True)
class Geometry:
    """The centre of an image, resized, seen from ``views`` sides.

    size: S; crop: s, None for no crop; resolution: r, None for the crop's own pixels; views: 1, 2
    (and its mirror image), 4 (both mirrors) or 8 (those and all of them transposed, which makes
    quarter turns), over which logits are averaged.
    """

    size: int
    crop: int | None = None
    resolution: int | None = None
    views: Views = 1

    @property
    def window(self) -> int:
        """The side of what is cut out, s."""
        return self.crop or self.size

    @property
    def side(self) -> int:
        """The side of what the backbone gets, r."""
        return self.resolution or self.window

    def resizing(self) -> nn.Module:
        """Return the map from float32 [N, 3, s, s] to [N, 3, r, r]."""
        return nn.Identity() if self.side == self.window else Resize(self.window, self.side)

    def centre(self, images: torch.Tensor) -> torch.Tensor:
        """Cut the centre out of images [N, S, S, 3]: [N, s, s, 3]."""
        if self.crop is None:
            return images
        start = (self.size - self.crop) // 2
        return images[:, start : start + self.crop, start : start + self.crop]


class Resize(nn.Module):
    """Resize square images by two constant matrices, one for rows and one for columns.

    The matrices are part of the graph, so every runtime computes the same pixels: runtimes differ
    in how they define resizing. The filter is Pillow's ``BILINEAR``: a triangle, two pixels wide
    when enlarging and wide enough to smooth away what a smaller image can't hold when shrinking.
    """

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.rows: torch.Tensor
        self.columns: torch.Tensor
        matrix = resize_matrix(source, target)
        self.register_buffer("rows", matrix, persistent=False)
        self.register_buffer("columns", matrix.T.contiguous(), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 [N, C, target, target] of [N, C, source, source]."""
        resized: torch.Tensor = self.rows @ pixels @ self.columns
        return resized


def resize_matrix(source: int, target: int) -> torch.Tensor:
    """Return float32 [target, source]: the weights of each source pixel in each resized one."""
    scale = source / target
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    places = torch.arange(source, dtype=torch.float64) + 0.5
    distance = (places - centres[:, None]).abs() / max(scale, 1.0)
    weights = (1 - distance).clamp_min(0)
    return (weights / weights.sum(1, keepdim=True)).float()


def views_of(pixels: torch.Tensor, views: Views) -> torch.Tensor:
    """Return the views of images [N, C, r, r] as one batch [V · N, C, r, r], view by view."""
    seen = [pixels]
    if views >= 2:
        seen.append(pixels.flip(3))
    if views >= 4:
        seen += [one.flip(2) for one in seen]
    if views == 8:
        seen += [one.transpose(2, 3) for one in seen]
    return torch.cat(seen) if len(seen) > 1 else pixels


def mean_over_views(logits: torch.Tensor, views: Views) -> torch.Tensor:
    """Return the mean logits [N, K] of a batch of views [V · N, K]."""
    return logits.unflatten(0, (views, -1)).mean(0) if views > 1 else logits
