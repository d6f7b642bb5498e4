"""From YAML and ``KEY=VALUE`` words to pydantic models, with every mistake in one message.

Each message has the form ``training.label_smoothing: must be in [0, 1), got 1.5 (study.yaml)``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from drupe.errors import InputError, suggest

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> Tree:
    """Read a YAML mapping; anything else is an :class:`InputError` that names the file."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: must be a YAML file, got a folder") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InputError(f"{path}: must be a YAML mapping, got {type(document).__name__}")
    return document


def parse_overrides(words: Sequence[str]) -> Tree:
    """Turn ``["training.epochs=3", "input.crop=96"]`` into a nested mapping, values as YAML."""
    tree: Tree = {}
    problems = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not all(key.split(".")):
            problems.append(f"{word!r}: must be KEY=VALUE such as training.epochs=3")
            continue
        try:
            leaf: Any = _scalar(value)
        except yaml.YAMLError:
            problems.append(f"{key}: value is not valid YAML, got {value!r}")
            continue
        for part in reversed(key.split(".")):
            leaf = {part: leaf}
        tree = merge(tree, leaf)
    if problems:
        raise InputError(problems)
    return tree


def _scalar(text: str) -> Any:
    value = yaml.safe_load(text)
    if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text; people mean a number
        try:
            return float(value)
        except ValueError:
            return value
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return ``base`` with ``over`` laid on top, mapping by mapping; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def fingerprint(document: Any) -> str:
    """SHA-256 (hex) of a JSON-like document, independent of the order of its keys."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def validate(model: type[Model], document: Mapping[str, Any], source: str) -> Model:
    """Validate ``document``; all mistakes, each with its key, go into one :class:`InputError`."""
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise InputError([_problem(model, item, source) for item in details]) from None


def _problem(model: type[BaseModel], item: ErrorDetails, source: str) -> str:
    location = [str(part) for part in item["loc"]]
    owner, field = _find(model, location)
    key = ".".join(location) or "(top level)"
    got = f"got {item['input']!r}"
    match item["type"]:
        case "extra_forbidden":
            known = list(owner.model_fields) if owner else []
            hint = suggest(location[-1], known) or f"; known: {', '.join(known)}"
            return f"{key}: unknown key{hint} ({source})"
        case "missing":
            return f"{key}: required, but missing ({source})"
        case "value_error":
            return f"{key}: {item['ctx']['error']} ({source})"
        case "literal_error":
            return f"{key}: must be {item['ctx']['expected']}, {got} ({source})"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            allowed = interval(field.metadata if field else [])
            return f"{key}: must be in {allowed}, {got} ({source})"
    wanted = item["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{key}: must be {wanted}, {got} ({source})"


def _find(model: type[BaseModel], location: Sequence[str]) -> tuple[type[BaseModel] | None, Any]:
    """Walk ``location`` through nested models; return the last model met and the field there."""
    owner: type[BaseModel] | None = model
    field = None
    for depth, part in enumerate(location):
        if owner is None:
            break
        field = owner.model_fields.get(part)
        if depth < len(location) - 1:
            owner = _model_of(field.annotation if field else None)
    return owner, field


def _model_of(annotation: Any) -> type[BaseModel] | None:
    nested = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if nested else None


def interval(metadata: Sequence[Any]) -> str:
    """Return a pydantic field's bounds as ``[0, 1)``."""
    low, high = "(-∞", "∞)"
    for bound in metadata:
        match bound:
            case Ge(ge=value):
                low = f"[{value}"
            case Gt(gt=value):
                low = f"({value}"
            case Le(le=value):
                high = f"{value}]"
            case Lt(lt=value):
                high = f"{value})"
    return f"{low}, {high}"
