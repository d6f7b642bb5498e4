"""How a classifier that came as an ONNX file is run: what was found in it, said or assumed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from drupe.sides import Size

Layout = Literal["NCHW", "NHWC"]
Apply = Literal["sigmoid", "softmax", "none"]


class PixelScale(BaseModel):
    """What becomes of a pixel p before the network: (p / divide - mean) / std, in float32.

    mean, std: one number, or one per channel in the network's own order.
    """

    model_config = ConfigDict(frozen=True)

    divide: float = Field(1.0, gt=0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)

    def applied(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return images [..., C] as the network takes them, in the order of the graph's nodes."""
        pixels: NDArray[np.float32] = images.astype(np.float32)
        pixels /= np.float32(self.divide)
        pixels -= np.array(self.mean, np.float32)
        pixels /= np.array(self.std, np.float32)
        return pixels

    @property
    def words(self) -> str:
        """``(pixel / 255 - 0.5) / 0.25``."""
        text = "pixel" if self.divide == 1 else f"pixel / {self.divide:g}"
        if any(self.mean):
            text = f"({text} - {_listed(self.mean)})"
        return text if set(self.std) == {1.0} else f"{text} / {_listed(self.std)}"


def _listed(numbers: tuple[float, ...]) -> str:
    words = ", ".join(f"{number:g}" for number in numbers)
    return words if len(numbers) == 1 else f"[{words}]"


class GraphRecord(BaseModel):
    """An ONNX file's way from raw images to the score of a defect.

    input, output: names of its tensors; layout: of the former, whose images have this size (pixels)
    and these channels; scale: None where it takes bytes as they are; opset: of its default domain;
    outputs: numbers for each image; apply: what makes probabilities of them; positive: places of
    those that mean a defect, 0 of a single one that means a clean item. freed: its axis N was 1,
    and was opened. origins: where each of these facts comes from.
    """

    model_config = ConfigDict(frozen=True)

    input: str
    output: str
    layout: Layout
    size: Size
    channels: Literal["rgb", "bgr", "mono"]
    scale: PixelScale | None
    opset: int
    outputs: int
    apply: Apply
    positive: tuple[int, ...]
    freed: bool = False
    origins: dict[str, str] = {}
