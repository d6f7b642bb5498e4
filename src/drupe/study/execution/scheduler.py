"""Runs a graph of tasks: what is ready starts, what failed takes along what needed it.

Lanes: training runs and CPU work overlap; an ``exclusive`` task runs when nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drupe.errors import InputError
from drupe.study.definition.plan import Task
from drupe.study.execution.conditions import NOT_RUN, ConditionDecision, decide
from drupe.study.execution.executor import Ended, Executor
from drupe.study.execution.journal import Journal, Outcome
from drupe.study.execution.work import Work, last_lines

WAIT_SECONDS = 0.5
LOST_TRIES = 5
"""Lost machines per task: that is nobody's fault, but can't go on for ever."""

Watch = Callable[[dict[str, Outcome]], None]
"""Called after each change, and twice a second, with what became of each task so far."""


@dataclass
class Scheduler:
    """Brings every task to an end: done, failed or skipped.

    ``outcomes`` and ``decisions`` (by experiment) say how.
    """

    tasks: Sequence[Task]
    work: Work
    executor: Executor
    journal: Journal
    watch: Watch
    outcomes: dict[str, Outcome] = field(init=False)
    decisions: dict[str, ConditionDecision] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)
    _losses: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outcomes = {task.name: Outcome("waiting") for task in self.tasks}

    def run(self) -> dict[str, Outcome]:
        """Run everything; on Ctrl-C end what runs, say so in the journal, and let it through."""
        try:
            while not self._is_settled:
                self._advance()
                for ended in self.executor.ended(WAIT_SECONDS):
                    self._finish(ended)
                self.watch(self.outcomes)
        except BaseException:
            running = self._running()
            self.executor.stop()
            for task in running:
                self._set(task, Outcome("interrupted", "the study was stopped"))
            raise
        return self.outcomes

    @property
    def _is_settled(self) -> bool:
        return all(outcome.is_settled for outcome in self.outcomes.values())

    def _advance(self) -> None:
        """Settle or start every waiting task that can be, the first in order first."""
        waiting = [task for task in self.tasks if self.outcomes[task.name].state == "waiting"]
        while changed := next((task for task in waiting if self._try(task)), None):
            waiting.remove(changed)
            self.watch(self.outcomes)

    def _try(self, task: Task) -> bool:
        """Settle or start ``task``, unless it has to wait; return whether it had not."""
        if task.condition is not None and not self._is_decided(task):
            return False
        if task.condition is not None and not self.decisions[task.experiment].runs:
            self._set(task, Outcome("skipped", self.decisions[task.experiment].reason))
            return True
        if missing := self._missing_need(task):
            self._set(task, Outcome("skipped", missing))
            return True
        if not all(self.outcomes[name].is_done for name in task.needs):
            return False
        if outcome := self.work.outcome_without_job(task):
            self._set(task, outcome)
            return True
        return self._start(task)

    def _missing_need(self, task: Task) -> str:
        for name in task.needs:
            outcome = self.outcomes[name]
            if outcome.state == "skipped" and outcome.reason.startswith(NOT_RUN):
                return f"{NOT_RUN} {name} is not"
            if outcome.state in ("failed", "skipped"):
                return f"{name} has no result"
        return ""

    def _is_decided(self, task: Task) -> bool:
        if task.experiment in self.decisions:
            return True
        condition, spec = task.condition, self.work.study.spec
        assert condition is not None
        waiting = any(
            other.kind == "train"
            and other.experiment in condition.none_of
            and not self.outcomes[other.name].is_settled
            for other in self.tasks
        )
        if waiting:
            return False
        required = spec.criteria.accuracy
        assert required is not None  # the specification has been checked
        self.decisions[task.experiment] = decide(condition, required, self.work.finished_runs())
        return True

    def _running(self) -> list[Task]:
        return [task for task in self.tasks if self.outcomes[task.name].state == "running"]

    def _start(self, task: Task) -> bool:
        running = self._running()
        if any(other.lane == "exclusive" for other in running):
            return False
        if task.lane == "exclusive" and (running or self._others_can_start(task)):
            return False
        if sum(other.lane == task.lane for other in running) >= self.executor.slots(task.lane):
            return False
        self._tries[task.name] = self._tries.get(task.name, 0) + 1
        moved = self.work.supersede(task)
        reason = f"changed: what it was before lies in {moved}" if moved else ""
        self._set(task, Outcome("running", reason))
        self.executor.start(self.work.job(task))
        return True

    def _others_can_start(self, task: Task) -> bool:
        """Return whether work of other lanes is to come: it would wait for an exclusive task."""
        return any(
            other.lane != "exclusive" and not self.outcomes[other.name].is_settled
            for other in self.tasks
            if other.name != task.name
        )

    def _finish(self, ended: Ended) -> None:
        task = ended.task
        if ended.exit_code == 0:
            try:
                outcome = self.work.accept(task)
            except InputError as error:
                outcome = Outcome("failed", str(error))
            self._set(task, outcome)
            return
        if ended.lost and self._losses.get(task.name, 0) < LOST_TRIES:
            self._losses[task.name] = self._losses.get(task.name, 0) + 1
            self._tries[task.name] -= 1
            self._set(task, Outcome("waiting", f"{ended.reason}: to be run elsewhere"))
            return
        if ended.was_killed and self._tries[task.name] <= self.work.study.spec.retries:
            self._set(task, Outcome("waiting", f"{ended.reason}: to be tried again"))
            return
        said = last_lines(self.work.log(task))
        self._set(task, Outcome("failed", f"{ended.reason}: {said}" if said else ended.reason))

    def _set(self, task: Task, outcome: Outcome) -> None:
        self.outcomes[task.name] = outcome
        self.journal.write(task.name, outcome)
