"""Writes configuration.md from the typed configuration, so that the two can't drift.

python docs/make_configuration.py
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from drupe.configuration import interval
from drupe.line.station.configuration import LineConfig, SourceSettings, TimingSettings
from drupe.study.definition.spec import (
    Baseline,
    Checkpoint,
    Condition,
    Criteria,
    Experiment,
    PlannedComparison,
    StudySpec,
)
from drupe.training.config import ExperimentConfig
from drupe.training.tracking.settings import Tracking

UNBOUNDED = interval([])
TARGET = Path(__file__).with_name("configuration.md")

HEAD = """# Every key of an experiment

Written by `docs/make_configuration.py` from the typed configuration; do not edit.

A key that is not in this list is an error. On the command line a key is given as
`training.epochs=3`; in a study it stands under `defaults` or an experiment's `config`.
"""


STUDY = """# Every key of a study

In `study.yaml` or a study's only file. On the command line `seeds=[1,2]` or `criteria.recall=0.98`.
"""

STUDY_SECTIONS: dict[str, type[BaseModel]] = {
    "criteria.": Criteria,
    "baseline.": Baseline,
    "baseline.checkpoint.": Checkpoint,
    "tracking.": Tracking,
    "experiments[].": Experiment,
    "experiments[].when.": Condition,
    "comparisons[].": PlannedComparison,
}


LINE = """# Every key of a line

In the file that `drupe run` is given: [from camera to PLC](run_line.md). A source is one of its
kinds, and so is each sink.
"""


def render() -> str:
    """Return the document: a table per section."""
    parts = [HEAD, _table("Top level", "", ExperimentConfig)]
    for name, field in ExperimentConfig.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            parts.append(_table(f"`{name}`", f"{name}.", section))
    parts += [STUDY, _table("The study", "", StudySpec)]
    for prefix, section in STUDY_SECTIONS.items():
        parts.append(_table(f"`{prefix.rstrip('.')}`", prefix, section))
    parts += [LINE, _table("The line", "", LineConfig)]
    parts.append(_table("Its source", "source.", SourceSettings))
    parts.append(_table("Its timing", "timing.", TimingSettings))
    return "\n".join(parts)


def _table(title: str, prefix: str, section: type[BaseModel]) -> str:
    rows = [f"## {title}", ""]
    if prefix and section.__doc__:
        rows += [section.__doc__.splitlines()[0], ""]
    rows += ["| key | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*rows, *_rows(prefix, section), ""])


def _rows(prefix: str, section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            continue
        if f"{prefix}{name}." in STUDY_SECTIONS or f"{prefix}{name}[]." in STUDY_SECTIONS:
            continue
        default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
        cells = [f"`{prefix}{name}`", default, _allowed(field), field.description or ""]
        yield f"| {' | '.join(cells)} |"
        for part in typing.get_args(field.annotation):
            is_model = isinstance(part, type) and issubclass(part, BaseModel)
            if is_model and part not in STUDY_SECTIONS.values():
                yield from _rows(f"{prefix}{name}.", part)


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _allowed(field: FieldInfo) -> str:
    annotation = field.annotation
    choices = [str(choice) for choice in _choices(annotation)]
    bounds = interval([*field.metadata, *_metadata(annotation)])
    return ", ".join(choices + ([] if bounds == UNBOUNDED else [bounds]))


def _choices(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [choice for part in typing.get_args(annotation) for choice in _choices(part)]


def _metadata(annotation: Any) -> list[Any]:
    """Constraints of ``Annotated`` parts of a union, each possibly inside a ``Field``."""
    found = []
    for part in typing.get_args(annotation):
        if isinstance(part, FieldInfo):
            found += part.metadata
        found += _metadata(part)
    return found


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
