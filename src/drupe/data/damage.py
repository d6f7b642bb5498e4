"""Damage to a file's pixels that Pillow decodes without a word.

libjpeg goes on where data is missing and only warns, which Pillow doesn't pass on; libtiff doesn't
compare checksums. What these formats hold no trace of can't be found: see ``docs/data.md``.
"""

from __future__ import annotations

import zlib
from typing import Any

from PIL.TiffImagePlugin import (
    COMPRESSION,
    IMAGELENGTH,
    JPEGTABLES,
    PLANAR_CONFIGURATION,
    ROWSPERSTRIP,
    SAMPLESPERPIXEL,
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TiffImageFile,
)
from simplejpeg import decode_jpeg

PREMATURE_END = "premature end"

_WARNINGS = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")
"""How libjpeg's warnings of damaged pixels begin (jerror.h); others are of metadata."""

_ICC = "bad ICC marker"
_DEFLATE, _JPEG = (8, 32_946), 7


def jpeg_damage(data: bytes) -> str | None:
    """Return what libjpeg warns of when it decodes a JPEG's bytes; None where that is nothing.

    A hole mostly shows where data ends before the last block does, or after it; one after which
    the code happens to fall into step again doesn't show.
    """
    try:
        decode_jpeg(data, "GRAY")  # all is read, but colours aren't computed
    except ValueError as error:
        text = str(error)
        if text.startswith(_WARNINGS) and _ICC not in text:
            return text[:1].lower() + text[1:]
    return None


def tiff_damage(image: TiffImageFile, data: bytes) -> str | None:
    """Return what is wrong with the strips of a TIFF that was opened; None where nothing is.

    Missing ones are found, and damage to strips that are compressed by Deflate (their checksum) or
    JPEG. Others hold nothing to check them by.
    """
    tags = image.tag_v2
    offsets, counts = tags.get(STRIPOFFSETS, ()), tags.get(STRIPBYTECOUNTS, ())
    if not offsets:  # tiles
        return None
    rows = tags[IMAGELENGTH]
    needed = -(-rows // min(rows, tags.get(ROWSPERSTRIP, rows)))
    if tags.get(PLANAR_CONFIGURATION, 1) == 2:
        needed *= tags.get(SAMPLESPERPIXEL, 1)
    if len(offsets) < needed:
        return f"{needed - len(offsets)} of {needed} strips are missing"
    for number, (start, count) in enumerate(zip(offsets, counts, strict=False), 1):
        if not start or not count:
            return f"strip {number} of {len(offsets)} is missing"
        reason = _strip_damage(tags, data[start : start + count])
        if reason is not None:
            return f"strip {number} of {len(offsets)}: {reason}"
    return None


def _strip_damage(tags: Any, strip: bytes) -> str | None:
    compression = tags.get(COMPRESSION, 1)
    if compression in _DEFLATE:
        try:
            zlib.decompress(strip)
        except zlib.error as error:
            return str(error)
    elif compression == _JPEG:
        tables = tags.get(JPEGTABLES, b"")
        return jpeg_damage(tables[:-2] + strip[2:] if tables else strip)
    return None
