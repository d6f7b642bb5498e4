"""Damage as disks, editors and strangers do it to files: seeded, so that a case can be repeated."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

Mutate = Callable[[bytes, random.Random], bytes]

WORDS = (
    *("", " ", "-1", "0", "1e999", "-0", "NaN", "inf", "null", "~", "true", "[]", "{}", "[1, 2]"),
    *("!!int x", "!!bool maybe", "!!float ''", "!!timestamp x", "!!binary '%'", "!!python/none"),
    *("&a [*a]", "*gone", "? x", "- -", "|", '"', "'", "\t", "%", "@x", "`", "=1+1", "+1", "\\"),
    *("\x1b[31mred", "a\nb", "\u2028", "\x00", "\ud800", "é" * 300, "9" * 400, "../../x", "/"),
    *("2026-02-30", "0x1F", "1_000", "12:30:45", "<<", "yes", "0.5", "1", "100", "cherry_pit"),
)
"""Put where another word stood."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**70, 1e308, -0.5, "", "x", "\x1b[2J", "=1+1", "a\nb"),
    *([], [None], [[]], {}, {"": 0}, {"x": {}}, [0] * 50, "é" * 300, "../../x", "\x00"),
)
"""Put where another value stood in a JSON document."""


def any_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, repeat, move, blank or add bytes."""
    if not content:
        return bytes(chance.randbytes(20))
    start = chance.randrange(len(content))
    end = min(len(content), start + chance.choice((1, 1, 4, 64, 4096)))
    head, part, tail = content[:start], content[start:end], content[end:]
    match chance.randrange(9):
        case 0:
            return head + bytes((part[0] ^ (1 << chance.randrange(8)),)) + content[start + 1 :]
        case 1:
            return head + chance.randbytes(len(part)) + tail
        case 2:
            return head
        case 3:
            return head + tail
        case 4:
            return head + part + part + tail
        case 5:
            return tail + part + head
        case 6:
            return head + bytes(len(content) - start)
        case 7:
            return head + chance.randbytes(30) + part + tail
    return b""


def any_words(content: bytes, chance: random.Random) -> bytes:
    """Replace, drop or repeat words and lines of a text, or damage its bytes."""
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    place = chance.randrange(len(lines))
    match chance.randrange(7):
        case 0:
            del lines[place]
        case 1:
            lines.insert(place, lines[chance.randrange(len(lines))])
        case 2:
            lines[place] = chance.choice((" ", "  ", "\t", "#", "- ")) + lines[place]
        case 3:
            return any_bytes(content, chance)
        case _:
            filled = [number for number, line in enumerate(lines) if line.strip()]
            place = chance.choice(filled or [0])
            parts = _split(lines[place])
            parts[chance.randrange(len(parts))] = chance.choice(WORDS)
            lines[place] = "".join(parts)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _split(line: str) -> list[str]:
    """Return the words of a line and what stands between them."""
    parts: list[str] = []
    for letter in line:
        is_word = letter.isalnum() or letter in "._-/"
        if parts and is_word and (parts[-1][-1].isalnum() or parts[-1][-1] in "._-/"):
            parts[-1] += letter
        else:
            parts.append(letter)
    return parts or [""]


def any_value(document: Any, chance: random.Random) -> Any:
    """Return a JSON document with one value replaced, left out, or put in a list."""
    copy = json.loads(json.dumps(document))
    places: list[tuple[Any, Any]] = []
    waiting = [copy]
    while waiting:
        node = waiting.pop()
        found = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(found):
            places.append((node, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    if not places or chance.random() < 0.03:
        return chance.choice(VALUES)
    node, key = chance.choice(places)
    match chance.randrange(6):
        case 0:
            del node[key]
        case 1:
            node[key] = [node[key]]
        case 2 if isinstance(node, dict):
            node[chance.choice(("more", "", "é"))] = node[key]
        case _:
            node[key] = chance.choice(VALUES)
    return copy


def any_json(content: bytes, chance: random.Random) -> bytes:
    """Change a value of a JSON document, or its words."""
    if chance.random() < 0.25:
        return any_words(content, chance)
    return json.dumps(any_value(json.loads(content), chance)).encode()


def any_json_line(content: bytes, chance: random.Random) -> bytes:
    """Change a value in a line of a JSON Lines file, or its words."""
    lines = content.split(b"\n")
    filled = [number for number, line in enumerate(lines) if line]
    if not filled or chance.random() < 0.3:
        return any_words(content, chance)
    place = chance.choice(filled)
    lines[place] = json.dumps(any_value(json.loads(lines[place]), chance)).encode()
    return b"\n".join(lines)


def any_arrays(content: bytes, chance: random.Random) -> bytes:
    """Change type, shape, values, names or compression of the arrays in an ``.npz``."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    name = chance.choice(sorted(arrays))
    array = arrays[name]
    changed: dict[str, Any] = {
        "int64": lambda: array.astype(np.int64),
        "text": lambda: array.astype(str),
        "bool": lambda: array.astype(bool),
        "complex": lambda: array.astype(complex),
        "float64": lambda: array.astype(np.float64),
        "big": lambda: array.astype(array.dtype.newbyteorder(">")),
        "column": lambda: array[..., None],
        "one": lambda: array.reshape(-1)[0],
        "none": lambda: array[:0],
        "fewer": lambda: array[:-1],
        "moved": lambda: array + 5,
        "nan": lambda: np.full(array.shape, np.nan, np.float32),
        "dates": lambda: np.zeros(3, "M8[s]"),
        "records": lambda: np.zeros(3, [("a", "f4")]),
        "fortran": lambda: np.asfortranarray(array),
    }
    kind = chance.choice((*changed, "lacks", "renamed", "bare", "method", "encrypted", "bytes"))
    if kind in changed:
        arrays[name] = changed[kind]()
    elif kind == "renamed":
        arrays["x" + name] = arrays.pop(name)
    elif kind == "lacks":
        del arrays[name]
    elif kind == "bytes":
        return any_bytes(content, chance)
    buffer = io.BytesIO()
    if kind == "bare":
        np.save(buffer, array)
        return buffer.getvalue()
    compressions = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    with zipfile.ZipFile(buffer, "w", chance.choice(compressions)) as archive:
        for one, values in arrays.items():
            member = io.BytesIO()
            np.save(member, values)
            archive.writestr(f"{one}.npy", member.getvalue())
    packed = bytearray(buffer.getvalue())
    if kind in ("method", "encrypted"):
        _set_field(packed, *((8, 10, 99) if kind == "method" else (6, 8, 1)))
    return bytes(packed)


def _set_field(packed: bytearray, local: int, central: int, value: int) -> None:
    """Write a field of 16 bits in each local and central header of a ZIP file."""
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = packed.find(mark)
        while place >= 0:
            packed[place + offset : place + offset + 2] = value.to_bytes(2, "little")
            place = packed.find(mark, place + 4)
