"""The loop of a search: trials are drawn, their folds run, judged, and stopped or told.

A trial's folds run one after another, so that a bad one can be stopped; several trials run side by
side where the executor has room. Whatever is killed is taken up again: a trial with the settings
that it had, its folds from their checkpoints.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from drupe.errors import DrupeError, InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.files import write_json
from drupe.models.geometry import Geometry
from drupe.progress import Progress, silent
from drupe.runs.layout import RunFolder
from drupe.runs.record import read_record
from drupe.study.definition.plan import Task
from drupe.study.execution.executor import Ended, Executor
from drupe.study.execution.scheduler import LOST_TRIES, WAIT_SECONDS
from drupe.study.execution.work import is_trained, last_lines, training_job
from drupe.training.claim import check_store, exclusive
from drupe.training.config import ExperimentConfig
from drupe.training.preparation import prepare_data
from drupe.tuning.board import Board
from drupe.tuning.folder import TuneFolder
from drupe.tuning.latency import latency_key, measure_latency, slowness
from drupe.tuning.ledger import Ledger, keeping
from drupe.tuning.request import Search
from drupe.tuning.result import Findings, FoldScores, OutcomeName, Tried
from drupe.tuning.space import given_values
from drupe.tuning.winner import write_winner

if TYPE_CHECKING:
    from optuna.trial import Trial

REJECTED_IN_A_ROW = 50
"""Settings that could not even be tried, after which it is no use to go on drawing."""
FAILED_IN_A_ROW = 10
KILLED_TRIES = 1
"""Further tries of a run that was killed by a signal."""


@dataclass(frozen=True)
class Budget:
    """What a search may take: ``trials`` in all, ``seconds`` this time (None: no limit)."""

    trials: int = 30
    seconds: float | None = None


@dataclass
class _Open:
    """A trial at work: the configurations of its folds, and the scores of those judged."""

    trial: Trial
    folds: tuple[ExperimentConfig, ...]
    latency_ms: float | None
    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    killed: int = 0  # of the run at work, as the next
    lost: int = 0

    @property
    def so_far(self) -> FoldScores:
        return FoldScores(tuple(self.scores))


def run_search(
    search: Search,
    store: Path,
    executor: Executor,
    budget: Budget,
    weights_folder: Path | None = None,
    progress: Progress = silent,
) -> Findings:
    """Search until the budget is spent; return everything that was tried, also before.

    ``winner.yaml`` and ``tune.json`` are written anew after every trial.

    Raises:
        InputError: the data or the folder is wrong, or the folder holds another search.
        DrupeError: the experiment as given fails, or whatever is tried.
    """
    check_store(store)
    folder = TuneFolder.of(store, search.config.name)
    fingerprint = _open_data(search, store, progress)
    with exclusive(folder.path):
        made_of = search.made_of(fingerprint)
        given = given_values(search.config, search.space)
        ledger = Ledger(folder.database, made_of, search.space, given, search.config.seed)
        loop = _Loop(search, store, executor, ledger, fingerprint, weights_folder)
        with keeping(folder.database):
            return loop.run(budget, progress)


def _open_data(search: Search, store: Path, progress: Progress) -> str:
    """Pack the images and look at every fold; return the fingerprint."""
    prepared = [
        prepare_data(config, store, progress) for config in search.in_folds(search.config, 0)
    ]
    return prepared[0].dataset.fingerprint


class _Loop:
    def __init__(
        self,
        search: Search,
        store: Path,
        executor: Executor,
        ledger: Ledger,
        fingerprint: str,
        weights_folder: Path | None,
    ) -> None:
        self.search, self.store, self.executor = search, store, executor
        self.ledger, self.fingerprint = ledger, fingerprint
        self.weights_folder = weights_folder
        self.folder = TuneFolder.of(store, search.config.name)
        self.open: dict[str, _Open] = {}
        self.held: list[Trial] = ledger.unfinished()
        self.counted = Findings(search, ledger.tried(), {}).counted
        self.rejected = self.failed = 0

    def run(self, budget: Budget, progress: Progress) -> Findings:
        begun = time.monotonic()
        until = None if budget.seconds is None else begun + budget.seconds
        left = max(0, budget.trials - self.counted)
        try:
            with Board(progress, left, self.search.folds) as self.board:
                while until is None or time.monotonic() < until:
                    self._fill(budget.trials)
                    if not self.open:
                        break
                    for ended in self.executor.ended(WAIT_SECONDS):
                        self._take(ended)
        finally:
            self.executor.stop()
        return self.keep()

    def keep(self) -> Findings:
        """Write what was found so far, and return it."""
        found = Findings(self.search, self.ledger.tried(), self.ledger.importance())
        write_json(self.folder.document, found.to_json())
        write_winner(self.folder.winner, found)
        return found

    def _fill(self, wanted: int) -> None:
        """Begin trials while there is room: those that were left open first."""
        while len(self.open) < self.executor.slots("gpu"):
            if not self.held:
                if self.counted + len(self.open) >= wanted:
                    return
                self.held.append(self.ledger.ask())
            if not self._begin(self.held[0]):
                return
            del self.held[0]

    def _begin(self, trial: Trial) -> bool:
        """Begin a trial or reject it; return False where it has to wait for a quiet machine."""
        settings = self.ledger.settings(trial)
        try:
            config = self.search.configure(settings)
            folds = self.search.in_folds(config, trial.number)
            latency = None
            if self.search.latency_ms is not None:
                geometry = prepare_data(folds[0], self.store).geometry(config)
                if self.open and latency_key(config, geometry) not in self.ledger.latencies():
                    return False
                latency = self._latency(config, geometry)
        except InputError as error:
            self._reject(trial, "impossible", "; ".join(error.problems))
            return True
        if self.search.latency_ms is not None and latency is not None:
            reason = slowness(self.search.latency_ms, latency)
            if reason:
                self._reject(trial, "too slow", reason, latency)
                return True
        self.rejected = 0
        one = _Open(trial, folds, latency)
        self.board.begin(trial.number, Tried(trial.number, settings, "unfinished").described)
        self._next_fold(one)
        return True

    def _latency(self, config: ExperimentConfig, geometry: Geometry) -> float:
        key = latency_key(config, geometry)
        known = self.ledger.latencies().get(key)
        if known is None:
            known = measure_latency(config, geometry)
            self.ledger.keep_latency(key, known)
        return known

    def _reject(
        self, trial: Trial, outcome: OutcomeName, reason: str, latency: float | None = None
    ) -> None:
        self.ledger.tell(trial, outcome, reason=reason, latency_ms=latency)
        self.rejected += 1
        if self.rejected >= REJECTED_IN_A_ROW:
            raise DrupeError(
                f"the last {self.rejected} settings drawn could not be tried, the last one being "
                f"{outcome} ({reason}): allow more latency, or another search space"
            )

    def _next_fold(self, one: _Open) -> None:
        """Start the next fold's run; folds that are finished already are judged at once."""
        while True:
            place = len(one.scores)
            task = self._task(one, place)
            if not is_trained(task, self.fingerprint):
                self.open[task.name] = one
                job = training_job(task, self.store, self.weights_folder, self.executor.threads)
                self.executor.start(job)
                return
            if self._judge(one, task):
                return

    def _task(self, one: _Open, fold: int) -> Task:
        config = one.folds[fold]
        folder = self.folder.fold(one.trial.number, fold)
        return Task(config.name, "train", config.name, "gpu", folder, config.seed, config)

    def _judge(self, one: _Open, task: Task) -> bool:
        """Score a finished fold; return whether that ends the trial."""
        judged = read_run_predictions(task.folder).test
        record = read_record(task.folder)
        assert judged is not None
        assert record is not None
        table = judged.distinct
        ranking = table.scores if table.logits is None else table.logits
        one.scores.append(self.search.objective.of(ranking, table.is_defect))
        one.seconds += record.train_seconds or 0.0
        self.board.fold(one.trial.number)
        stops = self.ledger.stops_early(one.trial, one.so_far)
        if len(one.scores) == len(one.folds):
            self._close(one, "scored")
        elif stops:
            done = f"after {len(one.scores)} of {len(one.folds)} folds: {one.so_far}"
            self._close(one, "stopped early", done)
        else:
            return False
        return True

    def _close(self, one: _Open, outcome: OutcomeName, reason: str = "") -> None:
        number = one.trial.number
        self.ledger.tell(
            one.trial,
            outcome,
            scores=one.so_far if one.scores else None,
            reason=reason,
            latency_ms=one.latency_ms,
            seconds=one.seconds,
        )
        self.counted += 1
        for fold in range(len(one.folds)):  # nothing asks for them any more, and they fill a disk
            RunFolder(self.folder.fold(number, fold)).weights.unlink(missing_ok=True)
        found = self.keep()
        self.board.end(next(one for one in found.trials if one.number == number), found)

    def _take(self, ended: Ended) -> None:
        """Take in how a run ended."""
        task, one = ended.task, self.open.pop(ended.task.name)
        if ended.exit_code == 0 and is_trained(task, self.fingerprint):
            self.failed = one.killed = one.lost = 0
            if not self._judge(one, task):
                self._next_fold(one)
            return
        if ended.lost and one.lost < LOST_TRIES:
            one.lost += 1
            self._next_fold(one)
        elif ended.was_killed and not ended.lost and one.killed < KILLED_TRIES:
            one.killed += 1
            self._next_fold(one)
        else:
            self._fail(one, task, ended)

    def _fail(self, one: _Open, task: Task, ended: Ended) -> None:
        said = last_lines(RunFolder(task.folder).log)
        reason = f"{ended.reason}: {said}" if said else ended.reason
        if one.trial.number == 0:  # stays open: it is tried again once that is mended
            raise DrupeError(f"the experiment as given can't be trained: {reason}")
        self._close(one, "failed", reason)
        self.failed += 1
        if self.failed >= FAILED_IN_A_ROW:
            raise DrupeError(f"the last {self.failed} trials failed, the last one with {reason}")
