"""Whether a conditional experiment runs: decided from finished runs alone, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from pathlib import Path

from drupe.evaluation.intervals import format_percent
from drupe.study.spec import Condition
from drupe.training.record import read_evaluation, read_record


@dataclass(frozen=True)
class Decision:
    """Whether the experiment runs, and the figures that decided it."""

    runs: bool
    reason: str


def decide(condition: Condition, required: float, runs: Mapping[str, Sequence[Path]]) -> Decision:
    """Decide a condition whose experiments are finished as far as they will be.

    ``runs`` maps each experiment of ``condition.none_of`` to its run directories, one per seed;
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
        return Decision(False, f"not run, because at least one reaches {wanted}: {figures}")
    if len(known) < len(means):
        return Decision(False, f"not run, because it can't be decided: {figures}")
    return Decision(True, f"run, because none reaches {wanted}: {figures}")


def _mean_accuracy(folders: Sequence[Path]) -> float | None:
    """Return the seed-mean accuracy on distinct test items, or None without a finished run."""
    accuracies = []
    for folder in folders:
        record = read_record(folder)
        if record is None or record.status != "done":
            continue
        accuracy = read_evaluation(folder)["test"]["distinct"]["argmax"]["accuracy"]
        accuracies.append(accuracy["successes"] / accuracy["trials"])
    return fsum(accuracies) / len(accuracies) if accuracies else None
