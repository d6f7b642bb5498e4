"""The experiment specification as Markdown, from the study itself: it can't drift."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from drupe.evaluation.certificate import joint_confidence, needed_defects
from drupe.reporting.markdown import render
from drupe.study.definition.loading import Study
from drupe.study.definition.spec import Criteria, Experiment

TEMPLATE = "specification.md.j2"
OF_THE_RUN = {"name", "hypothesis", "seed"}


@dataclass(frozen=True)
class ExperimentSheet:
    """One experiment: what is decided in advance. ``settings`` are (key, value) that stand out."""

    experiment: Experiment
    lane: str
    settings: tuple[tuple[str, str], ...]
    criteria: Criteria | None
    condition: str


@dataclass(frozen=True)
class Specification:
    """The content of the template; ``common`` are the settings that all experiments share.

    ``defects`` maps allowed misses to the calibration defects that the required recall takes at
    the joint confidence of ``candidates`` models.
    """

    study: Study
    common: tuple[tuple[str, str], ...]
    sheets: tuple[ExperimentSheet, ...]
    candidates: int
    joint_confidence: float
    defects: tuple[tuple[int, int], ...]


def specification(study: Study) -> Specification:
    """Return the specification of ``study``."""
    flat = {name: dict(_flat(_document(config))) for name, config in study.configs.items()}
    first = next(iter(flat.values()))
    common = {
        key: value
        for key, value in first.items()
        if all(one.get(key) == value for one in flat.values())
    }
    spec = study.spec
    recall = spec.criteria.recall
    joint = joint_confidence(spec.confidence, study.candidates)
    return Specification(
        study=study,
        common=tuple(common.items()),
        sheets=tuple(_sheet(study, item, flat, common) for item in spec.experiments),
        candidates=study.candidates,
        joint_confidence=joint,
        defects=tuple(
            (misses, needed_defects(recall, joint, misses)) for misses in range(3) if recall
        ),
    )


def describe(study: Study) -> str:
    """Return the specification of ``study`` as Markdown."""
    return render(TEMPLATE, page=specification(study))


def _document(config: Any) -> dict[str, Any]:
    document: dict[str, Any] = config.model_dump(mode="json")
    del document["data"]["root"]
    return {key: value for key, value in document.items() if key not in OF_THE_RUN}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, "–" if value is None else f"{value}"


def _sheet(
    study: Study,
    item: Experiment,
    flat: Mapping[str, Mapping[str, str]],
    common: Mapping[str, str],
) -> ExperimentSheet:
    own = flat.get(item.id, {})
    condition = "always"
    if item.when:
        required = f"{100 * (study.spec.criteria.accuracy or 0):g} %"
        condition = (
            f"only if none of {', '.join(item.when.none_of)} reaches {item.when.meet} "
            f"{required} (seed mean, point figure)"
        )
    return ExperimentSheet(
        experiment=item,
        lane=item.lane or ("gpu" if item.kind == "training" else "cpu"),
        settings=tuple((key, value) for key, value in own.items() if key not in common),
        criteria=study.criteria.get(item.id),
        condition=condition,
    )
