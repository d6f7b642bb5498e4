"""The verdict of a study: experiments x criteria, comparisons, one recommendation.

It is read from the files of finished runs alone, so it can be redone at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drupe.errors import InputError
from drupe.evaluation.operating_point import OperatingPoint
from drupe.evaluation.verdict import Judged
from drupe.study.conditions import Decision, decisions_made
from drupe.study.journal import Outcome
from drupe.study.judging import Evidence, judge, judge_recall, latency_of
from drupe.study.measured import (
    ComparisonFigures,
    ExperimentFigures,
    Measured,
    compare_planned,
    measure,
)
from drupe.study.plan import plan, run_name
from drupe.study.protocol import Deviation
from drupe.study.recommendation import Candidate, Recommendation, recommend
from drupe.study.spec import IMPORTED, Experiment, PlannedComparison
from drupe.study.work import Work


@dataclass(frozen=True)
class ExperimentVerdict:
    """What became of one experiment.

    ``state``: done, partly done, failed, skipped or missing; ``runs`` are the finished ones.
    ``point`` is where its run would operate as the only model there is, which its criteria are
    about; ``joint`` as the one chosen from all that the study trains, which a recommendation takes.
    Both are None for a comparison, and where that can't be said.
    """

    experiment: Experiment
    state: str
    reason: str
    runs: tuple[Path, ...]
    figures: ExperimentFigures | None
    point: OperatingPoint | None
    judged: tuple[Judged, ...]
    export: Mapping[str, Any] | None
    bench: Mapping[str, Any] | None
    note: str = ""
    deployed: Path | None = None
    """The first seed's run; no other takes its place."""
    joint: OperatingPoint | None = None

    def to_json(self, root: Path) -> dict[str, Any]:
        """Return the document of this experiment; folders relative to ``root``."""
        runs = [os.path.relpath(folder, root) for folder in self.runs]
        figures = self.figures.to_json() if self.figures else {}
        figures.pop("seeds", None)
        certificate = self.point.certificate if self.point else None
        joint = self.joint.certificate if self.joint else None
        test = self.point.test if self.point else None
        confidence = self.point.request.confidence if self.point else 0.95
        return {
            "id": self.experiment.id,
            "title": self.experiment.title,
            "hypothesis": self.experiment.hypothesis,
            "kind": self.experiment.kind,
            "state": self.state,
            "reason": self.reason or None,
            "note": self.note or None,
            "seeds": list(self.figures.seeds) if self.figures else [],
            "runs": runs,
            "deployed": os.path.relpath(self.deployed, root) if self.deployed else None,
            **figures,
            "certificate": certificate.to_json() if certificate else None,
            "joint_certificate": joint.to_json() if joint else None,
            "certified_test": {
                "misses": test.counts.defects_accepted,
                "recall": test.counts.recall(confidence, sides=1).to_json(),
                "clean_yield": test.counts.clean_yield(confidence).to_json(),
            }
            if test
            else None,
            "criteria": [item.to_json() for item in self.judged],
            "export": self.export,
            "bench": _without_samples(self.bench),
        }


def _without_samples(bench: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave each call's milliseconds out: they stand in ``bench.json``."""
    if bench is None:
        return None
    results = [
        {key: value for key, value in one.items() if key != "samples_ms"}
        for one in bench.get("results", [])
    ]
    return {**bench, "results": results}


@dataclass(frozen=True)
class StudyVerdict:
    """Everything a study found. ``failed`` names tasks without a result, with their reasons."""

    study: str
    question: str
    folder: Path
    is_smoke: bool
    measured: Measured
    experiments: tuple[ExperimentVerdict, ...]
    comparisons: tuple[ComparisonFigures, ...]
    not_compared: tuple[PlannedComparison, ...]
    recommendation: Recommendation
    deviations: tuple[Deviation, ...]
    decisions: Mapping[str, Decision]
    failed: tuple[tuple[str, str], ...]
    calibration: str
    candidates: int

    @property
    def passes(self) -> bool:
        """Whether a model passes every criterion."""
        return any(
            item.judged and all(one.verdict == "pass" for one in item.judged)
            for item in self.experiments
            if item.experiment.kind == "training"
        )

    def to_json(self) -> dict[str, Any]:
        """Return ``verdict.json``."""
        return {
            "study": self.study,
            "question": self.question,
            "smoke": self.is_smoke,
            "test": {"images": self.measured.images, "defects": self.measured.defects},
            "confidence": self.measured.confidence,
            "calibration": self.calibration,
            "candidates": self.candidates,
            "experiments": [item.to_json(self.folder) for item in self.experiments],
            "comparisons": [item.to_json() for item in self.comparisons],
            "not_compared": [item.model_dump() for item in self.not_compared],
            "decisions": {name: vars(one) for name, one in self.decisions.items()},
            "recommendation": self._recommendation(),
            "passes": self.passes,
            "deviations": [item.model_dump() for item in self.deviations],
            "failed": [{"run": name, "reason": reason} for name, reason in self.failed],
        }

    def _recommendation(self) -> dict[str, Any]:
        document = self.recommendation.to_json()
        run = self.recommendation.run
        return {**document, "run": os.path.relpath(run, self.folder) if run else None}


def assess(
    work: Work, outcomes: Mapping[str, Outcome], deviations: Sequence[Deviation] = ()
) -> StudyVerdict:
    """Return the verdict on what is finished; ``outcomes`` say what became of the rest.

    They may hold tasks that the study doesn't have (any more).

    Raises:
        InputError: a run's files are damaged.
    """
    spec, runs = work.study.spec, work.finished_runs()
    tasks = [task for task in plan(work.study, work.store) if task.name in outcomes]
    decisions = decisions_made(spec, {task.experiment for task in tasks}, runs)
    measured = measure(runs, spec.confidence)
    baseline = IMPORTED if spec.baseline.checkpoint else spec.baseline.experiment
    stands_for = {spec.baseline.experiment: baseline} if spec.baseline.experiment else {}
    comparisons, not_compared = compare_planned(
        spec.planned, measured, {str(key): str(value) for key, value in stands_for.items()}
    )
    assessor = _Assessor(work, measured, baseline, outcomes, decisions, not_compared)
    experiments = tuple(assessor.assess(item) for item in spec.experiments)
    return StudyVerdict(
        study=spec.study,
        question=spec.question,
        folder=work.folder,
        is_smoke=work.study.is_smoke,
        measured=measured,
        experiments=experiments,
        comparisons=comparisons,
        not_compared=not_compared,
        recommendation=_recommended(experiments, work),
        deviations=tuple(deviations),
        decisions=decisions,
        failed=tuple(
            (task.name, outcomes[task.name].reason)
            for task in tasks
            if outcomes[task.name].state == "failed" and not work.is_done(task)
        ),
        calibration=_calibration(work),
        candidates=work.study.candidates,
    )


def _recommended(experiments: Sequence[ExperimentVerdict], work: Work) -> Recommendation:
    spec, candidates = work.study.spec, []
    for item in experiments:
        if item.experiment.kind != "training" or not item.runs:
            continue
        timing = latency_of(item.bench)
        p50 = timing.get("p50_ms") if timing else None
        run = work.deployed(item.experiment.id)
        candidates.append(Candidate(item.experiment.id, run, item.judged, item.joint, p50))
    return recommend(candidates, spec.baseline, spec.margin, spec.confidence)


def _calibration(work: Work) -> str:
    """Say how thresholds were calibrated, which decides what a certificate is worth."""
    found = {
        f"held-out {100 * config.calibration.holdout:g} %"
        if config.calibration.crossfit is None
        else f"cross-fitted on {config.calibration.crossfit} folds (approximate)"
        for config in work.study.configs.values()
    }
    return " and ".join(sorted(found))


@dataclass(frozen=True)
class _Assessor:
    work: Work
    measured: Measured
    baseline: str | None
    outcomes: Mapping[str, Outcome]
    decisions: Mapping[str, Decision]
    not_compared: Sequence[PlannedComparison]

    def assess(self, item: Experiment) -> ExperimentVerdict:
        if item.kind == "comparison":
            return self._comparison(item)
        if item.kind == "threshold":
            return self._threshold(item)
        return self._training(item)

    def _training(self, item: Experiment) -> ExperimentVerdict:
        tested = self.measured.tested.get(item.id)
        export, bench = (self.work.answer(item.id, kind) for kind in ("export", "bench"))
        point = self._point(item.id, alone=True) if tested else None
        is_baseline = self.baseline in (None, item.id)
        evidence = Evidence(
            tested=tested,
            baseline=None if is_baseline else self.measured.tested.get(str(self.baseline)),
            baseline_name=str(self.baseline),
            point=point,
            export=export,
            bench=bench,
        )
        judged = judge(self.work.study.criteria[item.id], evidence, self.measured)
        state, reason = self._state(item, len(tested.runs) if tested else 0)
        figures = self.measured.experiments.get(item.id)
        collapsed = figures.collapsed if figures else ()
        seeds = f"{'seed' if len(collapsed) == 1 else 'seeds'} {', '.join(map(str, collapsed))}"
        note = f"collapsed to one decision for every item: {seeds}" if collapsed else ""
        runs = tested.runs if tested else ()
        deployed = self.work.deployed(item.id)
        return ExperimentVerdict(
            item,
            state,
            reason,
            runs,
            figures,
            point,
            judged,
            export,
            bench,
            note,
            deployed if deployed in runs else None,
            self._point(item.id, alone=False) if tested else None,
        )

    def _threshold(self, item: Experiment) -> ExperimentVerdict:
        assert item.of is not None
        point = self._point(item.of, alone=True) if item.of in self.measured.tested else None
        required = self.work.study.criteria[item.of].recall
        evidence = Evidence(point=point)
        judged = (
            (judge_recall(required, evidence, self.measured.confidence),)
            if required is not None
            else ()
        )
        runs = self.measured.tested[item.of].runs[:1] if point else ()
        state, reason = ("done", "") if point else ("missing", f"{item.of} has no finished run")
        outcome = self.outcomes.get(item.id)
        if point is None and outcome is not None and outcome.state == "failed":
            state, reason = "failed", outcome.reason
        deployed = runs[0] if runs else None
        return ExperimentVerdict(
            item, state, reason, runs, None, point, judged, None, None, deployed=deployed
        )

    def _comparison(self, item: Experiment) -> ExperimentVerdict:
        not_made = [pair for pair in item.comparisons if pair in self.not_compared]
        whole, none = not not_made, len(not_made) == len(item.comparisons)
        state = "done" if whole else "missing" if none else "partly done"
        names = {name for pair in not_made for name in (pair.a, pair.b)}
        missing = sorted(names - self.measured.tested.keys())
        reason = f"no finished run of {', '.join(missing)}" if missing else ""
        return ExperimentVerdict(item, state, reason, (), None, None, (), None, None)

    def _point(self, experiment: str, *, alone: bool) -> OperatingPoint | None:
        """Return where the run to deploy would operate; None where that can't be said."""
        if self.measured.tested[experiment].runs[0] != self.work.deployed(experiment):
            return None  # the first seed has no finished run: no other takes its place
        try:
            return self.work.point(experiment, alone)
        except InputError:
            return None

    def _state(self, item: Experiment, finished: int) -> tuple[str, str]:
        decision = self.decisions.get(item.id)
        if decision is not None and not decision.runs and not finished:
            return "skipped", decision.reason
        names = [run_name(item.id, seed) for seed in self.work.study.spec.seeds]
        failed = [
            f"{name}: {self.outcomes[name].reason}"
            for name in names
            if name in self.outcomes and self.outcomes[name].state == "failed"
        ]
        if finished == len(names):
            return "done", decision.reason if decision else ""
        state = "partly done" if finished else "failed" if failed else "missing"
        return state, "; ".join(failed)
