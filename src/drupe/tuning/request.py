"""What is asked of a search, and how a trial's settings become the runs of its folds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from drupe.configuration import Tree, changes, merge, nest
from drupe.errors import InputError
from drupe.evaluation.recall_yield import Objective
from drupe.runs.record import TRAINING_VERSION
from drupe.training.config import (
    NOT_IDENTITY,
    ExperimentConfig,
    InnerFold,
    validate_experiment,
)
from drupe.training.folds import configure_inner_fold
from drupe.tuning.space import Space

DEFAULT_OBJECTIVE = Objective()


@dataclass(frozen=True)
class Search:
    """A search that starts from one experiment.

    ``document`` is that experiment as it is written, ``data`` what the command line says about the
    images, ``source`` the file, ``command`` what repeats the search. ``latency_ms``: p95 that a
    decision may take on this machine.
    """

    document: Tree
    data: Tree
    source: str
    space: Space
    objective: Objective = DEFAULT_OBJECTIVE
    folds: int = 3
    latency_ms: float | None = None
    command: str = ""
    config: ExperimentConfig = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", self.configure({}))
        if self.config.data.inner:
            raise InputError(f"data.inner: is set by the search itself ({self.source})")
        InnerFold(fold=0, folds=self.folds)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Settings that are probably not meant, though they can be used."""
        if self.config.calibration.share is not None:
            return self.config.caveats
        return (
            *self.config.caveats,
            "calibration.crossfit: the fit split is all of the training items here, so the search "
            "reads what cross-fitting certifies on: with calibration.holdout it would not",
        )

    def written(self, settings: Mapping[str, Any]) -> Tree:
        """Return the experiment with ``settings`` (by dotted key) on top, without defaults."""
        document = self.document
        for key, value in settings.items():
            document = merge(document, nest(key, value))
        return document

    def configure(self, settings: Mapping[str, Any]) -> ExperimentConfig:
        """Return the same, validated.

        Raises:
            InputError: settings that can't be had together.
        """
        return validate_experiment(merge(self.written(settings), {"data": self.data}), self.source)

    def in_folds(self, config: ExperimentConfig, trial: int) -> tuple[ExperimentConfig, ...]:
        """Return the runs of a trial: each learns from the other inner folds of ``fit``."""
        return tuple(
            configure_inner_fold(config, fold, self.folds).model_copy(
                update={"name": f"{self.config.name}-trial-{trial:04}-fold-{fold}"}
            )
            for fold in range(self.folds)
        )

    def made_of(self, fingerprint: str) -> Tree:
        """Return all that makes it another search, ``fingerprint`` being that of the data."""
        experiment = self.config.model_dump(mode="json")
        del experiment["name"], experiment["hypothesis"], experiment["data"]["root"]
        for key in NOT_IDENTITY:
            del experiment["training"][key]
        return {
            "experiment": experiment,
            "space": self.space.to_json(),
            "objective": self.objective.to_json(),
            "folds": self.folds,
            "latency": self.latency_ms,
            "images, labels and fixes": fingerprint[:12],
            "training version": TRAINING_VERSION,
        }


def require_same_search(folder: Path, found: Tree, wanted: Tree) -> None:
    """Refuse to continue a search that was started as another one.

    Raises:
        InputError: it was; the message names what differs and the ways on.
    """
    differences = list(_differences(found, wanted))
    if differences:
        raise InputError(
            f"{folder}: holds another search ({'; '.join(differences)}), which was left as it is: "
            "choose another name (name=OTHER) or --store, or repeat the command that it began with"
        )


def _differences(found: Tree, wanted: Tree) -> Iterator[str]:
    for key, before, now in changes(found, wanted):
        yield f"{key.removeprefix('experiment.')}: it has {before}, now {now}"
