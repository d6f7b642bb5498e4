"""Reading an ONNX file: what its graph takes and gives, as far as it can be known.

Letters: N images of H × W pixels and C channels, K outputs for each.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import onnx

from drupe.deployment.backends import UnusableGraphError, require_self_contained
from drupe.deployment.certify.options import SCALES, GraphOptions, parse_scale
from drupe.errors import InputError
from drupe.runs.graph_record import Apply, Layout, PixelScale
from drupe.sides import Size, in_words, simplest

OLDEST_OPSET = 7
"""What ONNX Runtime takes, and what the nodes that are added mean alike from there on."""

GRAPH = "the graph"
METADATA = "the file's metadata"
ASSUMED = "assumed"
"""How the origin of a fact begins that nothing in the file tells."""

PIXELS: Mapping[int, Literal["uint8", "float32"]] = {
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.FLOAT: "float32",
}
RANGE_KEY, FORMAT_KEY = "image.nominalpixelrange", "image.bitmappixelformat"
"""Keys that https://onnx.ai/onnx/repo-docs/MetadataProps.html defines, in lower case."""

RANGES = {"nominalrange_0_255": "0..255", "normalized_0_1": "0..1", "normalized_1_1": "-1..1"}
ORDERS: Mapping[str, Literal["rgb", "bgr"]] = {"rgb8": "rgb", "bgr8": "bgr"}

PASSING = {"Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Cast", "Dropout"}
"""Operators that leave numbers as they are."""

PROBABILITIES = {"Softmax": "none", "Sigmoid": "none", "LogSoftmax": "softmax"}
"""What is left to do behind an operator at the end of a graph."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file: its bytes, and what ``onnx`` makes of them."""

    path: Path
    content: bytes
    model: onnx.ModelProto

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 (hex) of its bytes."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def opset(self) -> int:
        """The version of the operators of ONNX itself; 0 where the file names none."""
        versions = [one.version for one in self.model.opset_import if one.domain in ("", "ai.onnx")]
        return max(versions, default=0)

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        """What stands in its ``metadata_props``, keys in lower case."""
        return {one.key.lower(): one.value for one in self.model.metadata_props}

    @property
    def inputs(self) -> list[onnx.ValueInfoProto]:
        """What must be given to run it: old files list weights among the inputs too."""
        own = {one.name for one in self.model.graph.initializer}
        return [one for one in self.model.graph.input if one.name not in own]


@dataclass(frozen=True)
class InputFacts:
    """What the graph takes; ``fixed``: its axis N is 1. ``origins``: where each fact is from."""

    name: str
    layout: Layout
    size: Size
    channels: Literal["rgb", "bgr", "mono"]
    scale: PixelScale | None
    fixed: bool
    origins: Mapping[str, str] = field(default_factory=dict)


def read_onnx(path: Path) -> OnnxFile:
    """Read a file that holds a whole graph.

    Raises:
        InputError: no ONNX file, weights in other files, or operators too old.
    """
    if path.is_dir():
        raise InputError(f"{path}: must be an ONNX file, got a folder")
    content = path.read_bytes()
    try:
        require_self_contained(content)
        model = onnx.load_model_from_string(content)
    except UnusableGraphError as error:
        raise InputError(
            f"{path}: {error}; torch.onnx.export(..., external_data=False) writes one file, "
            "onnx.save_model(onnx.load(FILE), NEW) makes one"
        ) from None
    except Exception:  # of protobuf's own types
        raise InputError(f"{path}: must be an ONNX file, got something else") from None
    file = OnnxFile(path, content, model)
    if not model.graph.node:
        raise InputError(f"{path}: must be an ONNX file, got something else")
    if file.opset < OLDEST_OPSET:
        raise InputError(
            f"{path}: must be of ONNX operators {OLDEST_OPSET} or later, got {file.opset or 'none'}"
        )
    return file


def read_input(file: OnnxFile, said: GraphOptions) -> InputFacts:
    """Find what the graph takes, by what is ``said`` where the file doesn't tell.

    Raises:
        InputError: it isn't a graph of images alone, or something must be said.
    """
    given, dims = _only_images(file)
    where = f"{file.path}: input {given.name}"
    pixel = PIXELS[given.type.tensor_type.elem_type]
    origins = {"input": GRAPH}
    layout, origins["layout"] = _layout(where, dims, said)
    places = (1, 2, 3) if layout == "NHWC" else (2, 3, 1)
    *sides, count = (dims[place] for place in places)
    if count not in (None, 1, 3):
        raise InputError(f"{where}: must take one channel or three, got {count}")
    size, origins["size"] = _size(where, sides, said)
    channels, origins["channels"] = _channels(file, where, count, said)
    scale, origins["scale"] = _scale(file, where, pixel, channels, said)
    return InputFacts(given.name, layout, size, channels, scale, dims[0] == 1, origins)


def _only_images(file: OnnxFile) -> tuple[onnx.ValueInfoProto, list[int | None]]:
    """Return the one input and its sizes [4], None for open ones."""
    inputs = file.inputs
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise InputError(f"{file.path}: must have one input, the images; got {names}")
    (given,) = inputs
    tensor = given.type.tensor_type
    where = f"{file.path}: input {given.name}"
    if not given.type.HasField("tensor_type") or tensor.elem_type not in PIXELS:
        found = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise InputError(
            f"{where}: must be {' or '.join(sorted(PIXELS.values()))}, got {found}: export it in "
            "float32 (compute in another precision is up to whoever runs the bundle)"
        )
    dims = [one.dim_value if one.HasField("dim_value") else None for one in tensor.shape.dim]
    if len(dims) != 4:
        raise InputError(
            f"{where}: must be images, [N, C, H, W] or [N, H, W, C], got {_shape(tensor)}"
        )
    if dims[0] not in (None, 1):
        raise InputError(
            f"{where}: must take any number of images, got {dims[0]} fixed ones: export it with "
            "a dynamic batch axis"
        )
    return given, dims


def _shape(tensor: onnx.TypeProto.Tensor) -> str:
    if not tensor.HasField("shape"):
        return "an unknown shape"
    sides = [
        str(one.dim_value) if one.HasField("dim_value") else one.dim_param or "?"
        for one in tensor.shape.dim
    ]
    return f"[{', '.join(sides)}]"


def _layout(where: str, dims: Sequence[int | None], said: GraphOptions) -> tuple[Layout, str]:
    possible: list[Layout] = []
    if dims[1] in (1, 3):
        possible.append("NCHW")
    if dims[3] in (1, 3):
        possible.append("NHWC")
    if said.layout:
        if possible and said.layout not in possible:
            raise InputError(
                f"--layout: must be {possible[0].lower()} by the shape of {where}, got "
                f"{said.layout.lower()}"
            )
        return said.layout, "--layout"
    if len(possible) == 1:
        return possible[0], GRAPH
    named = ", ".join("?" if one is None else str(one) for one in dims)
    raise InputError(
        f"{where}: whether it is [N, C, H, W] or [N, H, W, C] can't be told from [{named}]: give "
        "--layout nchw or --layout nhwc"
    )


def _size(where: str, sides: Sequence[int | None], said: GraphOptions) -> tuple[Size, str]:
    height, width = sides
    if height is None or width is None:
        if said.size is None:
            raise InputError(
                f"{where}: takes images of any size, and a bundle takes those of one: give --size "
                "PIXELS, or HEIGHTxWIDTH"
            )
        return said.size, "--size"
    own = simplest((height, width))
    if said.size not in (None, own):
        assert said.size is not None
        raise InputError(
            f"--size: must be {in_words(own)}, which {where} is fixed to, got {in_words(said.size)}"
        )
    return own, GRAPH


def _channels(
    file: OnnxFile, where: str, count: int | None, said: GraphOptions
) -> tuple[Literal["rgb", "bgr", "mono"], str]:
    if count == 1:
        if said.order:
            raise InputError(f"--order: must be left out, because {where} takes one channel")
        return "mono", GRAPH
    if said.order:
        return said.order, "--order"
    told = file.metadata.get(FORMAT_KEY, "").lower()
    if told in ORDERS:
        return ORDERS[told], METADATA
    return "rgb", f"{ASSUMED}: --order bgr says otherwise"


def _scale(
    file: OnnxFile, where: str, pixel: str, channels: str, said: GraphOptions
) -> tuple[PixelScale | None, str]:
    if pixel == "uint8":
        if said.scale not in (None, "0..255"):
            raise InputError(
                f"--scale: must be left out, because {where} takes bytes (0..255), got "
                f"{said.scale!r}"
            )
        return None, GRAPH
    if said.scale is not None:
        return parse_scale(said.scale, channels), "--scale"
    told = file.metadata.get(RANGE_KEY, "").lower()
    if told in RANGES:
        return parse_scale(RANGES[told], channels), METADATA
    raise InputError(
        f"{where}: how pixels were scaled in training can't be told from the file, and a wrong "
        f"scale gives wrong scores without a word: give --scale {SCALES}"
    )


def find_output(file: OnnxFile, said: GraphOptions) -> tuple[str, str]:
    """Return the name of the output that decides, and where that is from.

    Raises:
        InputError: several could, there is none of that name, or it isn't float32.
    """
    outputs = {one.name: one.type.tensor_type.elem_type for one in file.model.graph.output}
    floats = [name for name, kind in outputs.items() if kind == onnx.TensorProto.FLOAT]
    listed = ", ".join(outputs)
    if said.output is not None and said.output not in outputs:
        raise InputError(f"--output: must be one of {listed}, got {said.output!r}")
    if not floats or said.output not in (None, *floats):
        raise InputError(
            f"{file.path}: must have an output in float32 that decides, got {said.output or listed}"
        )
    if said.output is not None:
        return said.output, "--output"
    if len(floats) > 1:
        raise InputError(
            f"{file.path}: has several outputs that may decide: give --output {' or '.join(floats)}"
        )
    return floats[0], GRAPH


def find_apply(file: OnnxFile, output: str, count: int, said: GraphOptions) -> tuple[Apply, str]:
    """Return what makes probabilities of K = ``count`` outputs, and where that is from."""
    if said.apply:
        if said.apply == "softmax" and count == 1:
            raise InputError(
                f"--apply: must be sigmoid or none, because {output} is one number, got softmax"
            )
        return said.apply, "--apply"
    last = _last_operator(file, output)
    if last in PROBABILITIES:
        return PROBABILITIES[last], f"{GRAPH}, which ends in {last}"  # type: ignore[return-value]
    logits: Apply = "sigmoid" if count == 1 else "softmax"
    return logits, f"{ASSUMED}, as the graph ends in {last}: --apply says otherwise"


def _last_operator(file: OnnxFile, output: str) -> str:
    """Return the operator that computes ``output``, looking through those that only pass it on."""
    makers = {name: node for node in file.model.graph.node for name in node.output}
    name = output
    while (node := makers.get(name)) is not None:
        if node.op_type not in PASSING or not node.input:
            return str(node.op_type)
        name = node.input[0]
    return "none that is known"


def find_positive(
    file: OnnxFile, count: int, classes: tuple[str, str], said: GraphOptions
) -> tuple[tuple[int, ...], str]:
    """Return the places of the outputs that mean a defect, and where that is from.

    One output is that of the second of two classes. Without another word, two are those of the
    class folders in sorted order, as torchvision's ``ImageFolder`` numbers them. ``classes``:
    (clean, defect).

    Raises:
        InputError: more than two of which none is known to be the defect, or places that are none.
    """
    places = range(max(count, 2))
    if said.positive is not None:
        if not said.positive or not set(said.positive) < set(places):
            raise InputError(
                f"--positive-index: must name outputs that mean a defect, but not all, from 0 to "
                f"{places[-1]}, got {','.join(map(str, said.positive))}"
            )
        return said.positive, "--positive-index"
    defect = classes[1]
    names = _class_names(file)
    if len(names) == len(places) and names.count(defect) == 1:
        return (names.index(defect),), f"{METADATA} (names)"
    if count > 2:
        raise InputError(
            f"{file.path}: has {count} outputs, and which of them mean a defect ({defect}) can't "
            "be told: give --positive-index I, or several as I,J, counted from 0"
        )
    order = sorted(classes)
    said_so = f"{ASSUMED}: classes in sorted order ({', '.join(order)}); --positive-index I"
    return (order.index(defect),), said_so


def _class_names(file: OnnxFile) -> list[str]:
    """Return the names of the classes in the order of the outputs, where the metadata tell.

    ``names`` holds a list, or a mapping from places, as Ultralytics writes it.
    """
    try:
        told = ast.literal_eval(file.metadata.get("names", ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    if isinstance(told, dict) and set(told) == set(range(len(told))):
        told = [told[place] for place in range(len(told))]
    return [str(name) for name in told] if isinstance(told, list | tuple) else []
