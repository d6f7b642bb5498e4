"""The decision log's format: lines that each hold the digest of the line before.

A log is a folder: ``decisions-00000001.jsonl``, ``-00000002`` and so on, and ``head.json``. Lines
are JSON mappings, numbered through the whole log (``n``, from 1). Each holds in ``previous`` the
SHA-256 of the bytes of the line before it, the newline left out; the first line of a log holds 64
zeros. So whoever changes, drops or moves a line must rewrite all that follow, and the head.

``kind``: ``opened`` begins each file, ``closed`` ends one that was ended in order; between them
stand ``decision`` and ``refused`` (no score). A ``decision`` has a ``p_value`` in (0, 1] where the
bundle tells what is unknown and the image has a score: the larger of both classes' conformal
p-values (:mod:`drupe.deployment.unknown`). Lines that older versions wrote have none.

``head.json`` states the last line that is known to lie on the disk: its number and digest. With a
key, heads and ``closed`` lines are signed (HMAC-SHA256, RFC 2104): without the key nobody can make
them fit a rewritten log.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.files import read_json

START = "0" * 64
"""Stands for the digest of the line before the first."""

HEAD = "head.json"
LOCK = "writer.lock"
FORMAT = 1
"""Of the lines; raised when an older ``drupe log`` would misread them."""

FEWEST_KEY_BYTES = 16
FILE_NAME = re.compile(r"decisions-(\d{8,})\.jsonl")


def file_name(number: int) -> str:
    """Return the name of the log's file ``number``."""
    return f"decisions-{number:08}.jsonl"


def log_files(folder: Path) -> list[tuple[int, Path]]:
    """Return the numbers and paths of a log's files, ascending."""
    found = ((FILE_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(match[1]), path) for match, path in found if match)


def line_digest(line: bytes) -> str:
    """Return the SHA-256 (hex) of a line, its newline left out."""
    return hashlib.sha256(line).hexdigest()


def signature(key: bytes | None, lines: int, digest: str) -> str | None:
    """Return the HMAC-SHA256 (hex) of "the log's line ``lines`` has this digest", None: no key."""
    if key is None:
        return None
    return hmac.new(key, f"{lines}:{digest}".encode(), hashlib.sha256).hexdigest()


def head_document(lines: int, digest: str, time: str, key: bytes | None) -> dict[str, Any]:
    """Return the document of ``head.json``."""
    return {
        "format": FORMAT,
        "lines": lines,
        "digest": digest,
        "time": time,
        "signature": signature(key, lines, digest),
    }


def read_head(path: Path) -> dict[str, Any]:
    """Return a head's document.

    Raises:
        InputError: no such file, or not a head.
    """
    document = read_json(path)
    fields: dict[str, Any] = {"lines": int, "digest": str, "time": str}
    fields["signature"] = (str, type(None))
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name), kind) for name, kind in fields.items()
    ):
        raise InputError(f"{path}: must be the head of a decision log")
    return document


def encoded(document: dict[str, Any]) -> bytes:
    """Return a line of the log, without its newline."""
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def decoded(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None where it is no line of a log."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fields = {"kind": str, "n": int, "time": str, "previous": str}
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name), kind) for name, kind in fields.items()
    ):
        return None
    return document


def time_text(seconds: float) -> str:
    """Return seconds since 1970 as UTC, ``2026-11-27T15:37:29.123456Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_key(key: bytes | str | Path | None) -> bytes | None:
    """Return the key: given itself, or read from a file (white space at its ends left out).

    Raises:
        InputError: no such file, or too short a key.
    """
    if key is None:
        return None
    where = "key"
    if not isinstance(key, bytes):
        where = str(key)
        try:
            key = Path(key).read_bytes().strip()
        except OSError as error:
            raise InputError(f"{where}: the key can't be read ({error.strerror})") from None
    if len(key) < FEWEST_KEY_BYTES:
        raise InputError(
            f"{where}: the key must have at least {FEWEST_KEY_BYTES} bytes, got {len(key)}"
        )
    return key
