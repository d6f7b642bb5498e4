"""Files are the database: written under a temporary name, fsynced, then renamed.

A reader therefore sees the old file or the new one, never half of one, whenever the power goes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.leftovers import prefix_of, temporary_file
from drupe.notices import notice
from drupe.printable import printable_json

READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
"""What writing gives on a drive, or in a folder, that can only be read."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is fsynced and takes its place.

    What killed writers have left in the folder goes first (:mod:`drupe.leftovers`). On any error
    the temporary file is removed and an existing ``path`` stays as it was. A link is
    followed; a folder, a device or a pipe is never replaced. An :class:`OSError` names ``path``,
    never the temporary file.
    """
    path = _followed(path)
    prefix = prefix_of(path)
    temporary = None
    try:
        _require_file(path)  # a folder the rename alone would find out, a device it would replace
        _make_folder(path.parent)
        temporary = temporary_file(path)
        yield temporary
        # mkstemp makes 0600; a result file is as readable as any other that the user writes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        # A full disk is reported without the file it met.
        if error.filename is None or Path(os.fsdecode(error.filename)).name.startswith(prefix):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an :class:`OSError` that names no file, as a full disk's, name ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def unless_read_only(path: Path, what: str) -> Iterator[None]:
    """Say that ``what`` couldn't be kept where ``path`` can only be read; go on.

    Whoever only asks has his answer without it. A full disk stays an error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        notice(f"{path}: can only be read ({error.strerror}): {what} was not kept")


def check_replaceable(path: Path) -> None:
    """Raise what :func:`replacing` would, before the work is done; nothing is left behind."""
    path = _followed(path)
    try:
        _require_file(path)
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _followed(path: Path) -> Path:
    """Return what a link points to, whether or not that exists; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.is_symlink():  # to itself, else it was followed
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "A device or a pipe, not a file")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file is in the way
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows can't open a folder; its rename is journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_hash(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes; a missing one is an :class:`InputError`."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: must be a file, got a folder") from None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` as indented JSON atomically. NaN is refused: it is not JSON.

    Names keep what they hold, bytes that are no UTF-8 (surrogates) too: as JSON's escapes.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, printable_json(text) + "\n")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is an :class:`InputError` that names it."""
    try:
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error})") from None


def parse_json(content: bytes) -> Any:
    """Return the document that ``content`` (UTF-8) is; a :class:`ValueError` says why it is none.

    Halves of characters (surrogates) are refused that don't stand for a byte of a file's name.
    """
    try:
        text = content.decode("utf-8")
        document = json.loads(text, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half a character") from None
    return document
