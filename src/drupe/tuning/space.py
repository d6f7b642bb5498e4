"""The search space: which keys of an experiment may take which values.

A YAML file names them, dotted or nested: ``training.learning_rate: {low: 1e-4, high: 3e-3, log:
true}`` is a range, ``input.views: [1, 2]`` a choice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drupe.configuration import Tree, flatten, meant, merge, nest, read_yaml, validate
from drupe.errors import InputError, suggest
from drupe.training.config import NOT_IDENTITY, ExperimentConfig, validate_experiment

NOT_SEARCHED = {
    "name": "it changes nothing",
    "hypothesis": "it changes nothing",
    "seed": "the luckiest seed is no better setting",
    "data": "every trial is judged on the same images",
    "calibration": "every trial learns from the same fit split",
    "input.size": "every trial is judged on the same images; search input.resolution",
    "input.channels": "every trial is judged on the same images",
    "input.white_level": "every trial is judged on the same images",
    **{f"training.{key}": "it changes how, not what, is computed" for key in NOT_IDENTITY},
}
"""Keys, or sections of them, that a search may not touch, and why."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``whole``: integers alone.

    ``log``: drawn evenly on a logarithmic scale; ``step``: only low, low + step, …
    """

    key: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` can be drawn."""
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return not self.whole or value == int(value)
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-9

    @property
    def ends(self) -> tuple[Any, Any]:
        """The lowest and the highest value."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def __str__(self) -> str:
        low, high = self.ends
        form = ", on a logarithmic scale" if self.log else ""
        return f"{low:g} to {high:g}{form}" + (f" in steps of {self.step:g}" if self.step else "")

    def to_json(self) -> dict[str, Any]:
        """Return what a search space's file says of it."""
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}


@dataclass(frozen=True)
class Choices:
    """One of ``values``; ``labels`` are the same as different texts."""

    key: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as text, by which they are kept."""
        return tuple(map(label, self.values))

    def holds(self, value: Any) -> bool:
        """Return whether ``value`` can be drawn."""
        return label(value) in self.labels

    def __str__(self) -> str:
        return ", ".join(self.labels)

    def to_json(self) -> list[Any]:
        """Return what a search space's file says of it."""
        return list(self.values)


Dimension = Range | Choices


@dataclass(frozen=True)
class Space:
    """What is searched, key by key."""

    dimensions: tuple[Dimension, ...]

    def to_json(self) -> dict[str, Any]:
        """Return each key with its range or choices."""
        return {one.key: one.to_json() for one in self.dimensions}


def label(value: Any) -> str:
    """Return a value as a short text: ``0.001``, ``null``, ``efficientnet_lite0``."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # 1.0 and 1 are the same setting
    return json.dumps(value, ensure_ascii=False)


class _RangeKeys(BaseModel):
    """A range as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: float
    high: float
    log: bool = False
    step: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"an empty range: low must be below high, got {self.low:g} and "
                             f"{self.high:g}")  # fmt: skip
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 where log is true, got {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step can't be had together")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step must be at most high - low, got {self.step:g}")
        return self


def read_space(path: Path, document: Tree) -> Space:
    """Read a search space for the experiment ``document``.

    Raises:
        InputError: every mistake: an unknown key, an empty range, a value that the key can't take.
    """
    return parse_space(read_yaml(path), document, str(path))


def parse_space(tree: Mapping[str, Any], document: Tree, source: str) -> Space:
    """Return the space that ``tree`` describes; see :func:`read_space`."""
    kinds = dict(_leaves(ExperimentConfig))
    found: list[Dimension] = []
    problems: list[str] = []
    written = list(_entries(tree))
    for key, value in written:
        try:
            dimension = _dimension(key, value, kinds, source)
            _check_values(dimension, document, source)
            found.append(dimension)
        except InputError as error:
            problems += error.problems
    if not written:
        problems.append(
            f"{source}: must name at least one key, such as "
            "training.learning_rate: {low: 1.0e-4, high: 3.0e-3, log: true}"
        )
    keys = [key for key, _ in written]
    problems += [f"{key}: given twice ({source})" for key in set(keys) if keys.count(key) > 1]
    if problems:
        raise InputError(dict.fromkeys(problems))
    return Space(tuple(found))


def _entries(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key with its range or choices; other mappings are sections."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and not {"low", "high"} & set(value):
            yield from _entries(value, f"{key}.") if value else [(key, value)]
        else:
            yield key, value


def _dimension(key: str, value: Any, kinds: Mapping[str, set[type]], source: str) -> Dimension:
    section = next((name for name in NOT_SEARCHED if f"{key}.".startswith(f"{name}.")), None)
    if section is not None:
        raise InputError(f"{key}: can't be searched: {NOT_SEARCHED[section]} ({source})")
    if key not in kinds:
        known = [name for name in kinds if name not in NOT_SEARCHED]
        raise InputError(f"{key}: unknown key{suggest(key, known)} ({source})")
    if isinstance(value, Mapping):
        return _range(key, value, kinds[key], source)
    if not isinstance(value, list):
        raise InputError(
            f"{key}: must be {{low: …, high: …}} or a list of values, got {value!r} ({source})"
        )
    choices = Choices(key, tuple(map(meant, value)))
    if len(set(choices.labels)) < 2 or len(set(choices.labels)) < len(value):
        raise InputError(
            f"{key}: must list at least two values, all different, got {value!r} ({source})"
        )
    return choices


def _range(key: str, value: Mapping[str, Any], kinds: set[type], source: str) -> Range:
    if not kinds & {int, float}:
        raise InputError(f"{key}: takes no numbers: list the values, such as [a, b] ({source})")
    try:
        given = validate(_RangeKeys, value, source)
    except InputError as error:
        raise InputError(f"{key}: {problem}" for problem in error.problems) from None
    whole = float not in kinds
    ends = [given.low, given.high, *([] if given.step is None else [given.step])]
    if whole and not all(number.is_integer() for number in ends):
        raise InputError(f"{key}: takes whole numbers alone, got {dict(value)} ({source})")
    return Range(key, given.low, given.high, given.log, given.step, whole)


def _check_values(dimension: Dimension, document: Tree, source: str) -> None:
    values = dimension.values if isinstance(dimension, Choices) else dimension.ends
    problems: list[str] = []
    for value in values:
        try:
            validate_experiment(merge(document, nest(dimension.key, value)), source)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(dict.fromkeys(problems))


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, set[type]]]:
    """Yield each key of an experiment, dotted, with the types that it takes."""
    for name, field in model.model_fields.items():
        kinds = set(_types(field.annotation))
        inside = [kind for kind in kinds if issubclass(kind, BaseModel)]
        if not inside:
            yield f"{prefix}{name}", kinds
        for section in inside:
            yield from _leaves(section, f"{prefix}{name}.")


def _types(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _types(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _types(one)


def default_space(config: ExperimentConfig) -> Space:
    """Return what is searched where nothing else is asked for: around the experiment as given.

    The peak of the learning rate from a tenth to ten times the given one, and what keeps a small
    set from being learnt by heart.
    """
    rate = config.training.learning_rate
    return Space(
        (
            Range("training.learning_rate", rate / 10, min(rate * 10, 5.0), log=True),
            Range("training.weight_decay", 1e-5, 0.3, log=True),
            Range("training.label_smoothing", 0.0, 0.1),
            Range("augmentation.zoom", 0.0, 0.3),
            Range("augmentation.brightness", 0.0, 0.5),
        )
    )


def given_values(config: ExperimentConfig, space: Space) -> Tree:
    """Return what the experiment as given has of each key, where ``space`` holds it.

    A choice is named by its label.
    """
    flat = flatten(config.model_dump(mode="json"))
    return {
        one.key: label(flat[one.key]) if isinstance(one, Choices) else flat[one.key]
        for one in space.dimensions
        if one.key in flat and one.holds(flat[one.key])
    }
