"""A study from its file to its summary: plan, run what is missing, read what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drupe.files import write_json
from drupe.study.local import run_sequentially
from drupe.study.plan import Task, plan
from drupe.study.results import StudyResult, study_result
from drupe.study.spec import Study

Announce = Callable[[Task, int, int], None]
"""``announce(task, 2, 6)`` is called before the second of six tasks starts."""


def run_study(
    study: Study, store: Path, announce: Announce, weights_folder: Path | None = None
) -> StudyResult:
    """Run every task that is not done and return what the study found.

    The result is kept as ``STORE/runs/STUDY/summary.json``. A failed run is part of the result.
    """
    tasks = list(plan(study, store))
    results = run_sequentially(tasks, store, announce, weights_folder)
    found = study_result(study.spec, results)
    write_json(store / "runs" / study.spec.study / "summary.json", found.to_json())
    return found
