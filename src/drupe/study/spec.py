"""A study, typed: experiments, seeds and planned comparisons, from one YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drupe.configuration import Tree, merge, read_yaml, validate
from drupe.errors import InputError
from drupe.training.config import ExperimentConfig, Seed, validate_experiment

IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Section(BaseModel):
    """A frozen group of keys that refuses unknown ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(Section):
    """One hypothesis; ``config`` holds what differs from the study's defaults."""

    id: str = Field(pattern=IDENTIFIER)
    hypothesis: str = ""
    config: dict[str, Any] = {}


class Comparison(Section):
    """A difference planned in advance: ``a`` minus ``b``, experiments by id."""

    a: str
    b: str
    question: str = ""


class StudySpec(Section):
    """A study file."""

    study: str = Field(pattern=IDENTIFIER, description="name; also the folder of its runs")
    question: str = ""
    seeds: tuple[Seed, ...] = Field((42, 123, 456), min_length=1)
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of every interval")
    defaults: dict[str, Any] = Field({}, description="experiment keys that all experiments share")
    experiments: tuple[Experiment, ...] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        problems = []
        identifiers = [experiment.id for experiment in self.experiments]
        repeated = {name for name in identifiers if identifiers.count(name) > 1}
        if repeated:
            problems.append(f"experiments: ids must be unique, got {', '.join(sorted(repeated))}")
        if len(set(self.seeds)) < len(self.seeds):
            problems.append(f"seeds: must differ, got {', '.join(map(str, self.seeds))}")
        for comparison in self.comparisons:
            unknown = {comparison.a, comparison.b} - set(identifiers)
            if unknown:
                known, got = ", ".join(identifiers), ", ".join(sorted(unknown))
                problems.append(f"comparisons: must name experiments ({known}), got {got}")
            elif comparison.a == comparison.b:
                problems.append(f"comparisons: a and b must differ, got {comparison.a} twice")
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Study:
    """A validated study: its specification and every experiment's full configuration.

    ``configs`` maps an experiment's id to its configuration with the study's first seed.
    """

    def __init__(self, spec: StudySpec, configs: dict[str, ExperimentConfig]) -> None:
        self.spec, self.configs = spec, configs


def load_study(path: Path, overrides: Tree | None = None) -> Study:
    """Read a study file with ``overrides`` on top.

    An override's first part says where it goes: keys of :class:`StudySpec` (``seeds``) to the
    study, all others to every experiment.

    Raises:
        InputError: every mistake of the file and of every experiment in it, in one message.
    """
    overrides = overrides or {}
    for_study = {key: value for key, value in overrides.items() if key in StudySpec.model_fields}
    for_all = {key: value for key, value in overrides.items() if key not in for_study}
    document = merge(read_yaml(path), for_study)
    spec: StudySpec | None = None
    problems: list[str] = []
    try:
        spec = validate(StudySpec, document, str(path))
    except InputError as error:
        problems += error.problems
    defaults = _mapping(document.get("defaults"))
    configs: dict[str, ExperimentConfig] = {}
    mistakes: dict[str, list[str]] = {}  # of which experiments
    for name, tree in _experiments(document):
        config, found = _validated(merge(merge(defaults, tree), for_all))
        for text in found:
            mistakes.setdefault(text, []).append(name)
        if config:
            configs[name] = config
    problems += _located(mistakes, path, defaults, for_all)
    if spec is None or problems:
        raise InputError(problems)
    for item in spec.experiments:
        own = {"name": item.id, "hypothesis": item.hypothesis, "seed": spec.seeds[0]}
        configs[item.id] = configs[item.id].model_copy(update=own)
    return Study(spec, configs)


def _mapping(value: Any) -> Tree:
    return dict(value) if isinstance(value, Mapping) else {}


def _experiments(document: Tree) -> Iterator[tuple[str, Tree]]:
    """Yield each experiment's id and configuration, as far as the file can be understood."""
    experiments = document.get("experiments")
    for item in experiments if isinstance(experiments, list) else []:
        if isinstance(item, Mapping):
            yield str(item.get("id", "without an id")), _mapping(item.get("config"))


_SOURCE = "study"


def _validated(tree: Tree) -> tuple[ExperimentConfig | None, list[str]]:
    """Return the configuration, or its mistakes without where they stand."""
    try:
        return validate_experiment(tree, _SOURCE), []
    except InputError as error:
        return None, [problem.removesuffix(f" ({_SOURCE})") for problem in error.problems]


def _located(
    mistakes: Mapping[str, Sequence[str]], path: Path, defaults: Tree, overrides: Tree
) -> list[str]:
    """Return each mistake once, with the place to mend it."""
    if not mistakes:
        return []
    of_overrides, of_defaults = (_own_mistakes(tree) for tree in (overrides, defaults))
    problems = []
    for text, names in mistakes.items():
        if text in of_overrides:
            where = "KEY=VALUE"
        elif text in of_defaults:
            where = f"{path}, defaults"
        else:
            where = f"{path}, experiment{'s' if len(names) > 1 else ''} {', '.join(names)}"
        problems.append(f"{text} ({where})")
    return problems


def _own_mistakes(tree: Tree) -> set[str]:
    """Return the mistakes of what ``tree`` holds; what it lacks may stand elsewhere."""
    return {text for text in _validated(tree)[1] if "required, but missing" not in text}
