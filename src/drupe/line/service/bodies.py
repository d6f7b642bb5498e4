"""What a request's body holds: an image file, several of them, or raw pixels.

Letters: N images of H × W pixels and C channels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.decode import UnreadableImageError
from drupe.data.image_contract import ImageContract, RawPixel

SHAPE, DTYPE, ORDER, ITEM = "drupe-shape", "drupe-dtype", "drupe-order", "drupe-item"
"""Headers, as HTTP compares them: in lower case."""

LONGEST_ITEM = 200
"""Characters of an item's name."""

DTYPES: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "uint16": np.dtype("<u2")}
"""Types of raw pixels; those of two bytes come with the lower one first."""

Headers = Mapping[str, str]
Pixels = NDArray[RawPixel]


class RefusedBodyError(Exception):
    """A body that holds no images; ``status`` is the HTTP code that says so."""

    def __init__(self, reason: str, status: int = 400) -> None:
        self.reason, self.status = reason, status
        super().__init__(reason)


@dataclass(frozen=True)
class Frame:
    """One image of a request: its name, and a file's bytes or an array [h, w, C].

    An array's channels are in the order of the graph already.
    """

    item: str
    content: bytes | Pixels

    def pixels(self, contract: ImageContract) -> Pixels | str:
        """Return the image as the graph takes it, [H, W, C], or why there is none."""
        try:
            if isinstance(self.content, bytes):
                return contract.of_bytes(self.content)
            if (highest := contract.too_bright(self.content)) is not None:
                return (
                    f"pixel value {highest:,}, must be at most the white level "
                    f"{contract.white_level:,}"
                )
            return contract.of_array(self.content)
        except UnreadableImageError as error:
            return error.reason


@dataclass(frozen=True)
class Body:
    """The images of a request; ``is_batch``: several may be, and the answer lists them."""

    frames: Sequence[Frame]
    is_batch: bool


def named_item(headers: Headers, otherwise: str) -> str:
    """Return the name that a request gives its item, ``otherwise`` where it gives none.

    Raises:
        RefusedBodyError: longer than names may be, or not of printable ASCII.
    """
    item = headers.get(ITEM)
    if item is None:
        return otherwise
    if not (item and item.isascii() and item.isprintable() and len(item) <= LONGEST_ITEM):
        raise RefusedBodyError(
            f"Drupe-Item: must be 1 to {LONGEST_ITEM} printable ASCII characters"
        )
    return item


def read_frames_of(
    headers: Headers, body: bytes, contract: ImageContract, item: str, most: int
) -> Body:
    """Return the images of a request, at most ``most``; ``item`` names them.

    Raw pixels where a header ``Drupe-Shape`` stands, files in parts of ``multipart/form-data``, and
    else one file. Files aren't opened yet.

    Raises:
        RefusedBodyError: nothing of the three, or too many images.
    """
    if headers.get("content-encoding", "identity") != "identity":
        raise RefusedBodyError("Content-Encoding: must be left out: bodies aren't unpacked", 415)
    if not body:
        raise RefusedBodyError("the body is empty: must be an image file, parts, or raw pixels")
    if SHAPE in headers:
        return _raw(headers, body, contract, item, most)
    content_type = headers.get("content-type", "")
    if content_type.lower().startswith("multipart/"):
        return Body(_parts(content_type, body, most), True)
    return Body([Frame(item, body)], False)


def _raw(headers: Headers, body: bytes, contract: ImageContract, item: str, most: int) -> Body:
    shape, dtype = _shape(headers[SHAPE], contract), _dtype(headers.get(DTYPE), contract)
    if len(shape) == 4 and shape[0] > most:
        raise _too_many(shape[0], most)
    size = math.prod(shape) * dtype.itemsize
    if len(body) != size:
        raise RefusedBodyError(
            f"the body must have {size:,} bytes as Drupe-Shape and Drupe-Dtype say, got "
            f"{len(body):,}"
        )
    images: Any = np.frombuffer(body, dtype).reshape(shape).astype(contract.dtype, copy=False)
    if _order(headers.get(ORDER), contract) != contract.channels:
        images = np.ascontiguousarray(images[..., ::-1])
    if len(shape) == 3:
        return Body([Frame(item, images)], False)
    return Body([Frame(f"{item}/{place}", one) for place, one in enumerate(images)], True)


def _shape(text: str, contract: ImageContract) -> tuple[int, ...]:
    words = text.split(",")
    is_plain = all(re.fullmatch(r" *[1-9][0-9]{0,6} *", word) for word in words)
    shape = tuple(map(int, words)) if is_plain else ()
    height, width, channels = contract.shape
    given = shape[-3:-1]
    fits = contract.sizes != "refuse" or given == (height, width)
    if len(shape) not in (3, 4) or shape[-1] != channels or not fits:
        sides = f"{height},{width}" if contract.sizes == "refuse" else "H,W"
        raise RefusedBodyError(
            f"Drupe-Shape: must be {sides},{channels} or N,{sides},{channels}, got {text[:40]!r}"
        )
    return shape


def _dtype(text: str | None, contract: ImageContract) -> np.dtype[Any]:
    if text is None or text != contract.dtype.name:
        raise RefusedBodyError(f"Drupe-Dtype: must be {contract.dtype.name}, got {_given(text)}")
    return DTYPES[text]


def _order(text: str | None, contract: ImageContract) -> str:
    allowed = ("mono",) if contract.is_mono else ("rgb", "bgr")
    if text is None or text not in allowed:
        raise RefusedBodyError(f"Drupe-Order: must be {' or '.join(allowed)}, got {_given(text)}")
    return text


def _given(text: str | None) -> str:
    return "none" if text is None else repr(text[:40])


def _too_many(images: int, most: int) -> RefusedBodyError:
    return RefusedBodyError(f"at most {most:,} images a request, got {images:,}", 413)


def _parts(content_type: str, body: bytes, most: int) -> list[Frame]:
    """Return the files in the parts of a form (RFC 7578), each named by its file's name."""
    boundary = HeaderParser().parsestr(f"Content-Type: {content_type}").get_boundary("")
    if not 1 <= len(boundary) <= 70:
        raise RefusedBodyError("Content-Type: multipart/form-data must name its boundary")
    mark = b"\r\n--" + boundary.encode("latin-1", "replace")
    before, *parts = (b"\r\n" + body).split(mark, most + 2)
    if not parts or before.strip() or not parts[-1].startswith(b"--"):
        if len(parts) > most + 1:
            raise _too_many(len(parts), most)
        raise RefusedBodyError("the body must be parts of multipart/form-data, ended as such")
    found = [_part(part) for part in parts[:-1]]
    if not found:
        raise RefusedBodyError("the body must have an image file as a part, got none")
    if len(found) > most:
        raise _too_many(len(found), most)
    return found


def _part(part: bytes) -> Frame:
    head, separator, content = part.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n"):
        raise RefusedBodyError("each part must have headers, an empty line and its content")
    item = HeaderParser().parsestr(head[2:].decode("utf-8", "replace")).get_filename("")
    if not (item.isprintable() and 1 <= len(item) <= LONGEST_ITEM):
        raise RefusedBodyError(
            f"each part must be a file with a name of 1 to {LONGEST_ITEM} printable characters"
        )
    return Frame(item, content)
