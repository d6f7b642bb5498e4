"""Teachers and ancestors: named in an experiment, written out in full before it is validated.

So ``config.yaml`` and the identity of a run hold all that its targets and first weights came from,
whatever happens to the files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drupe.configuration import Tree, read_yaml
from drupe.errors import InputError
from drupe.files import file_hash
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record, require_done, require_weights
from drupe.runs.results import require_own
from drupe.training.presets import experiment_file

SELF = "self"
SECTIONS = ("model", "input", "augmentation", "training")
NOT_TAUGHT = ("teacher", "init")
"""Keys of training that a teacher can't have."""

KEY, ANCESTOR = "training.teacher.recipes", "training.init"


def with_recipes(document: Tree) -> Tree:
    """Return an experiment with each recipe of ``training.teacher`` as a mapping.

    ``self`` is the experiment's own recipe. What isn't understood is left for the validation.

    Raises:
        InputError: a recipe that can't be read, or that can't be trained anew.
    """
    training = document.get("training")
    if not isinstance(training, Mapping):
        return document
    teacher = training.get("teacher")
    if not isinstance(teacher, Mapping):
        return document
    named = teacher.get("recipes")
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, (list, tuple)):
        return document
    recipes = [
        recipe
        for name in names
        for recipe in (_recipes(name, document) if isinstance(name, str) else [name])
    ]
    return {**document, "training": {**training, "teacher": {**teacher, "recipes": recipes}}}


def _recipes(name: str, document: Tree) -> list[Tree]:
    """Return the recipe that ``name`` stands for; those of its members where it is an ensemble."""
    if name == SELF:
        return [_labels_only(_sections(document))]
    found = [_sections(document) for document in _read(Path(name))]
    for recipe in found:
        given = recipe.get("training")
        keys = given if isinstance(given, Mapping) else {}
        if refused := [key for key in NOT_TAUGHT if keys.get(key) is not None]:
            raise InputError(
                f"{KEY}: must be a recipe that learns from labels alone, got {name} with "
                f"training.{refused[0]}"
            )
    return [_labels_only(recipe) for recipe in found]


def _labels_only(recipe: Tree) -> Tree:
    given = recipe.get("training")
    if not isinstance(given, Mapping):
        return recipe
    training = {key: value for key, value in given.items() if key not in NOT_TAUGHT}
    return {**recipe, "training": training}


def _read(path: Path) -> list[Tree]:
    if not path.is_dir():
        return [read_yaml(experiment_file(path))]
    record = read_record(path)
    if record is None:
        raise InputError(f"{KEY}: must be {SELF}, an experiment file or a run, got {path}")
    if record.members:
        return [document for one in record.members for document in _read(Path(one.folder))]
    if record.imported:
        raise InputError(
            f"{KEY}: must be a recipe that can be trained anew without the items that it is asked "
            f"about, got the imported {path}: how it was trained isn't known, and it may have "
            "learnt from them"
        )
    return [read_yaml(RunFolder(path).config)]


def with_ancestor(document: Tree) -> Tree:
    """Return an experiment whose ``training.init`` names a run with the digest of its weights.

    Raises:
        InputError: no finished run, or its weights aren't those that the experiment was made with.
    """
    training = document.get("training")
    given = training.get("init") if isinstance(training, Mapping) else None
    named = {"run": given} if isinstance(given, str) else given
    if not isinstance(named, Mapping) or not isinstance(named.get("run"), (str, Path)):
        return document
    run = Path(named["run"]).absolute()
    record = read_record(run)
    if record is None:
        raise InputError(f"{ANCESTOR}: must be a run directory, got {run}, which holds no run.json")
    require_done(run, record.status)
    require_weights(run, record)
    require_own(run, record, RunFolder(run).weights)
    weights = file_hash(RunFolder(run).weights)
    if named.get("weights", weights) != weights:
        raise InputError(
            f"{ANCESTOR}: must be the weights {str(named['weights'])[:12]}… that this experiment "
            f"was made with, got {weights[:12]}… in {run}"
        )
    assert isinstance(training, Mapping)
    return {
        **document,
        "training": {**training, "init": {**named, "run": str(run), "weights": weights}},
    }


def _sections(document: Mapping[str, Any]) -> Tree:
    return {name: document[name] for name in SECTIONS if name in document}
