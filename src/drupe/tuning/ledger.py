"""The trials of a search in Optuna's SQLite storage: drawn, reported, told, taken up again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from drupe.configuration import Tree
from drupe.derived import DIGEST, is_sealed, sealed
from drupe.errors import InputError
from drupe.tuning.request import require_same_search
from drupe.tuning.result import FoldScores, OutcomeName, Tried
from drupe.tuning.space import Choices, Dimension, Space

STUDY = "drupe"
MADE_OF, LATENCIES = "made_of", "latencies"
"""Attributes of the study: what makes it this search, and p95 latencies in ms by their key."""
ACCOUNT = "account"
"""Attribute of a trial: what came of it."""

UNTIL_PRUNED = 4
"""Whole trials before any is stopped early: a median of fewer says little."""
ENOUGH_TO_WEIGH = 8
"""Whole trials before keys are weighed against one another."""


class Ledger:
    """All that a search must not lose; used by one process at a time.

    A trial is drawn from its own seed (the search's and its number), so a search that is killed
    and continued draws what it would have drawn.

    Raises:
        InputError: the file is no such database, or holds another search.
    """

    def __init__(self, path: Path, made_of: Tree, space: Space, given: Tree, seed: int) -> None:
        self.path, self.space, self.given, self.seed = path, space, given, seed
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        is_new = not path.exists()
        with _readable(path):
            storage = optuna.storages.RDBStorage(
                URL.create("sqlite", database=str(path)).render_as_string()
            )
            self.study = optuna.create_study(
                study_name=STUDY,
                storage=storage,
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(UNTIL_PRUNED, 0),
                load_if_exists=True,
            )
            found = self.study.user_attrs.get(MADE_OF)
            if found is None and (is_new or not self._all()):
                self.study.set_user_attr(MADE_OF, made_of)
            else:
                require_same_search(path.parent, found or {}, made_of)

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def unfinished(self) -> list[Trial]:
        """Return the trials that whoever had begun them has left open, the oldest first."""
        states = (TrialState.RUNNING,)
        found = self.study.get_trials(deepcopy=False, states=states)
        return [self._taken_up(one) for one in found]

    def _taken_up(self, found: FrozenTrial) -> Trial:
        self.study.sampler = self._sampler(found.number)
        return Trial(self.study, found._trial_id)  # nothing public takes a trial up again

    def ask(self) -> Trial:
        """Begin a trial; the first is the experiment as given."""
        trials = self._all()
        if not trials:
            self.study.enqueue_trial(self.given)
        waiting = any(one.state == TrialState.WAITING for one in trials)
        self.study.sampler = self._sampler(0 if waiting else len(trials))
        return self.study.ask()

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=(self.seed * 1_000_003 + number) % 2**32)

    def settings(self, trial: Trial) -> Tree:
        """Return what ``trial`` is to try, by dotted key; nothing of the experiment as given.

        What is left to be drawn is drawn now, the same at every call.
        """
        if trial.number == 0:
            for one in self.space.dimensions:
                if one.key in self.given:
                    _draw(trial, one)
            return {}
        return {one.key: _draw(trial, one) for one in self.space.dimensions}

    def stops_early(self, trial: Trial, scores: FoldScores) -> bool:
        """Report the folds so far; return whether the trial is worse than half of the others.

        Compared are means over the same folds, hence over the same items. A signed-rank test
        (Optuna's WilcoxonPruner) would need more folds: three can't reach a p-value below 1/8.
        The experiment as given is never stopped: everything else is compared with it.
        """
        fold = len(scores.values) - 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # taken up again, it reports it again
            trial.report(scores.mean, fold)
        return trial.number > 0 and trial.should_prune()

    def tell(
        self,
        trial: Trial,
        outcome: OutcomeName,
        *,
        scores: FoldScores | None = None,
        reason: str = "",
        latency_ms: float | None = None,
        seconds: float | None = None,
    ) -> None:
        """Close a trial. One without a whole score counts as the worst where others are drawn."""
        account = {
            "outcome": outcome,
            "scores": list(scores.values) if scores else None,
            "reason": reason,
            "latency_ms": latency_ms,
            "seconds": seconds,
        }
        trial.set_user_attr(ACCOUNT, sealed({**account, "params": trial.params}))
        if outcome == "scored":
            assert scores is not None
            self.study.tell(trial, scores.mean)
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def tried(self) -> list[Tried]:
        """Return every trial, in the order in which they began."""
        return [self._tried(one) for one in self._all() if one.state is not TrialState.WAITING]

    def _tried(self, one: FrozenTrial) -> Tried:
        kept: Mapping[str, Any] = one.user_attrs.get(ACCOUNT, {})
        if DIGEST in kept and not (is_sealed(kept) and kept["params"] == one.params):
            raise InputError(
                f"{self.path}: damaged: what it says of trial {one.number} isn't what was written; "
                f"to search anew, delete {self.path.parent}"
            )
        is_closed = one.state.is_finished()
        scores = kept.get("scores")
        settings = {
            dimension.key: _meaning(dimension, one.params[dimension.key])
            for dimension in self.space.dimensions
            if dimension.key in one.params
        }
        return Tried(
            number=one.number,
            settings=settings,
            outcome=kept.get("outcome", "failed") if is_closed else "unfinished",
            scores=FoldScores(tuple(scores)) if scores else None,
            latency_ms=kept.get("latency_ms"),
            seconds=kept.get("seconds"),
            reason=kept.get("reason", ""),
        )

    def importance(self) -> dict[str, float]:
        """Return each key's share in what makes trials good, the largest first."""
        whole = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(whole) < ENOUGH_TO_WEIGH or len({one.value for one in whole}) < 2:
            return {}
        return optuna.importance.get_param_importances(self.study)

    def latencies(self) -> dict[str, float]:
        """Return the p95 latencies measured so far, in ms by what they were measured of."""
        return dict(self.study.user_attrs.get(LATENCIES, {}))

    def keep_latency(self, key: str, milliseconds: float) -> None:
        """Keep a latency for as long as the search lives."""
        self.study.set_user_attr(LATENCIES, {**self.latencies(), key: milliseconds})


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, RuntimeError, ImportError) as error:
        if isinstance(error, ModuleNotFoundError):
            raise
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise InputError(
            f"{path}: must be the database of a search that this version of Optuna "
            f"({optuna.__version__}) can read, got: {reason}; it was left as it is"
        ) from None


@contextmanager
def keeping(path: Path) -> Iterator[None]:
    """Let an error of the disk, which the database hides, name the database."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error if isinstance(error, SQLAlchemyError) else (error.__cause__ or error)
        reason = str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0]
        raise InputError(
            f"{path}: can't be written ({reason}); the same command goes on once that is mended"
        ) from None


def _draw(trial: Trial, one: Dimension) -> Any:
    if isinstance(one, Choices):
        return _meaning(one, trial.suggest_categorical(one.key, one.labels))
    if one.whole:
        step = 1 if one.step is None else int(one.step)
        return trial.suggest_int(one.key, int(one.low), int(one.high), step=step, log=one.log)
    return trial.suggest_float(one.key, one.low, one.high, step=one.step, log=one.log)


def _meaning(one: Dimension, drawn: Any) -> Any:
    """Return the value that a label stands for; a number stands for itself."""
    return one.values[one.labels.index(drawn)] if isinstance(one, Choices) else drawn
