"""A study, typed: experiments, seeds and planned comparisons, from one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drupe.configuration import Tree, merge, read_yaml, validate
from drupe.errors import InputError
from drupe.training.config import ExperimentConfig, validate_experiment

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
    seeds: tuple[int, ...] = Field((42, 123, 456), min_length=1)
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of every interval")
    defaults: dict[str, Any] = Field({}, description="experiment keys that all experiments share")
    experiments: tuple[Experiment, ...] = Field(min_length=1)
    comparisons: tuple[Comparison, ...] = ()

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        identifiers = [experiment.id for experiment in self.experiments]
        repeated = {name for name in identifiers if identifiers.count(name) > 1}
        if repeated:
            raise ValueError(f"experiments: ids must be unique, got {', '.join(sorted(repeated))}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: must differ, got {', '.join(map(str, self.seeds))}")
        for comparison in self.comparisons:
            unknown = {comparison.a, comparison.b} - set(identifiers)
            if unknown:
                known = ", ".join(identifiers)
                raise ValueError(
                    f"comparisons: must name experiments ({known}), got {', '.join(unknown)}"
                )
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
    spec = validate(StudySpec, merge(read_yaml(path), for_study), str(path))
    configs: dict[str, ExperimentConfig] = {}
    problems: list[str] = []
    for experiment in spec.experiments:
        own = {"name": experiment.id, "hypothesis": experiment.hypothesis, "seed": spec.seeds[0]}
        document = merge(merge(spec.defaults, experiment.config), for_all)
        try:
            configs[experiment.id] = validate_experiment(
                merge(document, own), f"{path}, experiment {experiment.id}"
            )
        except InputError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise InputError(problems)
    return Study(spec, configs)
