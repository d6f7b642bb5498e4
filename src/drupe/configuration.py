"""From YAML and ``KEY=VALUE`` words to pydantic models, with every mistake in one message.

Each message has the form ``training.label_smoothing: must be in [0, 1), got 1.5 (study.yaml)``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from drupe.errors import InputError, shortened, suggest
from drupe.yaml_document import read_document

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)

SHOWN = 50
"""Mistakes named in a message before it only counts."""

IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""A name that is also a folder's; whoever gives another is told in words what is allowed."""


def read_yaml(path: Path) -> Tree:
    """Read a YAML mapping; anything else is an :class:`InputError` that names the file."""
    try:
        document = read_document(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: must be a YAML file, got a folder") from None
    except ValueError as error:  # of bad UTF-8 too
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
        except ValueError:
            problems.append(f"{key}: value is not valid YAML, got {value!r}")
            continue
        tree = merge(tree, nest(key, leaf))
    if problems:
        raise InputError(problems)
    return tree


def nest(key: str, value: Any) -> Tree:
    """Return ``value`` under a dotted key: ``{"training": {"epochs": 3}}``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    tree: Tree = value
    return tree


def _scalar(text: str) -> Any:
    return meant(read_document(text))


def meant(value: Any) -> Any:
    """Return what a YAML scalar stands for: YAML 1.1 reads 1e-4 as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return ``base`` with ``over`` laid on top, mapping by mapping; neither is changed.

    Raises:
        InputError: a single key is laid over a value that is no mapping: it would vanish.
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if old is None or not isinstance(value, Mapping):
            merged[key] = value
        elif isinstance(old, Mapping):
            merged[key] = merge(old, value)
        else:
            inner = next(iter(value), "")
            raise InputError(
                f"{key}: must be a mapping where {key}.{inner} is given too, got {old!r}"
            )
    return merged


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Tree:
    """Return the leaves of nested mappings by dotted key: ``training.epochs``."""
    flat: Tree = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, old value, new value) of each leaf that differs; None where it lacks."""
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from changes(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key}", before, after


def fingerprint(document: Any) -> str:
    """SHA-256 (hex) of a JSON-like document, independent of the order of its keys."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def validate(model: type[Model], document: Any, source: str) -> Model:
    """Validate ``document``; all mistakes, each with its key, go into one :class:`InputError`."""
    if not isinstance(document, Mapping):
        raise InputError(f"{source}: must be a mapping, got {type(document).__name__}")
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        details = _without_echoes(error.errors(include_url=False))
        problems = [f"{_problem(model, item, source)} ({source})" for item in details]
        distinct = list(dict.fromkeys(problems))  # a union reports every alternative
        raise InputError(shortened(distinct, SHOWN, "more mistakes")) from None


def _without_echoes(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short where only mistakes inside it made it so."""
    places = [item["loc"] for item in details]

    def is_echo(item: ErrorDetails) -> bool:
        depth = len(item["loc"])
        inside = any(len(place) > depth and place[:depth] == item["loc"] for place in places)
        held = len(item["input"]) if isinstance(item["input"], Sequence) else 0
        return item["type"] == "too_short" and inside and held >= item["ctx"]["min_length"]

    return [item for item in details if not is_echo(item)]


@dataclass(frozen=True)
class _Place:
    """The place of a mistake: its key, the model of that key, and what may stand there."""

    key: str
    owner: type[BaseModel] | None
    annotation: Any
    constraints: Sequence[Any]


_MAPPING, _LIST = "a mapping", "a list"
_WANTED = {
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "dict_type": _MAPPING,
    "mapping_type": _MAPPING,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "path_type": "a path",
}
"""Pydantic's types of errors, where its own words mean little to whoever writes YAML."""


def _problem(model: type[BaseModel], item: ErrorDetails, source: str) -> str:
    place = _find(model, item["loc"])
    key, got = place.key, f"got {item['input']!r}"
    if _alternatives(place.annotation):
        return f"{key}: must be {_allowed(place.annotation)}, {got}"
    if item["type"] == "invalid_key" or item["loc"][-1:] == ("[key]",):
        wrong = item["type"] == "string_pattern_mismatch"
        wanted = _pattern(item, source) if wrong else f"be text, {got}"
        return f"{key}: the key must {wanted}"
    match item["type"]:
        case "extra_forbidden":
            known = list(place.owner.model_fields) if place.owner else []
            name = str(item["loc"][-1])
            return f"{key}: unknown key{suggest(name, known) or _known(known)}"
        case "missing":
            return f"{key}: required, but missing"
        case "value_error":
            return f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
        case "too_short" | "too_long":
            bound = {"min_length": "at least", "max_length": "at most"}
            ((name, count),) = ((k, v) for k, v in item["ctx"].items() if k in bound)
            return f"{key}: must hold {bound[name]} {count}, {got}"
        case "string_pattern_mismatch":
            return f"{key}: must {_pattern(item, source)}"
    return f"{key}: must be {_wanted(place, item)}, {got}"


def _known(names: Sequence[str]) -> str:
    return f"; known: {', '.join(names)}" if names else ""


def _pattern(item: ErrorDetails, source: str) -> str:
    pattern, text = item["ctx"]["pattern"], item["input"]
    wanted = f"match {pattern}"
    if pattern == IDENTIFIER:
        wanted = "hold letters, digits, '.', '_' and '-' only and begin with a letter or digit"
    from_file = item["loc"] == ("name",) and text == Path(source).stem
    return f"{wanted}, got {text!r}" + (" (left out, the file's name counts)" if from_file else "")


def _wanted(place: _Place, item: ErrorDetails) -> str:
    """Return what must stand there, to follow "must be"."""
    match item["type"]:
        case "literal_error":
            return str(item["ctx"]["expected"])
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return f"in {interval(place.constraints)}"
    text = item["msg"].removeprefix("Input should be ").partition(", ")[0]
    return _WANTED.get(item["type"], text)


def _find(model: type[BaseModel], location: Sequence[int | str]) -> _Place:
    """Walk ``location`` through models, lists and mappings, up to a choice between types."""
    owner: type[BaseModel] | None = None
    annotation: Any = model
    constraints: Sequence[Any] = ()
    walked: list[str] = []
    for part in location:
        if _alternatives(annotation) or part == "[key]":
            break
        walked.append(str(part))
        owner, annotation = _step(annotation, part)
        annotation, constraints = _bare(annotation)
    return _Place(".".join(walked), owner, annotation, constraints)


def _step(annotation: Any, part: int | str) -> tuple[type[BaseModel] | None, Any]:
    """Return the model that ``part`` is a key of, if any, and what may stand there."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return annotation, Annotated[field.annotation, field] if field else None
    inner = [item for item in get_args(annotation) if item is not ...]
    return None, inner[-1] if inner else None


def _bare(annotation: Any) -> tuple[Any, Sequence[Any]]:
    """Return an annotation without ``None``, and its constraints."""
    constraints: list[Any] = []
    while True:
        inner = get_args(annotation)
        if get_origin(annotation) is Annotated:
            annotation = inner[0]
            for item in inner[1:]:
                constraints += item.metadata if isinstance(item, FieldInfo) else [item]
        elif type(None) in inner and len(inner) == 2:
            annotation = next(item for item in inner if item is not type(None))
        else:
            return annotation, constraints


def _alternatives(annotation: Any) -> list[Any]:
    """Return the types of a union without ``None``; none where there is no choice."""
    if get_origin(annotation) not in (Union, UnionType):
        return []
    return [item for item in get_args(annotation) if item is not type(None)]


def _allowed(annotation: Any) -> str:
    """Say what a union allows: "none, auto or an integer in [16, 2048]"."""
    words: list[str] = []
    for alternative in _alternatives(annotation):
        kind, constraints = _bare(alternative)
        if get_origin(kind) is Literal:
            words += map(str, get_args(kind))
            continue
        words_for = {int: "an integer", float: "a number", str: "text", list: "a list"}
        words_for |= {tuple: "a list"}
        if get_origin(kind) is tuple and len(set(get_args(kind))) == 1 < len(get_args(kind)):
            words.append(f"a list of {len(get_args(kind))} of them")
            continue
        kind = get_origin(kind) or kind
        name = words_for.get(kind, kind.__name__ if isinstance(kind, type) else str(kind))
        bounds = interval(constraints)
        words.append(name if bounds == interval([]) else f"{name} in {bounds}")
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


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
