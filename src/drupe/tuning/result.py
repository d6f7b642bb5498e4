"""What a search has found so far: data for the winner's file, the page and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import stdev
from typing import Any, Literal

from drupe.evaluation.intervals import format_percent
from drupe.tuning.request import Search
from drupe.tuning.space import label

OutcomeName = Literal["scored", "stopped early", "failed", "too slow", "impossible", "unfinished"]
COUNTED: tuple[OutcomeName, ...] = ("scored", "stopped early", "failed")
"""What took training, and so counts as one of the trials that were asked for."""


@dataclass(frozen=True)
class FoldScores:
    """The objective on each left-out fold, in the order of the folds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over folds."""
        return fsum(self.values) / len(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation between folds (n − 1), None of a single one."""
        return stdev(self.values) if len(self.values) > 1 else None

    def minus(self, other: FoldScores) -> FoldScores:
        """Return the differences fold by fold: both were judged on the same items."""
        return FoldScores(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def __str__(self) -> str:
        spread = "" if self.deviation is None else f" ± {100 * self.deviation:.1f}"
        return f"{format_percent(self.mean)}{spread}"

    def to_json(self) -> dict[str, Any]:
        """Return mean, deviation and the folds."""
        return {"mean": self.mean, "deviation": self.deviation, "folds": list(self.values)}


@dataclass(frozen=True)
class Tried:
    """A trial: its settings by dotted key (none: the experiment as given), and what came of it.

    ``seconds``: of training, all its folds together. ``reason``: why it has no whole score.
    """

    number: int
    settings: Mapping[str, Any]
    outcome: OutcomeName
    scores: FoldScores | None = None
    latency_ms: float | None = None
    seconds: float | None = None
    reason: str = ""

    @property
    def described(self) -> str:
        """The settings in a line: ``training.learning_rate 0.002, input.views 2``."""
        if self.number == 0:
            return "as given"
        return ", ".join(f"{key} {shown(value)}" for key, value in self.settings.items())

    def to_json(self) -> dict[str, Any]:
        """Return every field."""
        scores = self.scores.to_json() if self.scores else None
        return {**vars(self), "settings": dict(self.settings), "scores": scores}


def shown(value: Any) -> str:
    """Return a setting with as many digits as a person reads."""
    return f"{value:.3g}" if isinstance(value, float) else label(value)


@dataclass(frozen=True)
class Findings:
    """All trials of a search, in the order in which they began.

    ``importance``: the share of each key in what makes trials good, after PED-ANOVA (Watanabe,
    Bansal & Hutter 2023); empty while there are too few trials to tell.
    """

    search: Search
    trials: Sequence[Tried]
    importance: Mapping[str, float]

    @property
    def whole(self) -> list[Tried]:
        """The trials with a score on every fold."""
        return [one for one in self.trials if one.outcome == "scored"]

    @property
    def counted(self) -> int:
        """The number of trials that were trained to an end."""
        return sum(one.outcome in COUNTED for one in self.trials)

    @property
    def given(self) -> Tried | None:
        """The experiment as given, once it has a score."""
        return next((one for one in self.whole if one.number == 0), None)

    @property
    def best(self) -> Tried | None:
        """The trial with the highest mean, the earliest of equals."""
        return max(self.whole, key=_mean, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drupe tune``."""
        search, best, given = self.search, self.best, self.given
        return {
            "experiment": search.config.name,
            "objective": {**search.objective.to_json(), "words": search.objective.describe()},
            "folds": search.folds,
            "latency_ms": search.latency_ms,
            "space": search.space.to_json(),
            "best": best.to_json() if best else None,
            "given": given.to_json() if given else None,
            "difference": gain(best, given).to_json() if best and given else None,
            "importance": dict(self.importance),
            "trials": [one.to_json() for one in self.trials],
        }


def _mean(one: Tried) -> float:
    assert one.scores is not None
    return one.scores.mean


def gain(best: Tried, given: Tried) -> FoldScores:
    """Return what ``best`` has more than ``given``, fold by fold; both are scored."""
    assert best.scores is not None
    assert given.scores is not None
    return best.scores.minus(given.scores)
