"""A classifier whose score is an image's first pixel: what surrounds it is tested, not networks."""

from __future__ import annotations

import numpy as np

from drupe.deployment.drift import CalibrationScores
from drupe.deployment.frames import FrameCheck
from drupe.deployment.manifest import Function, Gate, GraphInput, Manifest
from drupe.deployment.runtime import Classifier

SIDE = 8
LINE_PC = ("torch", "timm", "torchvision", "safetensors", "scipy", "polars", "onnx", "openvino")
"""What a core install does not bring."""

GATE = Gate(images=1, max_score_difference=0, mean_score_difference=0, flips=0)
FUNCTION = Function(
    graph="fp32.onnx",
    backend="onnxruntime",
    precision="fp32",
    low=0.3,
    high=0.7,
    certificate={"min_recall": 0.99, "confidence": 0.95},
    gate=GATE,
)


class FirstPixel:
    """A session: no graph, and no types of defects."""

    takes = (SIDE, SIDE, 3)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return (batch[:, 0, 0, 0] / 255).astype(np.float32)

    def outputs(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self(batch),)


def stand_in(
    calibration: CalibrationScores | None = None, frames: FrameCheck | None = None
) -> Classifier:
    manifest = Manifest(
        schema_version=2,
        name="stand-in",
        classes=("clean", "pit"),
        input=GraphInput(size=SIDE),
        functions=(FUNCTION,),
        golden="golden.npz",
        files={},
        provenance={},
    )
    return Classifier(
        manifest, FUNCTION, FirstPixel(), 1, calibration, frames, "rgb", digest="d" * 64
    )


def images(*scores: float) -> np.ndarray:
    """Return one image per score, which is rounded to a grey level."""
    made = np.zeros((len(scores), SIDE, SIDE, 3), np.uint8)
    made[:, 0, 0, 0] = np.rint(np.array(scores) * 255)
    return made
