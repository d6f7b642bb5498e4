"""The origin of the figures: versions, hashes, hardware, time spent, commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from drupe.reporting.study_files import StudyFiles, StudyRun


@dataclass(frozen=True)
class RunOrigin:
    """One run's hashes and times; ``seconds`` of training and judging, None where unknown."""

    name: str
    key: str
    identity: str
    model_hash: str
    device: str
    finished: str
    seconds: float | None


@dataclass(frozen=True)
class Provenance:
    """The section. ``versions`` and ``hosts`` list every combination that any run had."""

    data_fingerprint: str
    training_version: int
    versions: tuple[tuple[str, str], ...]
    hosts: tuple[str, ...]
    runs: tuple[RunOrigin, ...]
    commands: tuple[str, ...]
    protocol: str | None

    @property
    def seconds(self) -> float:
        """Time spent in all runs together."""
        return sum(run.seconds or 0.0 for run in self.runs)


Words = Sequence[str]


def study_commands(
    study_argument: str, overrides: Sequence[str], data: str, store: str
) -> tuple[Words, ...]:
    """Return what makes a study's report again, from the audit on."""
    common = [study_argument, *overrides, "--data", data, "--store", store]
    return (
        ["data", "audit", data, "--store", store],
        ["study", "run", *common],
        ["study", "report", *common],
    )


def report_commands(targets: Sequence[str], data: str, store: str) -> tuple[Words, ...]:
    """Return what makes the report of runs, or of a study's folder, again."""
    return (
        ["data", "audit", data, "--store", store],
        ["report", *targets, "--data", data, "--store", store],
    )


def provenance(study: StudyFiles, commands: Sequence[Words]) -> Provenance:
    """Collect the section; ``commands`` make the report again."""
    first = study.runs[0].record
    names = dict.fromkeys(name for run in study.runs for name in run.record.versions)
    return Provenance(
        data_fingerprint=first.data.fingerprint,
        training_version=first.training_version,
        versions=tuple(
            (name, _joined(run.record.versions.get(name, "unknown") for run in study.runs))
            for name in names
        ),
        hosts=tuple(dict.fromkeys(_host(run) for run in study.runs)),
        runs=tuple(_origin(run) for run in study.runs),
        commands=tuple(shlex.join(["drupe", *words]) for words in commands),
        protocol=json.dumps(study.protocol, indent=2, ensure_ascii=False)
        if study.protocol
        else None,
    )


def _joined(values: object) -> str:
    return ", ".join(dict.fromkeys(values))  # type: ignore[call-overload]


def _host(run: StudyRun) -> str:
    host = run.record.host
    words = [host.get("name"), host.get("system"), host.get("machine")]
    return ", ".join([*filter(None, words), f"device {run.record.device}"])


def _origin(run: StudyRun) -> RunOrigin:
    record = run.record
    spent = [record.train_seconds, record.judge_seconds]
    known = [seconds for seconds in spent if seconds is not None]
    return RunOrigin(
        name=run.name,
        key=run.key,
        identity=record.identity,
        model_hash=run.model.measured_on.graph,
        device=record.device,
        finished=record.finished or "",
        seconds=sum(known) if known else None,
    )
