"""The part of an image that a network sees: its size, the cut, the resizing and the views.

Letters: N images, C channels, H × W pixels of an image, h × w pixels after the centre crop, r × q
pixels after resizing, V views. A size is one number where an image is square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from drupe.sides import Size, height_and_width

Views = Literal[1, 2, 4, 8]


@dataclass(frozen=True)
class Geometry:
    """The centre of an image, resized, seen from ``views`` sides.

    size: H × W; crop: h × w, None for no crop; resolution: r × q, None for the crop's own pixels;
    views: 1, 2 (and its mirror image), 4 (both mirrors) or 8 (those and all of them transposed,
    which makes quarter turns), over which logits are averaged.
    """

    size: Size
    crop: Size | None = None
    resolution: Size | None = None
    views: Views = 1

    @property
    def window(self) -> Size:
        """The size of what is cut out, h × w."""
        return self.crop or self.size

    @property
    def side(self) -> Size:
        """The size of what the backbone gets, r × q."""
        return self.resolution or self.window

    def resizing(self) -> nn.Module:
        """Return the map from float32 [N, C, h, w] to [N, C, r, q]."""
        return nn.Identity() if self.side == self.window else Resize(self.window, self.side)

    def centre(self, images: torch.Tensor) -> torch.Tensor:
        """Cut the centre out of images [N, H, W, C]: [N, h, w, C]."""
        if self.crop is None:
            return images
        (height, width), (rows, columns) = map(height_and_width, (self.size, self.crop))
        top, left = (height - rows) // 2, (width - columns) // 2
        return images[:, top : top + rows, left : left + columns]


class Resize(nn.Module):
    """Resize images by two constant matrices, one for rows and one for columns.

    The matrices are part of the graph, so every runtime computes the same pixels: runtimes differ
    in how they define resizing. The filter is Pillow's ``BILINEAR``: a triangle, two pixels wide
    when enlarging and wide enough to smooth away what a smaller image can't hold when shrinking.
    """

    def __init__(self, source: Size, target: Size) -> None:
        super().__init__()
        self.rows: torch.Tensor
        self.columns: torch.Tensor
        (height, width), (rows, columns) = map(height_and_width, (source, target))
        self.register_buffer("rows", resize_matrix(height, rows), persistent=False)
        across = resize_matrix(width, columns).T.contiguous()
        self.register_buffer("columns", across, persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 [N, C, r, q] of [N, C, h, w]."""
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
    """Return the views of images [N, C, r, q] as one batch [V · N, C, r, q], view by view.

    Eight views take square images, r = q: four of them are transposed.
    """
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
