"""The verdict on a study, read from the files of its finished runs alone.

It can be redone at any time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drupe.configuration import Model, validate
from drupe.deployment.answers import BenchAnswer, ExportAnswer
from drupe.errors import InputError
from drupe.evaluation.metrics import LIKE_CHANCE
from drupe.evaluation.operating_point import OperatingPoint
from drupe.runs.layout import seed_folder
from drupe.study.definition.baseline import certified_run, read_seen
from drupe.study.definition.plan import ensemble_name, plan, run_name
from drupe.study.definition.protocol import Deviation
from drupe.study.definition.spec import IMPORTED, Experiment, PlannedComparison
from drupe.study.execution.conditions import ConditionDecision, decisions_made
from drupe.study.execution.journal import Outcome
from drupe.study.execution.work import Work
from drupe.study.verdict.document import (
    CertifiedTest,
    ExperimentFigures,
    ExperimentVerdict,
    FailedRun,
    StudyVerdict,
    TestSize,
)
from drupe.study.verdict.evidence import ExperimentEvidence, judge, judge_recall
from drupe.study.verdict.figures import Measured, TestedExperiment, compare_planned, measure
from drupe.study.verdict.recommendation import RecommendationCandidate, recommend

NOT_JUDGED = "not judged: the baseline"
MODELS = ("training", "ensemble")
"""The kinds of experiments that bring forth a model."""
COLLAPSED = "collapsed to one decision for every item"


def assess(
    work: Work, outcomes: Mapping[str, Outcome], deviations: Sequence[Deviation] = ()
) -> StudyVerdict:
    """Return the verdict on what is finished; ``outcomes`` say what became of the rest.

    They may hold tasks that the study doesn't have (any more).

    Raises:
        InputError: files of a run, an export or a bench are damaged.
    """
    spec, runs = work.study.spec, work.finished_runs()
    tasks = [task for task in plan(work.study, work.store) if task.name in outcomes]
    decisions = decisions_made(spec, {task.experiment for task in tasks}, runs)
    measured = measure(runs, spec.confidence)
    comparisons, not_compared = compare_planned(spec.planned, measured)
    assessor = _Assessor(work, measured, outcomes, decisions, not_compared)
    joint = {item.id: assessor.point(item.id, alone=False) for item in spec.models}
    experiments = [assessor.assess(item, joint.get(item.id)) for item in spec.experiments]
    candidates = [
        RecommendationCandidate(
            name=item.id,
            run=item.deployed,
            criteria=item.criteria,
            point=joint[item.id],
            p50_ms=item.bench.first.p50_ms if item.bench and item.bench.first else None,
            alone=assessor.point(item.id, alone=True),
        )
        for item in experiments
        if item.kind in MODELS and item.runs
    ]
    imported = [assessor.imported()] if spec.baseline.checkpoint else []
    return StudyVerdict(
        study=spec.study,
        question=spec.question,
        smoke=work.study.is_smoke,
        test=TestSize(images=measured.images, defects=measured.defects),
        confidence=measured.confidence,
        calibration=_calibration(work),
        candidates=work.study.candidates,
        experiments=(*imported, *experiments),
        comparisons=comparisons,
        not_compared=not_compared,
        decisions=decisions,
        recommendation=recommend(candidates, spec.baseline, spec.margin, spec.confidence),
        passes=any(_passes(item) for item in experiments),
        deviations=tuple(deviations),
        failed=tuple(
            FailedRun(run=task.name, reason=outcomes[task.name].reason)
            for task in tasks
            if outcomes[task.name].state == "failed" and not work.is_done(task)
        ),
    )


def _calibration(work: Work) -> str:
    """Say how thresholds were calibrated."""
    found = {config.calibration.in_words for config in work.study.configs.values()}
    return " and ".join(sorted(found))


def _passes(item: ExperimentVerdict) -> bool:
    """Return whether a model passes every criterion, of which there is at least one."""
    is_judged = item.kind in MODELS and bool(item.criteria)
    return is_judged and all(one.verdict == "pass" for one in item.criteria)


@dataclass(frozen=True)
class _Assessor:
    work: Work
    measured: Measured
    outcomes: Mapping[str, Outcome]
    decisions: Mapping[str, ConditionDecision]
    not_compared: Sequence[PlannedComparison]

    def assess(self, item: Experiment, joint: OperatingPoint | None) -> ExperimentVerdict:
        """Return the row of an experiment; ``joint``: its point as the one chosen from all."""
        if item.kind == "comparison":
            return self._comparison(item)
        if item.kind == "threshold":
            return self._threshold(item)
        return self._model(item, joint)

    def _model(self, item: Experiment, joint: OperatingPoint | None) -> ExperimentVerdict:
        tested = self.measured.tested.get(item.id, TestedExperiment())
        point = self.point(item.id, alone=True)
        export = self._answer(ExportAnswer, item.id, "export")
        bench = self._answer(BenchAnswer, item.id, "bench")
        baseline = self.work.study.spec.baseline.id
        evidence = ExperimentEvidence(
            tested=self.measured.tested.get(item.id),
            baseline=None if baseline == item.id else self.measured.tested.get(str(baseline)),
            baseline_name=str(baseline),
            point=point,
            export=export,
            bench=bench,
        )
        state, reason = self._state(item, len(tested.runs))
        figures = self.measured.experiments.get(item.id)
        deployed = self.work.deployed(item.id)
        return ExperimentVerdict(
            id=item.id,
            title=item.title,
            hypothesis=item.hypothesis,
            kind=item.kind,
            state=state,
            reason=reason or None,
            note=_note(figures, tested),
            caveats=(tested.doubt,) if tested.doubt else (),
            seeds=tested.seeds if tested.has_seeds else (),
            members=self._members(item),
            runs=self._names(tested.runs),
            deployed=self._name(deployed) if deployed in tested.runs else None,
            figures=figures,
            certificate=point.certificate if point else None,
            joint_certificate=joint.certificate if joint else None,
            certified_test=_certified_test(point),
            criteria=judge(self.work.study.criteria[item.id], evidence, self.measured),
            export=export,
            bench=bench,
            refusal=_refusal(point),
        )

    def imported(self) -> ExperimentVerdict:
        """Return the row of the baseline from elsewhere: figures and caveats, no criteria."""
        baseline = self.work.study.spec.baseline
        assert baseline.checkpoint is not None
        title = baseline.name or baseline.checkpoint.file.name
        tested = self.measured.tested.get(IMPORTED)
        if tested is None:
            failed = self.outcomes.get(IMPORTED, Outcome("waiting"))
            return ExperimentVerdict(
                id=IMPORTED,
                title=title,
                kind="imported",
                state="failed" if failed.state == "failed" else "missing",
                reason=failed.reason or None,
            )
        figures = self.measured.experiments[IMPORTED]
        point = self.point(IMPORTED, alone=True)
        return ExperimentVerdict(
            id=IMPORTED,
            title=title,
            kind="imported",
            state="done",
            reason=NOT_JUDGED,
            note=COLLAPSED if figures.collapsed else None,
            caveats=_caveats(tested.runs[0], figures),
            runs=self._names(tested.runs),
            deployed=self._name(tested.runs[0]),
            figures=figures,
            certificate=point.certificate if point else None,
            certified_test=_certified_test(point),
            refusal=_refusal(point),
        )

    def _threshold(self, item: Experiment) -> ExperimentVerdict:
        of, why = certified_run(self.work.study, item, self.work.folder)
        point = self.point(of, alone=True)
        required = self.work.study.criteria[item.subjects[0]].recall
        evidence = ExperimentEvidence(point=point)
        criteria = (
            (judge_recall(required, evidence, self.measured.confidence),)
            if required is not None
            else ()
        )
        runs = self.measured.tested[of].runs[:1] if point else ()
        state, reason = ("done", why) if point else ("missing", f"{of} has no finished run")
        outcome = self.outcomes.get(item.id)
        if point is None and outcome is not None and outcome.state == "failed":
            state, reason = "failed", outcome.reason
        return ExperimentVerdict(
            id=item.id,
            title=item.title,
            hypothesis=item.hypothesis,
            kind="threshold",
            state=state,
            reason=reason or None,
            runs=self._names(runs),
            deployed=self._name(runs[0]) if runs else None,
            certificate=point.certificate if point else None,
            certified_test=_certified_test(point),
            criteria=criteria,
            refusal=_refusal(point),
        )

    def _comparison(self, item: Experiment) -> ExperimentVerdict:
        planned = self.work.study.spec.compared_by(item)
        not_made = [pair for pair in planned if pair in self.not_compared]
        whole, none = not not_made, len(not_made) == len(planned)
        names = {name for pair in not_made for name in (pair.a, pair.b)}
        missing = sorted(names - self.measured.tested.keys())
        return ExperimentVerdict(
            id=item.id,
            title=item.title,
            hypothesis=item.hypothesis,
            kind="comparison",
            state="done" if whole else "missing" if none else "partly done",
            reason=f"no finished run of {', '.join(missing)}" if missing else None,
        )

    def point(self, experiment: str, *, alone: bool) -> OperatingPoint | None:
        """Return where the run to deploy would operate; None where that can't be said.

        ``alone``: as the only model there is, else as the one chosen from all.
        """
        tested = self.measured.tested.get(experiment)
        if tested is None or tested.runs[0] != self.work.deployed(experiment):
            return None  # the first seed has no finished run: no other takes its place
        try:
            return self.work.point(experiment, alone)
        except InputError:
            return None

    def _answer(self, model: type[Model], experiment: str, kind: str) -> Model | None:
        answer = self.work.answer(experiment, kind)
        source = str(self.work.folder / experiment / f"{kind}.json")
        return None if answer is None else validate(model, answer, source)

    def _members(self, item: Experiment) -> tuple[str, ...]:
        """Return the folders of the runs that an ensemble averages, relative to the study's."""
        if item.kind != "ensemble":
            return ()
        folder, members = self.work.folder, self.work.study.spec.members(item)
        return self._names([seed_folder(folder / name, seed) for name, seed in members])

    def _name(self, run: Path) -> str:
        return os.path.relpath(run, self.work.folder)

    def _names(self, runs: Sequence[Path]) -> tuple[str, ...]:
        return tuple(map(self._name, runs))

    def _state(self, item: Experiment, finished: int) -> tuple[str, str]:
        decision = self.decisions.get(item.id)
        if decision is not None and not decision.runs and not finished:
            return "skipped", decision.reason
        names = [run_name(item.id, seed) for seed in self.work.study.spec.seeds]
        if item.kind == "ensemble":
            names = [ensemble_name(item.id)]
        failed = [
            f"{name}: {self.outcomes[name].reason}"
            for name in names
            if name in self.outcomes and self.outcomes[name].state == "failed"
        ]
        if finished == len(names):
            reasons = [decision.reason] if decision else []
            reasons += [f"the mean of {', '.join(self._members(item))}"] if item.subjects else []
            return "done", "; ".join(reasons)
        # Of what trains, a condition alone leaves anything out; of an ensemble, a missing member.
        skipped = [
            self.outcomes[name].reason
            for name in names
            if name in self.outcomes and self.outcomes[name].state == "skipped"
        ]
        rest = "failed" if failed else "skipped" if skipped else "missing"
        return "partly done" if finished else rest, "; ".join(failed or skipped)


def _caveats(run: Path, figures: ExperimentFigures) -> tuple[str, ...]:
    """Say what makes an imported run's figures optimistic, and its calibration worthless."""
    seen = read_seen(run)
    assert seen is not None  # it would not count as finished
    caveats = list(seen.caveats)
    if seen.in_sample:
        caveats.append(f"nothing can be certified on its calibration: {seen.in_sample}")
    if figures.auroc.mean < LIKE_CHANCE:
        caveats.append(
            f"AUROC {figures.auroc.mean:.3f}: it ranks defects below clean items; are "
            "baseline.checkpoint.classes and input.range what it was trained with?"
        )
    return tuple(caveats)


def _certified_test(point: OperatingPoint | None) -> CertifiedTest | None:
    if point is None or point.test is None:
        return None
    counts, confidence = point.test.counts, point.request.confidence
    return CertifiedTest(
        misses=counts.defects_accepted,
        recall=counts.recall(confidence, sides=1),
        clean_yield=counts.clean_yield(confidence),
    )


def _refusal(point: OperatingPoint | None) -> str | None:
    return str(point.refusal) if point and point.refusal else None


def _note(figures: ExperimentFigures | None, tested: TestedExperiment) -> str | None:
    """Say which seeds collapsed, if any did."""
    if figures is None or not figures.collapsed:
        return None
    if not tested.has_seeds:
        return COLLAPSED
    seeds = "seed" if len(figures.collapsed) == 1 else "seeds"
    return f"{COLLAPSED}: {seeds} {', '.join(map(str, figures.collapsed))}"
