"""Bundles that decide by brightness, and a service of them: made in milliseconds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from drupe.data.image_contract import ImageContract
from drupe.deployment.backends import open_session
from drupe.deployment.bundle import (
    GOLDEN_FILE,
    digests,
    golden_file,
    golden_images,
    write_bundle,
)
from drupe.deployment.manifest import SCHEMA_VERSION, Function, Gate, GraphInput, Manifest

SIDE = 16
LOW, HIGH = 0.3, 0.7
GRAPH = "fp32.onnx"


def brightness_graph(gain: float, channels: int = 3, pixel: int = TensorProto.UINT8) -> bytes:
    """Return a graph whose score is an image's mean in [0, 1], times ``gain``, at most 1."""
    white = 255.0 if pixel == TensorProto.UINT8 else 4095.0
    weights = {
        "scale": np.array(gain / white, np.float32),
        "axes": np.array([1, 2, 3]),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "zero", "one"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", pixel, ["N", SIDE, SIDE, channels])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    onnx.checker.check_model(onnx.load_from_string(content))
    return content


def brightness_bundle(
    folder: Path,
    gain: float = 1.0,
    contract: ImageContract | None = None,
    classes: tuple[str, str] = ("clean", "pit"),
    golden_off: float = 0.0,
) -> Path:
    """Write a bundle without certificate; ``golden_off``: by what its golden scores are wrong."""
    contract = contract or ImageContract(SIDE)
    deep = contract.white_level > 255
    pixel = TensorProto.UINT16 if deep else TensorProto.UINT8
    graph = brightness_graph(gain, contract.shape[2], pixel)
    golden = golden_images(contract)
    scores = open_session(graph, "onnxruntime", "fp32", 1)(golden) + np.float32(golden_off)
    files = {GRAPH: graph, GOLDEN_FILE: golden_file(golden, {"onnxruntime fp32": scores})}
    function = Function(
        graph=GRAPH,
        backend="onnxruntime",
        precision="fp32",
        low=LOW,
        high=HIGH,
        certificate=None,
        gate=Gate(images=0, max_score_difference=0, mean_score_difference=0, flips=0),
    )
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=folder.name,
        classes=classes,
        input=GraphInput.of(contract),
        functions=(function,),
        golden=GOLDEN_FILE,
        files=digests(files),
        provenance={},
    )
    write_bundle(folder, manifest, files)
    return folder


def grey(brightness: float) -> np.ndarray:
    """Return an image [H, W, 3] of that brightness, in [0, 1]."""
    return np.full((SIDE, SIDE, 3), round(255 * brightness), np.uint8)


def png(image: np.ndarray) -> bytes:
    """Return an image as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def raw_headers(image: np.ndarray, order: str = "rgb") -> dict[str, str]:
    """Return the headers that say how raw pixels lie."""
    shape = ",".join(map(str, image.shape))
    return {"Drupe-Shape": shape, "Drupe-Dtype": image.dtype.name, "Drupe-Order": order}
