"""Decides from finished runs alone whether a conditional experiment runs, and says why."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path

from drupe.evaluation.intervals import format_percent
from drupe.runs.evaluation_file import read_evaluation
from drupe.study.definition.plan import Runs
from drupe.study.definition.spec import Condition, StudySpec

NOT_RUN = "not run, because"
"""Begins the reason of everything that a condition leaves out: nothing went wrong."""


@dataclass(frozen=True)
class ConditionDecision:
    """The answer whether a conditional experiment runs, and the figures that decided it."""

    runs: bool
    reason: str


def decide(condition: Condition, required: float, runs: Runs) -> ConditionDecision:
    """Decide a condition whose experiments are finished as far as they will be.

    ``required`` is the accuracy to meet. An experiment meets it when the mean over its finished
    seeds, as a point figure on distinct test items, reaches it. An experiment without a finished
    run leaves the condition open, unless another meets it: the conditional one then doesn't run.
    """
    means = {name: _mean_accuracy(runs[name]) for name in condition.none_of}
    figures = ", ".join(
        f"{name} {'has no result' if mean is None else format_percent(mean, decimals=2)}"
        for name, mean in means.items()
    )
    wanted = format_percent(required, decimals=2)
    known = [mean for mean in means.values() if mean is not None]
    if any(mean >= required for mean in known):
        return ConditionDecision(False, f"{NOT_RUN} at least one reaches {wanted}: {figures}")
    if len(known) < len(means):
        return ConditionDecision(False, f"{NOT_RUN} it can't be decided: {figures}")
    return ConditionDecision(True, f"run, because none reaches {wanted}: {figures}")


def decisions_made(
    spec: StudySpec, begun: Container[str], runs: Runs
) -> dict[str, ConditionDecision]:
    """Return the decision on every conditional experiment that has ``begun`` or was left out."""
    required = spec.criteria.accuracy
    return {
        item.id: decide(item.when, required, runs)
        for item in spec.models
        if item.when is not None and required is not None and item.id in begun
    }


def _mean_accuracy(found: Sequence[tuple[int, Path]]) -> float | None:
    """Return the seed-mean accuracy on distinct test items, or None without a finished run."""
    accuracies = []
    for _, folder in found:
        accuracy = read_evaluation(folder).test.distinct.argmax.accuracy
        accuracies.append(accuracy.successes / accuracy.trials)
    return fsum(accuracies) / len(accuracies) if accuracies else None
