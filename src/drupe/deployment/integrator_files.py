"""What a bundle holds for programs in other languages: facts inside the graph, golden pictures.

Letters: G golden samples.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from drupe.data.image_contract import Channels, RawPixel
from drupe.deployment.manifest import Function, GraphInput, GraphOutput, UnknownOutput
from drupe.deployment.unknown import distance_name

GOLDEN_TABLE = "golden.csv"
PREFIX = "drupe."
"""Of the keys in an ONNX file's ``metadata_props``."""

Scores = NDArray[np.float32]


def golden_picture(place: int) -> str:
    """Return the file name of a golden sample's picture."""
    return f"golden-{place:02}.png"


def with_metadata(
    graph: bytes,
    file: str,
    classes: Sequence[str],
    takes: GraphInput,
    functions: Sequence[Function],
    unknown: UnknownOutput | None = None,
) -> bytes:
    """Return the ONNX file ``graph`` with what a program needs that has no ``bundle.json``.

    Its ``metadata_props``: ``drupe.classes``, ``drupe.input``, ``drupe.output`` (as they stand in
    ``bundle.json``) and ``drupe.functions``: thresholds and certificate of each way to run this
    ``file``; with ``unknown`` also ``drupe.unknown``, and each function's ``limit`` of distance.
    All are JSON. What the graph computes stays as it was.
    """
    model = onnx.load_model_from_string(graph)
    facts = {
        "classes": list(classes),
        "input": takes.model_dump(mode="json"),
        "output": GraphOutput().model_dump(mode="json"),
        "functions": [
            {
                "backend": one.backend,
                "precision": one.precision,
                "low": one.low,
                "high": one.high,
                "certificate_id": one.certificate_id,
                "certified": one.is_certified,
                **({"limit": unknown.functions[one.name].limit} if unknown else {}),
            }
            for one in functions
            if one.graph == file
        ],
    }
    if unknown:
        facts["unknown"] = unknown.model_dump(mode="json", exclude={"functions"})
    kept = [(one.key, one.value) for one in model.metadata_props if not one.key.startswith(PREFIX)]
    del model.metadata_props[:]
    texts = [(PREFIX + key, json.dumps(value, ensure_ascii=False)) for key, value in facts.items()]
    for key, text in (*kept, *texts):
        model.metadata_props.add(key=key, value=text)
    content: bytes = model.SerializeToString()
    return content


def golden_files(
    images: NDArray[RawPixel],
    channels: Channels,
    scored: Sequence[tuple[Function, Scores]],
    unknown: UnknownOutput | None,
    beside: Mapping[str, Scores],
) -> Mapping[str, bytes]:
    """Return the golden samples [G, H, W, C] as PNGs, and a table of what each function says.

    The table has a row per sample and function: file, backend, precision, score (as float32 has
    it, to the last digit) and lane; with ``unknown`` the distance too, which stands among what is
    said ``beside`` scores.
    """
    files = {}
    rgb = images[..., ::-1] if channels == "bgr" else images
    for place, image in enumerate(rgb):
        buffer = io.BytesIO()
        pixels = image[..., 0] if image.shape[-1] == 1 else image
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
        files[golden_picture(place)] = buffer.getvalue()
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    more = () if unknown is None else ("distance",)
    rows.writerow(("file", "backend", "precision", "score", "lane", *more))
    for function, scores in scored:
        low, high = np.float32(function.low), np.float32(function.high)
        for place, score in enumerate(scores.astype(np.float32)):
            lane = ("accept", "review", "reject")[int(score >= low) + int(score >= high)]
            told: tuple[str, ...] = ()
            if unknown is not None:
                distance = beside[distance_name(function.name)][place]
                limit = np.float32(unknown.functions[function.name].limit)
                lane, told = lane if distance <= limit else unknown.lane, (str(distance),)
            row = (golden_picture(place), function.backend, function.precision, str(score), lane)
            rows.writerow((*row, *told))
    return {**files, GOLDEN_TABLE: text.getvalue().encode()}
