"""Augmentation written in Python by the user: what identifies it, and how a batch goes through.

A run is recognised by what it computes, so such a function is known by a digest of its source and
of every value that it uses. One whose values Python can't describe is refused: its run couldn't be
told from another one.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from pydantic import Field

from drupe.errors import InputError
from drupe.training.input_config import Section

OwnAugmentation = Callable[[torch.Tensor], torch.Tensor]
"""float32 [N, C, r, q] from 0 (black) to the white level (255) in, the same out: N images of a
batch, C channels, r × q the pixels that the network sees."""

LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")
)
ADDRESS = " at 0x"
"""In what Python says of an object that nobody gave words to: another one in each process."""


class OwnAugmentConfig(Section):
    """The function given to ``drupe.train(augment=…)``: by itself this file can't train the run."""

    name: str = Field(description="of the function, with its module")
    sha256: str = Field(description="of its source and of the values that it uses (hex)")


def identified(augment: OwnAugmentation) -> OwnAugmentConfig:
    """Return what a run says of ``augment``.

    Raises:
        InputError: a value that it uses can't be told.
    """
    parts: list[str] = []
    try:
        _describe(augment, parts, set())
    except _UnknownValue as error:
        raise InputError(
            "augment: must be a function (or an object) of which all values can be told, for the "
            f"run to be recognised by them, got {error}"
        ) from None
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return OwnAugmentConfig(name=_name(augment), sha256=digest)


def source_of(augment: OwnAugmentation) -> str:
    """Return the source of ``augment``, or of what calling it runs; empty if it isn't known."""
    part = augment.func if isinstance(augment, functools.partial) else augment
    return _source(part if isinstance(part, FunctionType | MethodType) else type(part).__call__)


def apply_own(augment: OwnAugmentation, pixels: torch.Tensor, white_level: int) -> torch.Tensor:
    """Return ``pixels`` as ``augment`` makes them, cut off below 0 and above the white level.

    Raises:
        InputError: what comes back is no float32 batch of the same shape.
    """
    found: Any = augment(pixels)
    if not isinstance(found, torch.Tensor):
        got = type(found).__name__
    elif found.shape != pixels.shape or found.dtype != pixels.dtype:
        got = f"{str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    else:
        return found.clamp(0, white_level)
    raise InputError(f"augment: must return float32 {list(pixels.shape)}, got {got}")


class _UnknownValue(Exception):
    """A value that two processes can't be shown to have in common."""


def _describe(value: Any, parts: list[str], seen: set[int]) -> None:
    """Append the source and the values that ``value`` consists of, each object once."""
    if isinstance(value, torch.Tensor | np.ndarray):
        array = value.numpy(force=True) if isinstance(value, torch.Tensor) else value
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        parts.append(f"{array.dtype} {array.shape} {digest}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            parts.append(str(key))
            _describe(item, parts, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        parts.append(type(value).__name__)
        for item in value if isinstance(value, list | tuple) else sorted(value, key=repr):
            _describe(item, parts, seen)
    elif isinstance(value, BuiltinFunctionType):
        parts.append(_name(value))
        if not isinstance(value.__self__, type | ModuleType | None):
            _describe(value.__self__, parts, seen)
    elif isinstance(value, FunctionType | MethodType | functools.partial | type | ModuleType):
        _describe_code(value, parts, seen)
    elif hasattr(value, "__dict__"):
        _describe_object(value, parts, seen)
    elif ADDRESS not in (said := repr(value)):
        parts.append(said)
    else:
        raise _UnknownValue(said)


def _describe_object(value: Any, parts: list[str], seen: set[int]) -> None:
    if id(value) not in seen:
        seen.add(id(value))
        _describe(type(value), parts, seen)
        _describe(vars(value), parts, seen)


def _describe_code(value: Any, parts: list[str], seen: set[int]) -> None:
    if isinstance(value, functools.partial):
        _describe((value.func, value.args, value.keywords), parts, seen)
    elif isinstance(value, MethodType):
        _describe((value.__func__, value.__self__), parts, seen)
    elif isinstance(value, ModuleType) or _is_installed(value):
        parts.append(_name(value))  # of the version that the run records
    elif id(value) not in seen:
        seen.add(id(value))
        if isinstance(value, FunctionType):
            parts.append(_source(value) or _bytecode(value.__code__))
            _describe(inspect.getclosurevars(value).nonlocals, parts, seen)
            _describe((value.__defaults__ or (), value.__kwdefaults__ or {}), parts, seen)
            names = set(_names_in(value.__code__)) & value.__globals__.keys()
            _describe({name: value.__globals__[name] for name in sorted(names)}, parts, seen)
        else:
            _describe((_name(value), value.__bases__, _members(value)), parts, seen)


def _members(kind: type) -> dict[str, Any]:
    """Return the functions and values of a class; a notebook's has no source as a whole."""
    found = {}
    for key, one in vars(kind).items():
        inner = getattr(one, "__func__", getattr(one, "fget", one))  # static, class, property
        if isinstance(inner, FunctionType) or not key.startswith("__"):
            found[key] = inner
    return found


def _names_in(code: CodeType) -> Iterator[str]:
    """Yield the names that a function looks up, in the functions inside it too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _is_installed(value: Any) -> bool:
    """Return whether a function or class is Python's own or a library's."""
    try:
        file = Path(inspect.getfile(value)).resolve()
    except (TypeError, OSError):
        return str(value.__module__) == "builtins"
    return any(file.is_relative_to(folder) for folder in LIBRARIES)


def _source(value: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(value))
    except (OSError, TypeError):
        return ""


def _bytecode(code: CodeType) -> str:
    """Return what a function without source does, as this version of Python says it."""
    constants = [
        _bytecode(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _name(value: Any) -> str:
    if isinstance(value, ModuleType):
        return value.__name__
    part = value.func if isinstance(value, functools.partial) else value
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}.{named.__qualname__}"
