"""What a person may say about an ONNX file, because the file itself often doesn't."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from drupe.data.decode import BYTE
from drupe.errors import InputError
from drupe.runs.graph_record import Apply, Layout, PixelScale
from drupe.sides import Size

RANGES = {
    "0..1": PixelScale(divide=BYTE),
    "0..255": PixelScale(),
    "-1..1": PixelScale(divide=BYTE / 2, mean=(1.0,)),
}
IMAGENET = "imagenet"
SCALES = f"{', '.join(RANGES)}, {IMAGENET} or MEAN/STD of pixels in 0..1 (0..255:MEAN/STD of bytes)"
SPLIT = re.compile(r"(?:(0\.\.1|0\.\.255):)?([^:/]+)/([^:/]+)")
LARGEST_MEAN = {"0..1": 1.0, "0..255": 255.0}


@dataclass(frozen=True)
class GraphOptions:
    """What is said of the file; None: found in it, or asked for.

    output: name of the tensor; layout, size, order: of the input's images; scale: see
    :func:`parse_scale`; apply: what makes probabilities of the outputs; positive: places of those
    that mean a defect.
    """

    output: str | None = None
    layout: Layout | None = None
    size: Size | None = None
    order: Literal["rgb", "bgr"] | None = None
    scale: str | None = None
    apply: Apply | None = None
    positive: tuple[int, ...] | None = None


def parse_scale(text: str, channels: str) -> PixelScale:
    """Return what ``text`` says: a range of :data:`RANGES`, ``imagenet``, or ``MEAN/STD``.

    MEAN and STD are one number or one per channel (``channels``: rgb, bgr or mono), in the order of
    the network's input, of pixels in 0 to 1; behind ``0..255:`` of bytes. ImageNet's numbers are
    turned where the network takes BGR.

    Raises:
        InputError: something else.
    """
    if text in RANGES:
        return RANGES[text]
    count = 1 if channels == "mono" else 3
    if text == IMAGENET:
        if count == 1:
            raise InputError(
                f"--scale: {IMAGENET} has numbers for three channels, and the graph takes one: "
                "give MEAN/STD"
            )
        turn = -1 if channels == "bgr" else 1
        return PixelScale(
            divide=BYTE, mean=IMAGENET_DEFAULT_MEAN[::turn], std=IMAGENET_DEFAULT_STD[::turn]
        )
    matched = SPLIT.fullmatch(text)
    problem = InputError(f"--scale: must be {SCALES}, got {text!r}")
    if matched is None:
        raise problem
    pixels = matched[1] or "0..1"
    try:
        mean, std = (tuple(float(one) for one in matched[group].split(",")) for group in (2, 3))
    except ValueError:
        raise problem from None
    if not {len(mean), len(std)} <= {1, count}:
        raise InputError(
            f"--scale: must have one number or {count} (one per channel) for the mean and for the "
            f"deviation, got {len(mean)} and {len(std)}"
        )
    if not all(math.isfinite(one) and abs(one) <= LARGEST_MEAN[pixels] for one in mean) or not all(
        math.isfinite(one) and one > 0 for one in std
    ):
        other = "" if matched[1] else f"; of bytes: --scale 0..255:{text}"
        raise InputError(
            f"--scale: of pixels in {pixels} a mean must be at most {LARGEST_MEAN[pixels]:g} and a "
            f"deviation above 0, got {text!r}{other}"
        )
    return PixelScale(divide=RANGES[pixels].divide, mean=mean, std=std)
