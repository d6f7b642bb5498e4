"""What finished runs say about a study: its verdict, read from their files alone.

It can be redone at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from drupe.errors import InputError
from drupe.evaluation.metrics import LIKE_CHANCE
from drupe.evaluation.operating_point import OperatingPoint
from drupe.study.definition.baseline import certified_run, read_seen
from drupe.study.definition.plan import plan, run_name
from drupe.study.definition.protocol import Deviation
from drupe.study.definition.spec import IMPORTED, Experiment, PlannedComparison
from drupe.study.execution.conditions import Decision, decisions_made
from drupe.study.execution.journal import Outcome
from drupe.study.execution.work import Work
from drupe.study.verdict.criteria import Evidence, judge, judge_recall, latency_of
from drupe.study.verdict.document import NOT_JUDGED, ExperimentVerdict, StudyVerdict
from drupe.study.verdict.figures import ExperimentFigures, Measured, compare_planned, measure
from drupe.study.verdict.recommendation import Candidate, Recommendation, recommend

COLLAPSED = "collapsed to one decision for every item"


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
    comparisons, not_compared = compare_planned(spec.planned, measured)
    assessor = _Assessor(work, measured, outcomes, decisions, not_compared)
    experiments = tuple(assessor.assess(item) for item in spec.experiments)
    if spec.baseline.checkpoint:
        experiments = (assessor.imported(), *experiments)
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
        if item.kind != "training" or not item.runs:
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
        baseline = self.work.study.spec.baseline.id
        evidence = Evidence(
            tested=tested,
            baseline=None if baseline == item.id else self.measured.tested.get(str(baseline)),
            baseline_name=str(baseline),
            point=point,
            export=export,
            bench=bench,
        )
        judged = judge(self.work.study.criteria[item.id], evidence, self.measured)
        state, reason = self._state(item, len(tested.runs) if tested else 0)
        figures = self.measured.experiments.get(item.id)
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
            _note(figures),
            deployed if deployed in runs else None,
            self._point(item.id, alone=False) if tested else None,
        )

    def imported(self) -> ExperimentVerdict:
        """Return the row of the baseline from elsewhere: figures and caveats, no criteria."""
        baseline = self.work.study.spec.baseline
        assert baseline.checkpoint is not None
        item = Experiment(id=IMPORTED, title=baseline.name or baseline.checkpoint.file.name)
        tested = self.measured.tested.get(IMPORTED)
        if tested is None:
            failed = self.outcomes.get(IMPORTED, Outcome("waiting"))
            state = "failed" if failed.state == "failed" else "missing"
            nothing = ExperimentVerdict(item, state, failed.reason, (), None, None, (), None, None)
            return replace(nothing, caveats=())
        seen = read_seen(tested.runs[0])
        assert seen is not None  # it would not count as finished
        figures = self.measured.experiments[IMPORTED]
        caveats = list(seen.caveats)
        if seen.in_sample:
            caveats.append(f"nothing can be certified on its calibration: {seen.in_sample}")
        if figures.auroc.mean < LIKE_CHANCE:
            caveats.append(
                f"AUROC {figures.auroc.mean:.3f}: it ranks defects below clean items; are "
                "baseline.checkpoint.classes and input.range what it was trained with?"
            )
        return ExperimentVerdict(
            item,
            "done",
            NOT_JUDGED,
            tested.runs,
            figures,
            self._point(IMPORTED, alone=True),
            (),
            None,
            None,
            COLLAPSED if figures.collapsed else "",
            tested.runs[0],
            caveats=tuple(caveats),
        )

    def _threshold(self, item: Experiment) -> ExperimentVerdict:
        assert item.of is not None
        of, why = certified_run(self.work.study, item, self.work.folder)
        point = self._point(of, alone=True) if of in self.measured.tested else None
        required = self.work.study.criteria[item.of].recall
        evidence = Evidence(point=point)
        judged = (
            (judge_recall(required, evidence, self.measured.confidence),)
            if required is not None
            else ()
        )
        runs = self.measured.tested[of].runs[:1] if point else ()
        state, reason = ("done", why) if point else ("missing", f"{of} has no finished run")
        outcome = self.outcomes.get(item.id)
        if point is None and outcome is not None and outcome.state == "failed":
            state, reason = "failed", outcome.reason
        deployed = runs[0] if runs else None
        return ExperimentVerdict(
            item, state, reason, runs, None, point, judged, None, None, deployed=deployed
        )

    def _comparison(self, item: Experiment) -> ExperimentVerdict:
        planned = self.work.study.spec.compared_by(item)
        not_made = [pair for pair in planned if pair in self.not_compared]
        whole, none = not not_made, len(not_made) == len(planned)
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


def _note(figures: ExperimentFigures | None) -> str:
    """Say which seeds collapsed, if any did."""
    collapsed = figures.collapsed if figures else ()
    seeds = f"{'seed' if len(collapsed) == 1 else 'seeds'} {', '.join(map(str, collapsed))}"
    return f"{COLLAPSED}: {seeds}" if collapsed else ""
