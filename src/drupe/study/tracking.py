"""A study's finished runs, written down in its trackers as well.

The files in the store stay the record; a tracker gets a copy. A server that is down costs the study
nothing but a warning: what it missed is written when the same study is run again.
"""

from __future__ import annotations

from collections.abc import Sequence

from drupe.study.execution.journal import Outcome
from drupe.study.execution.scheduler import Watch
from drupe.study.run import OnStart, StudyStart
from drupe.training.tracking.following import Courier, Warn
from drupe.training.tracking.tracked_run import RunTracker, TrackedRun


def follow_study(trackers: Sequence[RunTracker], on_start: OnStart, warn: Warn) -> OnStart:
    """Return ``on_start``, with every run that is done written down as well."""

    def followed(start: StudyStart) -> Watch:
        return _FollowingRuns(start, on_start(start), [Courier(one, warn) for one in trackers])

    return followed


class _FollowingRuns:
    """Hands over each run when it is done; at the end, waits until all are written."""

    def __init__(self, start: StudyStart, watch: Watch, couriers: Sequence[Courier]) -> None:
        self.study = start.work.study.spec.study
        self.runs = {task.name: task for task in start.tasks if task.is_run}
        self.watch, self.couriers = watch, list(couriers)

    def __call__(self, outcomes: dict[str, Outcome]) -> None:
        """Pass on what became of each task."""
        self.watch(outcomes)
        for name in [name for name in self.runs if outcomes[name].is_done]:
            task = self.runs.pop(name)
            run = TrackedRun(task.folder, self.study, task.experiment, task.name, task.kind)
            for courier in self.couriers:
                courier.put(("finish", run))
        if all(outcome.is_settled for outcome in outcomes.values()):
            while self.couriers:
                self.couriers.pop().close()
