"""The protocol of a study: frozen before its test split is first read, compared ever after.

``protocol.lock.json`` holds the specification, the data and the code that a study was started
with. What is changed later stays possible, and is reported as a deviation in every output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, field_validator

from drupe.configuration import changes, validate
from drupe.errors import InputError
from drupe.files import read_json, write_json
from drupe.runs.record import TRAINING_VERSION, library_versions, now, require_same_data
from drupe.study.definition.loading import Study
from drupe.training.config import NOT_IDENTITY

LOCK = "protocol.lock.json"
DEVIATIONS = "deviations.json"


class Protocol(BaseModel):
    """The frozen part. ``spec`` and ``configs`` are the study's, resolved, as JSON."""

    study: str
    frozen: str
    data_fingerprint: str
    spec: dict[str, Any]
    configs: dict[str, dict[str, Any]]
    training_version: int
    versions: dict[str, str]

    @field_validator("spec")
    @classmethod
    def _lists_experiments(cls, spec: dict[str, Any]) -> dict[str, Any]:
        listed = spec.get("experiments")
        is_whole = isinstance(listed, list) and all(
            isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("id", "kind"))
            for one in listed
        )
        if not is_whole:
            raise ValueError("must list experiments, each with its id and kind")
        return spec


class Deviation(BaseModel):
    """Something that differed from the protocol when the study was run again."""

    seen: str
    what: str


def protocol_of(study: Study, data_fingerprint: str) -> Protocol:
    """Return what would be frozen now."""
    spec = study.spec.model_dump(mode="json", exclude={"defaults", "tracking", "retries"})
    for item in spec["experiments"]:
        del item["config"]  # stands resolved in configs
    return Protocol(
        study=study.spec.study,
        frozen=now(),
        data_fingerprint=data_fingerprint,
        spec=spec,
        configs={name: _binding(config) for name, config in study.configs.items()},
        training_version=TRAINING_VERSION,
        versions=library_versions(),
    )


def _binding(config: BaseModel) -> dict[str, Any]:
    """Return what a configuration promises: not where the data lies, nor how it is computed."""
    document = config.model_dump(mode="json")
    del document["data"]["root"]
    for key in NOT_IDENTITY:
        del document["training"][key]
    return document


def read_protocol(folder: Path) -> Protocol | None:
    """Return the protocol frozen in a study's folder, None before that."""
    path = folder / LOCK
    return validate(Protocol, read_json(path), str(path)) if path.exists() else None


def read_deviations(folder: Path) -> list[Deviation]:
    """Return all deviations that were ever seen, oldest first."""
    path = folder / DEVIATIONS
    if not path.exists():
        return []
    document = read_json(path)
    if not isinstance(document, list):
        raise InputError(f"{path}: must be a list of deviations, got {type(document).__name__}")
    return [validate(Deviation, item, str(path)) for item in document]


def freeze(study: Study, folder: Path, data_fingerprint: str) -> list[Deviation]:
    """Freeze the protocol, or compare with the one frozen; return all deviations so far.

    Raises:
        InputError: the folder belongs to a study of other data or of other experiments.
    """
    current, frozen = protocol_of(study, data_fingerprint), read_protocol(folder)
    if frozen is None:
        write_json(folder / LOCK, current.model_dump(mode="json"))
        return []
    require_same_data(
        folder,
        frozen.data_fingerprint,
        data_fingerprint,
        role="continued on the data that the study was started with",
        remedy="; give the study another name, or another --store",
    )
    if not frozen.configs.keys() & current.configs.keys():
        raise InputError(
            f"{folder}: belongs to another study of this name, with the experiments "
            f"{', '.join(frozen.configs)}; give this one another name, or another --store"
        )
    known = read_deviations(folder)
    seen = {item.what for item in known}
    new = [what for what in _differences(frozen, current) if what not in seen]
    if new:
        known += [Deviation(seen=now(), what=what) for what in new]
        write_json(folder / DEVIATIONS, [item.model_dump() for item in known])
    return known


def _differences(frozen: Protocol, current: Protocol) -> Iterator[str]:
    before, after = _candidates(frozen), _candidates(current)
    for name in sorted(before | after):
        if name not in before:
            yield f"{name}: added after the protocol was frozen"
        elif name not in after:
            yield f"{name}: taken out after the protocol was frozen"
        else:
            old, new = (one.configs.get(name, {}) for one in (frozen, current))
            yield from _changed(name, old, new)
    old_spec, new_spec = dict(frozen.spec), dict(current.spec)
    old_items = {item["id"]: item for item in old_spec.pop("experiments")}
    new_items = {item["id"]: item for item in new_spec.pop("experiments")}
    yield from _changed("study", old_spec, new_spec)
    for name in sorted(old_items.keys() & new_items.keys()):
        yield from _changed(name, old_items[name], new_items[name])
    if frozen.training_version != current.training_version:
        yield f"training version: {frozen.training_version} -> {current.training_version}"
    yield from _changed("versions", frozen.versions, current.versions)


def _candidates(protocol: Protocol) -> set[str]:
    """Return the ids of all models from which one is chosen."""
    items = protocol.spec["experiments"]
    return {item["id"] for item in items if item["kind"] == "ensemble"} | protocol.configs.keys()


def _changed(where: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield ``WHERE.key: old -> new`` for each leaf that differs."""
    for key, before, after in changes(old, new, f"{where}."):
        yield f"{key}: {before} -> {after}"
