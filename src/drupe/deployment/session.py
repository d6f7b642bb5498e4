"""What every runtime has in common: the sessions that it opens, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from drupe.data.image_contract import RawPixel
from drupe.errors import DrupeError

Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8"]
"""tf32: float32 whose products are rounded to 10 bits of mantissa; it gives other scores."""

Images = NDArray[RawPixel]
Scores = NDArray[np.float32]
Shape = tuple[int | None, ...]


class Session(Protocol):
    """A graph ready to run; may be called from several threads at once.

    ``takes``: height, width and channels of the images that the graph takes, None for what it
    leaves open; empty where it takes no batch of images.
    """

    takes: Shape

    def __call__(self, images: Images) -> Scores:
        """Return scores float32 [N] of raw images [N, H, W, C]."""

    def outputs(self, images: Images) -> tuple[Scores, ...]:
        """Return the scores, then those of types, float32 [N, T], where the graph gives such."""


@dataclass(frozen=True)
class SessionSettings:
    """How a graph is to be run.

    threads: CPU threads of a call; callers: how many threads call at once; cache: a folder for what
    a backend compiles, None for none. What lies there is run as it is, unchecked.
    """

    precision: Precision
    threads: int
    callers: int = 1
    cache: Path | None = None


class Backend(Protocol):
    """A runtime on a kind of device, such as OpenVINO on a GPU.

    ``name``: in commands, manifests and certificates; ``precisions``: what it computes at all;
    ``is_asked_for``: it is used only where somebody names it, being a device that other machines
    lack.
    """

    @property
    def name(self) -> str:
        """Lower-case words with hyphens."""

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The one that is tried first stands first."""

    @property
    def is_asked_for(self) -> bool:
        """False of what runs on any CPU."""

    def obstacle(self, precision: Precision) -> str | None:
        """Return why it can't compute ``precision`` here and what to install; None: it can."""

    def open(self, graph: bytes, settings: SessionSettings) -> Session:
        """Return a session that computes all of ``graph`` on this device, in this precision."""


class UnusableGraphError(DrupeError):
    """A graph that a backend can't load: damaged, or made for a newer version of it."""


class OtherDeviceError(DrupeError):
    """A session that computes elsewhere, or otherwise, than its backend's name says."""


def image_shape(shape: Sequence[Any]) -> Shape:
    """Return (H, W, C) of an input shape [N, H, W, C], None for open ones; else nothing."""
    if len(shape) != 4:
        return ()
    return tuple(one if isinstance(one, int) else None for one in shape[1:])


def one_at_a_time(
    run: Callable[[Images], tuple[Scores, ...]], images: Images
) -> tuple[Scores, ...]:
    """Return the outputs of ``run`` on each of N ≥ 1 images alone, put together.

    A device chooses its way to compute by the size of the batch, and rounds differently then: in
    reduced precision the gate must see what the line will.
    """
    parts = [run(images[place : place + 1]) for place in range(len(images))]
    return tuple(np.concatenate(one) for one in zip(*parts, strict=True))
