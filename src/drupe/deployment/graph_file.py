"""What an ONNX file refers to outside of itself, read without the package ``onnx``.

A tensor may leave its values to another file, which a runtime then reads from wherever the process
stands. No digest covers such a file: a verified graph would decide by weights that nobody verified.

The format is Protocol Buffers (https://protobuf.dev/programming-guides/encoding/); the fields are
those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator

MODEL, GRAPH, NODE, ATTRIBUTE, FUNCTION, TRAINING, SPARSE, TENSOR = (
    *("model", "graph", "node", "attribute", "function", "training", "sparse tensor", "tensor"),
)
PARTS: dict[str, dict[int, str]] = {
    MODEL: {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    FUNCTION: {7: NODE, 11: ATTRIBUTE},
    TRAINING: {1: GRAPH, 2: GRAPH},
    SPARSE: {1: TENSOR, 2: TENSOR},
}
"""The fields of each message that may hold a tensor somewhere below, and what they hold."""

NAME, EXTERNAL_DATA, DATA_LOCATION = 8, 13, 14
"""Fields of a tensor: its name, where its values are, and whether (1) they are elsewhere."""

VARINT, EIGHT_BYTES, MESSAGE, FOUR_BYTES = 0, 1, 2, 5
DEEPEST = 100
"""Graphs within graphs: what runtimes accept, too."""


def external_tensors(content: bytes) -> list[str]:
    """Return the names of the tensors whose values are in other files.

    Raises:
        ValueError: no ONNX file.
    """
    return [
        _name(tensor) for tensor in _tensors(memoryview(content), MODEL, 0) if _is_external(tensor)
    ]


def _tensors(message: memoryview, kind: str, depth: int) -> Iterator[memoryview]:
    """Yield every tensor in a message of this kind."""
    if depth > DEEPEST:
        raise ValueError("nested too deeply")
    parts = PARTS[kind]
    for number, value in _fields(message):
        part = parts.get(number)
        if part is None or isinstance(value, int):
            continue
        if part == TENSOR:
            yield value
        else:
            yield from _tensors(value, part, depth + 1)


def _is_external(tensor: memoryview) -> bool:
    return any(
        number == EXTERNAL_DATA or (number == DATA_LOCATION and value == 1)
        for number, value in _fields(tensor)
    )


def _name(tensor: memoryview) -> str:
    for number, value in _fields(tensor):
        if number == NAME and not isinstance(value, int):
            return bytes(value).decode("utf-8", "backslashreplace")
    return ""


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield the number of each field with its bytes, or its value where it is an integer."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if wire == MESSAGE:
            length, place = _varint(message, place)
        elif wire in (EIGHT_BYTES, FOUR_BYTES):
            length = 8 if wire == EIGHT_BYTES else 4
        else:
            raise ValueError(f"no ONNX file: no field begins at byte {place}")
        if place + length > len(message):
            raise ValueError("no ONNX file: cut off")
        yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Return the number that stands at ``place``, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("no ONNX file: cut off")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("no ONNX file: a number too long")
