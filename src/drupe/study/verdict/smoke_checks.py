"""Checks of a smoke test: that everything would run. Its figures mean nothing else."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from drupe.runs.epoch_log import finished_epochs
from drupe.runs.record import read_record
from drupe.study.definition.plan import Task, plan
from drupe.study.execution.conditions import NOT_RUN
from drupe.study.execution.journal import Outcome
from drupe.study.execution.work import Work


@dataclass(frozen=True)
class Check:
    """Something that had to work, whether it did, and the evidence."""

    name: str
    passed: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        return asdict(self)


def smoke_checks(work: Work, outcomes: Mapping[str, Outcome]) -> tuple[Check, ...]:
    """Return the checks of a smoke test that has run, of the experiments that were chosen."""
    study = work.study
    checks = [Check("configurations parsed", True, f"{len(study.spec.experiments)} experiments")]
    chosen = [task for task in plan(study, work.store) if task.name in outcomes]
    trained = dict.fromkeys(task.experiment for task in chosen if task.kind == "train")
    if trained:
        networks = sorted({study.configs[name].model.architecture for name in trained})
        checks.append(_images(work))
        checks.append(
            _all_done("networks built and batches run", chosen, outcomes, "train", networks)
        )
    for name, kind in (
        ("checkpoint imported", "import"),
        ("folds run", "fold"),
        ("ensembles made", "ensemble"),
        ("thresholds certified or refused", "certify"),
        ("graphs exported and gated", "export"),
        ("latency measured", "bench"),
    ):
        if any(task.kind == kind for task in chosen):
            checks.append(_all_done(name, chosen, outcomes, kind))
    return (*checks, *_smoothed(work, trained))


def _images(work: Work) -> Check:
    counts = []
    for task in plan(work.study, work.store):
        record = read_record(task.folder) if task.kind == "train" else None
        if record is not None:
            data = record.data
            counts.append(f"fit {data.fit}, calibration {data.calibration}, test {data.test}")
    detail = "; ".join(sorted(set(counts))) or "no run has counted any"
    return Check("images counted", bool(counts), detail)


def _all_done(
    name: str,
    tasks: Sequence[Task],
    outcomes: Mapping[str, Outcome],
    kind: str,
    subjects: list[str] | None = None,
) -> Check:
    """Check that all tasks of a kind that were to run did."""
    found = {task.name: outcomes[task.name] for task in tasks if task.kind == kind}
    bad = [
        f"{task}: {one.reason}"
        for task, one in found.items()
        if not one.is_done and not (one.state == "skipped" and one.reason.startswith(NOT_RUN))
    ]
    done = sum(one.is_done for one in found.values())
    detail = "; ".join(bad) or ", ".join(subjects or []) or f"{done} tasks"
    return Check(name, not bad, detail)


def _smoothed(work: Work, trained: Container[str]) -> tuple[Check, ...]:
    """Check that smoothing changes the loss, where two experiments differ in nothing else."""
    checks, spec = [], work.study.spec
    # As written: a checkpoint may stand in for what was trained here too.
    of_experiments = (pair for item in spec.experiments for pair in item.comparisons)
    for pair in (*spec.comparisons, *of_experiments):
        if pair.a not in trained or pair.b not in trained:
            continue
        a, b = (work.study.configs[name] for name in (pair.a, pair.b))
        plain = [one.training.model_copy(update={"label_smoothing": 0.0}) for one in (a, b)]
        if plain[0] != plain[1] or a.model != b.model or a.training == b.training:
            continue
        losses = [_first_loss(work, name) for name in (pair.a, pair.b)]
        known = [loss for loss in losses if loss is not None]
        detail = " and ".join(f"{loss:.4f}" for loss in known)
        differ = len(known) == 2 and known[0] != known[1]
        checks.append(Check(f"smoothed loss differs: {pair.a}, {pair.b}", differ, detail))
    return tuple(checks)


def _first_loss(work: Work, experiment: str) -> float | None:
    first = next(finished_epochs(work.deployed(experiment)), None)
    return first.loss if first else None
