"""Study files, one or a folder of them, and ``KEY=VALUE`` words become a validated study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from drupe.configuration import Tree, merge, read_yaml, validate
from drupe.errors import InputError
from drupe.study.definition.ensembles import disagreements
from drupe.study.definition.spec import Criteria, StudySpec
from drupe.training.config import (
    ExperimentConfig,
    ScheduleConfig,
    validate_experiment,
)
from drupe.training.input_config import InputConfig

STUDY_FILE = "study.yaml"
SMOKE_BATCHES, SMOKE_BATCH_SIZE = 3, 8
SMOKE_FOLDS = 2

Schedule = TypeVar("Schedule", bound=ScheduleConfig)


@dataclass(frozen=True)
class Study:
    """A validated study.

    ``configs`` maps a training experiment's id to its full configuration with the study's first
    seed, ``criteria`` that of every model to the criteria that it has to meet. ``is_smoke``:
    everything runs, briefly, to find out whether it would.
    """

    source: Path
    spec: StudySpec
    configs: Mapping[str, ExperimentConfig]
    criteria: Mapping[str, Criteria]
    is_smoke: bool = False

    @property
    def candidates(self) -> int:
        """From how many models the one to deploy is chosen: certificates must hold for all."""
        return len(self.spec.models)

    def import_config(self) -> ExperimentConfig:
        """Return how a checkpoint from elsewhere is read: as the experiment that it replaces.

        Where it replaces none, as the study's first, with its own keys of ``input`` on top. It has
        no folds.

        Raises:
            InputError: its own keys are wrong.
        """
        baseline = self.spec.baseline
        assert baseline.checkpoint is not None
        config = self.configs[baseline.experiment or next(iter(self.configs))]
        tree = merge(config.input.model_dump(), baseline.checkpoint.input)
        own = validate(InputConfig, tree, f"{self.source}, baseline.checkpoint.input")
        calibration = config.calibration.model_copy(update={"crossfit": None})
        return config.model_copy(update={"input": own, "calibration": calibration})

    def smoke(self) -> Study:
        """Return the same study on three small batches per split, one epoch, the first seed.

        An ensemble of seeds needs two.
        """
        of_seeds = any(len(item.subjects) == 1 for item in self.spec.ensembles)
        seeds = self.spec.seeds[: 2 if of_seeds else 1]
        return replace(
            self,
            spec=self.spec.model_copy(update={"seeds": seeds}),
            configs={name: _for_smoke_test(config) for name, config in self.configs.items()},
            is_smoke=True,
        )


def _for_smoke_test(config: ExperimentConfig) -> ExperimentConfig:
    calibration = config.calibration
    if calibration.share is None:
        calibration = calibration.model_copy(update={"crossfit": SMOKE_FOLDS})
    training = _brief(config.training)
    if training.teacher:
        recipes = [
            recipe.model_copy(update={"training": _brief(recipe.training)})
            for recipe in training.teacher.recipes
        ]
        teacher = training.teacher.model_copy(
            update={"recipes": tuple(recipes), "folds": SMOKE_FOLDS}
        )
        training = training.model_copy(update={"teacher": teacher})
    limit = max(4, SMOKE_BATCHES * training.batch_size)
    return config.model_copy(
        update={
            "training": training,
            "data": config.data.model_copy(update={"limit": limit}),
            "calibration": calibration,
        }
    )


def _brief(training: Schedule) -> Schedule:
    batch_size = min(training.batch_size, SMOKE_BATCH_SIZE)
    brief: dict[str, Any] = {"epochs": 1, "warmup_epochs": 0.0, "batch_size": batch_size}
    # Choosing these by timing would take longer than all that is timed.
    brief |= {"precision": "fp32"} if training.precision == "auto" else {}
    brief |= {"layout": "channels_last"} if training.layout == "auto" else {}
    return training.model_copy(update=brief)


def load_study(path: Path, overrides: Tree | None = None) -> Study:
    """Read a study with ``overrides`` on top.

    ``path`` is a file, or a folder with ``study.yaml`` and one file per experiment, which follow
    in the order of their names. An override's first part says where it goes: keys of
    :class:`StudySpec` (``seeds``) to the study, all others to every experiment.

    Raises:
        InputError: every mistake of the files and of every experiment in them, in one message.
    """
    overrides = overrides or {}
    for_study = {key: value for key, value in overrides.items() if key in StudySpec.model_fields}
    for_all = {key: value for key, value in overrides.items() if key not in for_study}
    document = merge(_read(path), for_study)
    spec: StudySpec | None = None
    problems: list[str] = []
    try:
        spec = validate(StudySpec, document, str(path))
    except InputError as error:
        problems += error.problems
    configs, found = _configurations(document, path, for_all)
    problems += found
    if spec is None or problems:
        raise InputError(problems)
    for item in spec.training:
        own = {"name": item.id, "hypothesis": item.hypothesis, "seed": spec.seeds[0]}
        configs[item.id] = configs[item.id].model_copy(update=own)
    if problems := list(disagreements(spec, configs, path)):
        raise InputError(problems)
    study = Study(path, spec, configs, _criteria(spec, path))
    if spec.baseline.checkpoint:
        study.import_config()  # its mistakes are the file's
    return study


def _read(path: Path) -> Tree:
    if not path.is_dir():
        return read_yaml(path)
    document = read_yaml(path / STUDY_FILE)
    files = sorted(item for item in path.glob("*.yaml") if item.name != STUDY_FILE)
    listed = document.get("experiments")
    if listed is not None and files:
        raise InputError(
            f"{path / STUDY_FILE}: experiments: must be left out where each has a file of its own "
            f"({files[0].name}, …)"
        )
    return {**document, "experiments": [read_yaml(file) for file in files]} if files else document


def _criteria(spec: StudySpec, path: Path) -> dict[str, Criteria]:
    """Return the criteria of each model: the study's with its own on top."""
    found: dict[str, Criteria] = {}
    problems: list[str] = []
    for item in spec.models:
        tree = merge(spec.criteria.model_dump(), item.criteria)
        try:
            found[item.id] = validate(Criteria, tree, f"{path}, experiment {item.id}, criteria")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return found


def _configurations(
    document: Tree, path: Path, for_all: Tree
) -> tuple[dict[str, ExperimentConfig], list[str]]:
    """Return the configuration of every experiment that trains, and all mistakes in them."""
    defaults = _mapping(document.get("defaults"))
    configs: dict[str, ExperimentConfig] = {}
    mistakes: dict[str, list[str]] = {}  # of which experiments
    for name, tree in _training(document):
        config, found = _validated(merge(merge(defaults, tree), for_all))
        for text in found:
            mistakes.setdefault(text, []).append(name)
        if config:
            configs[name] = config
    return configs, _located(mistakes, path, defaults, for_all)


def _mapping(value: Any) -> Tree:
    return dict(value) if isinstance(value, Mapping) else {}


def _training(document: Tree) -> Iterator[tuple[str, Tree]]:
    """Yield each experiment's id and configuration, as far as the file can be understood."""
    experiments = document.get("experiments")
    for item in experiments if isinstance(experiments, list) else []:
        if isinstance(item, Mapping) and item.get("kind", "training") == "training":
            yield str(item.get("id", "without an id")), _mapping(item.get("config"))


_SOURCE = "study"


def _validated(tree: Tree) -> tuple[ExperimentConfig | None, list[str]]:
    """Return the configuration, or its mistakes without where they stand."""
    misplaced = ["tracking: must stand in the study itself, for all its runs"]
    problems = misplaced if "tracking" in tree else []
    try:
        return validate_experiment(tree, _SOURCE), problems
    except InputError as error:
        found = [problem.removesuffix(f" ({_SOURCE})") for problem in error.problems]
        return None, [*problems, *found]


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
