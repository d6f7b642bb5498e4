"""Ensembles of a study: what their members have to share, and the command that makes one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from drupe.study.definition.spec import Experiment, StudySpec
from drupe.training.config import ExperimentConfig


def disagreements(
    spec: StudySpec, configs: Mapping[str, ExperimentConfig], source: Path
) -> Iterator[str]:
    """Yield what keeps experiments from being averaged, before any of them is trained.

    Only what every run of the study would find out later: that data and split differ, or that
    there is no calibration of which no member has learnt.
    """
    for item in spec.ensembles:
        where = f"({source}, experiment {item.id})"
        yield from (f"{item.id}.of: {text} {where}" for text in _reasons(item, configs))


def _reasons(item: Experiment, configs: Mapping[str, ExperimentConfig]) -> Iterator[str]:
    members = {name: configs[name] for name in item.subjects}
    for name, config in members.items():
        if config.calibration.share is None:
            yield (
                f"can't average {name}: calibration.crossfit lets it learn from every training "
                "item, so nothing is left to certify an ensemble on"
            )
    first, *others = members
    for name in others:
        old, new = _shared(members[first]), _shared(members[name])
        if differing := [key for key in old if old[key] != new[key]]:
            yield (
                f"its members must share data, split and input.size, but {name} differs from "
                f"{first} in {', '.join(f'{key} ({new[key]}, {old[key]})' for key in differing)}"
            )


def _shared(config: ExperimentConfig) -> dict[str, Any]:
    """Return the keys on which images, and which of them are calibration and test, depend."""
    data = config.data.model_dump()
    return {
        **{
            f"input.{key}": getattr(config.input, key)
            for key in ("size", "channels", "white_level")
        },
        **{f"data.{key}": value for key, value in data.items()},
        "calibration.holdout": config.calibration.holdout,
    }


def ensemble_words(name: str, members: tuple[Path, ...], root: Path | None, run: Path) -> list[str]:
    """Return the command that makes the ensemble ``name`` of ``members`` as ``run``."""
    data = ["--data", str(root)] if root else []
    return ["ensemble", *map(str, members), "--name", name, *data, "--out", str(run)]
