"""Batched augmentation on the device: one affine resample, one colour matrix, one motion blur.

Letters: N images of H × W pixels and C channels (3 or 1), h × w the window that is cut out (crop,
or all), r × q the size after resizing, k pixels of motion blur and m = (k − 1) / 2 the margin that
a blur reads beyond its output. Of one channel, saturation and hue change nothing.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from drupe.models.geometry import Geometry
from drupe.sides import Size, height_and_width
from drupe.training.own_augmentation import OwnAugmentation, OwnAugmentConfig, apply_own

Tensor = torch.Tensor

LUMA = (0.299, 0.587, 0.114)
"""Grey of red, green and blue (ITU-R BT.601). They sum to one, so greys stay what they are."""

YIQ = (LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312))
"""RGB to luma and two chroma axes (NTSC, 1953): hue is an angle in the plane of the latter two."""


class AugmentationConfig(BaseModel):
    """Limits of the changes to each image, drawn uniformly and anew each time; 0 or false: off."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    flips: bool = Field(True, description="mirror each axis with probability 0.5")
    rotation: float = Field(180.0, ge=0, le=180, description="degrees, either way")
    shift: float = Field(0.10, ge=0, le=0.5, description="share of the side, either way, each axis")
    zoom: float = Field(0.10, ge=0, lt=1, description="relative change of size, either way")
    brightness: float = Field(0.30, ge=0, le=1, description="relative change, either way")
    contrast: float = Field(0.30, ge=0, le=1, description="relative change, either way")
    saturation: float = Field(
        0.20, ge=0, le=1, description="relative change, either way; nothing where input is mono"
    )
    hue: float = Field(
        0.05,
        ge=0,
        le=0.5,
        description="turns of the colour circle, either way; nothing where input is mono",
    )
    motion_blur: float = Field(0.5, ge=0, le=1, description="probability per image")
    blur_kernel: int = Field(5, ge=3, le=31, description="pixels that a blur runs over; odd")
    own: OwnAugmentConfig | None = Field(
        None, description="written by drupe.train(augment=...), which alone can train such a run"
    )

    @model_serializer(mode="wrap")
    def _without_own(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``own`` out where there is none: what was done before stays known."""
        document: dict[str, Any] = write(self)
        if self.own is None:
            del document["own"]
        return document

    @model_validator(mode="after")
    def _kernel_has_a_centre(self) -> Self:
        if self.blur_kernel % 2 == 0:
            raise ValueError(f"blur_kernel must be odd, got {self.blur_kernel}")
        return self

    @classmethod
    def off(cls) -> Self:
        """Return the configuration that changes nothing."""
        return cls(
            flips=False,
            rotation=0,
            shift=0,
            zoom=0,
            brightness=0,
            contrast=0,
            saturation=0,
            hue=0,
            motion_blur=0,
        )

    @property
    def moves(self) -> bool:
        """True where pixels change place (blur apart)."""
        return self.flips or any((self.rotation, self.shift, self.zoom))

    @property
    def recolours(self) -> bool:
        """True where pixels change colour."""
        return any((self.brightness, self.contrast, self.saturation, self.hue))


class Augment:
    """Raw images in, augmented, centre-cropped and resized pixels out; at last ``own``, if given.

    Everything random comes from the given CPU generator: twelve numbers per image, always the
    same ones in the same order, whatever is switched on and on whatever device the images are.
    """

    def __init__(
        self,
        config: AugmentationConfig,
        geometry: Geometry,
        channels: int = 3,
        white_level: int = 255,
        own: OwnAugmentation | None = None,
    ) -> None:
        self.config, self.white_level, self.own = config, white_level, own
        self.shape = (*height_and_width(geometry.size), channels)
        self.edges = extent(geometry.size)
        self.margin = config.blur_kernel // 2 if config.motion_blur else 0
        height, width = height_and_width(geometry.window)
        self.window = (height + 2 * self.margin, width + 2 * self.margin)
        self.resize = geometry.resizing()

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Return float32 [N, C, r, q], 0 to white, for raw images [N, H, W, C], on their device."""
        if images.shape[1:] != self.shape:
            expected = "[N, {}, {}, {}]".format(*self.shape)
            raise ValueError(f"images: must be {expected}, got {list(images.shape)}")
        config = self.config
        # Per-image parameters are a few numbers: exact and device-independent in double on the CPU.
        draws = torch.rand(len(images), 12, generator=generator, dtype=torch.float64)
        geometry, colour, blur = draws.T[:6], draws.T[6:10], draws.T[10:]
        pixels = warp(
            images,
            inverse_maps(geometry, config, self.edges) if config.moves else None,
            self.window,
        )
        if config.recolours:
            pixels = recolour(pixels, colour_change(colour, config), self.margin)
        if config.motion_blur:
            blurred = (blur[0] < config.motion_blur).nonzero().squeeze(1)
            kernels = line_kernels(math.pi * blur[1, blurred], config.blur_kernel)
            pixels = blur_some(pixels, blurred, kernels)
        resized: Tensor = self.resize.to(images.device)(pixels.clamp_(0, self.white_level))
        return resized if self.own is None else apply_own(self.own, resized, self.white_level)


def extent(size: Size) -> tuple[float, float]:
    """Return where an image's right and lower edge lie, if half its longer side is one."""
    height, width = height_and_width(size)
    longer = max(height, width)
    return width / longer, height / longer


def inverse_maps(
    draws: Tensor, config: AugmentationConfig, edges: tuple[float, float] = (1.0, 1.0)
) -> Tensor:
    """Return maps from output to input coordinates, float64 [N, 2, 3], for draws in [0, 1) [6, N].

    Forwards, an image is flipped, turned about its centre, zoomed and then shifted. Coordinates
    are (x, y) from the image's centre, in halves of its longer side: the ``edges`` are at ± these.
    """
    flip_x, flip_y, turn, zoom, shift_x, shift_y = draws
    angle = math.radians(config.rotation) * _signed(turn)
    scale = 1 + config.zoom * _signed(zoom)
    shift = 2 * config.shift * torch.stack([_signed(shift_x), _signed(shift_y)], dim=-1)
    shift *= torch.tensor(edges, dtype=torch.float64)
    mirror = 1.0 - 2 * (torch.stack([flip_x, flip_y], dim=-1) < 0.5) * float(config.flips)
    cos, sin = angle.cos(), angle.sin()
    turn_back = torch.stack([cos, sin, -sin, cos], dim=-1).view(-1, 2, 2)
    linear = mirror[:, :, None] * turn_back / scale[:, None, None]
    return torch.cat([linear, -linear @ shift[:, :, None]], dim=-1)


def warp(images: Tensor, maps: Tensor | None, window: Size) -> Tensor:
    """Sample the centre window, bilinearly, black outside the images.

    Args:
        images: uint8 or uint16 [N, H, W, C].
        maps: float [N, 2, 3] from output to input coordinates; None keeps every pixel's place.
        window: its size in pixels, h × w; larger than H × W is allowed.

    Returns:
        float32 [N, C, h, w], pixels as they were.
    """
    sides, cut = images.shape[1:3], height_and_width(window)
    starts = [(size - side) // 2 for size, side in zip(sides, cut, strict=True)]
    channels_first = images.permute(0, 3, 1, 2).float()
    if maps is None:
        (upper, left), (lower, right) = (
            [-start for start in starts],
            [start + side - size for start, side, size in zip(starts, cut, sides, strict=True)],
        )
        return F.pad(channels_first, (left, right, upper, lower))
    device = images.device
    right_edge, lower_edge = extent((sides[0], sides[1]))
    down, across = (
        (2 * torch.arange(start, start + side, dtype=torch.float64, device=device) + 1) / size - 1
        for start, side, size in zip(starts, cut, sides, strict=True)
    )
    rows, columns = torch.meshgrid(down * lower_edge, across * right_edge, indexing="ij")
    points = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).view(-1, 3)
    grid = points.float() @ maps.float().to(device).transpose(1, 2)
    grid /= torch.tensor([right_edge, lower_edge], device=device)
    return F.grid_sample(channels_first, grid.view(-1, *cut, 2), align_corners=False)


class ColourChange(NamedTuple):
    """One change per image: factors (1 keeps) and turns of the colour circle, float64 [N] each."""

    brightness: Tensor
    contrast: Tensor
    saturation: Tensor
    hue: Tensor

    def matrices(self) -> Tensor:
        """Return the linear part of the change, float64 [N, 3, 3], for (red, green, blue).

        Brightness and contrast scale; saturation moves a pixel to or from its grey (torchvision's
        definitions). Hue turns the chroma plane of YIQ: the linear rotation, which keeps a pixel's
        luma, where torchvision's way through HSV keeps its largest channel.
        """
        to_yiq = torch.tensor(YIQ, dtype=torch.float64)
        angle = -2 * math.pi * self.hue  # red, green, blue follow each other clockwise in (I, Q)
        cos, sin = self.saturation * angle.cos(), self.saturation * angle.sin()
        one, zero = torch.ones_like(cos), torch.zeros_like(cos)
        rows = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=-1)
        turn = torch.linalg.inv(to_yiq) @ rows.view(-1, 3, 3) @ to_yiq
        matrices: Tensor = turn * (self.brightness * self.contrast)[:, None, None]
        return matrices


def colour_change(draws: Tensor, config: AugmentationConfig) -> ColourChange:
    """Return the change for draws in [0, 1), float64 [4, N]."""
    brightness, contrast, saturation, hue = _signed(draws)
    return ColourChange(
        brightness=1 + config.brightness * brightness,
        contrast=1 + config.contrast * contrast,
        saturation=1 + config.saturation * saturation,
        hue=config.hue * hue,
    )


def recolour(pixels: Tensor, change: ColourChange, margin: int = 0) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, by one matrix product.

    Args:
        pixels: float32 [N, C, H, W].
        change: per image; contrast is about the image's mean grey.
        margin: pixels at each edge that the mean grey leaves out.

    Returns:
        float32 [N, C, H, W], not clamped: a limit between the steps would make them non-linear.
    """
    n, channels, height, width = pixels.shape
    device = pixels.device
    inner = pixels[:, :, margin : height - margin, margin : width - margin]
    # Greys are fixed points of saturation and hue, so the contrast's offset passes both unchanged.
    pull = ((1 - change.contrast) * change.brightness).float().to(device)
    if channels == 1:
        gain = (change.brightness * change.contrast).float().to(device).view(n, 1, 1, 1)
        return pixels * gain + pull.view(n, 1, 1, 1) * inner.mean((2, 3), keepdim=True)
    matrices = change.matrices().float().to(device)
    mean_grey = inner.mean((2, 3)) @ torch.tensor(LUMA, device=device)
    offset = (pull * mean_grey).view(n, 1, 1).expand(n, 3, 1)
    return torch.baddbmm(offset, matrices, pixels.reshape(n, 3, -1)).view_as(pixels)


def line_kernels(angles: Tensor, length: int) -> Tensor:
    """Return blur kernels of a straight movement, [n, length, length], each with sum one.

    ``length`` points, one pixel apart, on a line through the centre at ``angles`` (radians [n],
    from the x axis to the y axis), each shared bilinearly by the four pixels round it.
    """
    reach = length // 2
    ticks = torch.arange(-reach, reach + 1, dtype=angles.dtype)
    along_x = angles.cos()[:, None] * ticks
    along_y = angles.sin()[:, None] * ticks
    near_x = (1 - (along_x[:, :, None] - ticks).abs()).clamp_min(0)
    near_y = (1 - (along_y[:, :, None] - ticks).abs()).clamp_min(0)
    return near_y.transpose(1, 2) @ near_x / length


def blur_some(pixels: Tensor, chosen: Tensor, kernels: Tensor) -> Tensor:
    """Blur the ``chosen`` images, each by its own kernel, and cut the margin off all of them.

    Args:
        pixels: float32 [N, C, h + 2m, w + 2m].
        chosen: int64 [n], which images; on the CPU.
        kernels: [n, k, k], k = 2m + 1.

    Returns:
        float32 [N, C, h, w].
    """
    margin = kernels.shape[-1] // 2
    channels, rows, columns = pixels.shape[1:]
    sharp = pixels[:, :, margin : rows - margin, margin : columns - margin].contiguous()
    if not len(chosen):
        return sharp
    chosen = chosen.to(pixels.device)
    weights = kernels.float().to(pixels.device).repeat_interleave(channels, dim=0)[:, None]
    stack = pixels[chosen].flatten(0, 1)[None]
    blurred = F.conv2d(stack, weights, groups=len(weights))
    sharp[chosen] = blurred.view(-1, *sharp.shape[1:])
    return sharp


def _signed(draw: Tensor) -> Tensor:
    return 2 * draw - 1
