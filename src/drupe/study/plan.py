"""What a study has to run, in order: one task per experiment and seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from drupe.study.spec import Study
from drupe.training.config import ExperimentConfig


@dataclass(frozen=True)
class Task:
    """One run: an experiment with one seed, and the run directory it fills."""

    experiment: str
    seed: int
    config: ExperimentConfig
    folder: Path

    @property
    def name(self) -> str:
        """How the task is called in messages: ``EXP-002A seed 42``."""
        return f"{self.experiment} seed {self.seed}"


def plan(study: Study, store: Path) -> Iterator[Task]:
    """Yield the study's tasks, every experiment's first seed before any second one.

    So an interrupted study has compared all experiments on as many seeds as possible.
    """
    for seed in study.spec.seeds:
        for experiment, config in study.configs.items():
            yield Task(
                experiment=experiment,
                seed=seed,
                config=config.model_copy(update={"seed": seed}),
                folder=store / "runs" / study.spec.study / experiment / f"seed-{seed}",
            )
