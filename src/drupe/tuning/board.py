"""A search as :data:`drupe.progress.Progress`: a bar for all of it, one for each open trial."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from drupe.progress import Progress, Tracker
from drupe.tuning.result import Findings, Tried


class Board:
    """Shows how far a search is, what is best so far, and the time left at the pace so far."""

    def __init__(self, progress: Progress, trials_left: int, folds: int) -> None:
        self.progress, self.folds = progress, folds
        self.runs_left = trials_left * folds
        self._whole = ExitStack()
        self._trials: dict[int, tuple[ExitStack, Tracker]] = {}
        self._done: dict[int, int] = {}
        self._tracker: Tracker | None = None

    def __enter__(self) -> Self:
        self._tracker = self._whole.enter_context(self.progress("tune", self.runs_left, "runs"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar, _ in self._trials.values():
            bar.__exit__(kind, error, trace)
        self._whole.__exit__(kind, error, trace)

    def begin(self, trial: int, described: str) -> None:
        """Open the bar of a trial."""
        bar = ExitStack()
        tracker = bar.enter_context(self.progress(f"trial {trial}", self.folds, "folds"))
        tracker.advance(0, described)
        self._trials[trial], self._done[trial] = (bar, tracker), 0

    def fold(self, trial: int) -> None:
        """Report that a fold of an open trial was judged."""
        self._trials[trial][1].advance(1)
        self._done[trial] += 1
        self._advance(1, "")

    def end(self, trial: Tried, found: Findings) -> None:
        """Close the bar of a trial; the folds that it was spared are done with, too."""
        said = str(trial.scores) if trial.outcome == "scored" else trial.outcome
        if trial.number in self._trials:
            bar, tracker = self._trials.pop(trial.number)
            reason = f" ({trial.reason})" if trial.reason else ""
            tracker.advance(0, f"{said}{reason}, {trial.described}")
            bar.close()
            self._advance(self.folds - self._done.pop(trial.number), "")
        best = found.best
        self._advance(0, f"best: trial {best.number}, {best.scores}" if best else "")

    def _advance(self, runs: int, note: str) -> None:
        assert self._tracker is not None
        self._tracker.advance(runs, note)
