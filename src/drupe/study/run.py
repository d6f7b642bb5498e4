"""A study from its file to its summary: plan, run what is missing, read what was found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from drupe.data.discover import discover
from drupe.errors import InputError
from drupe.files import write_json
from drupe.study.local import run_sequentially
from drupe.study.plan import Task, plan
from drupe.study.results import StudyResult, study_result
from drupe.study.spec import Study
from drupe.training.claim import check_store, require_same_run
from drupe.training.preparation import require_root
from drupe.training.record import read_record

Announce = Callable[[Task, int, int], None]
"""``announce(task, 2, 6)`` is called before the second of six tasks starts."""


def run_study(
    study: Study, store: Path, announce: Announce, weights_folder: Path | None = None
) -> StudyResult:
    """Run every task that is not done and return what the study found.

    The result is kept as ``STORE/runs/STUDY/summary.json``. A failed run is part of the result.

    Raises:
        InputError: what every run would fail of, before the first one starts.
    """
    check_store(store)
    tasks = list(plan(study, store))
    check_tasks(tasks)
    results = run_sequentially(tasks, store, announce, weights_folder)
    found = study_result(study.spec, results)
    write_json(store / "runs" / study.spec.study / "summary.json", found.to_json())
    return found


def check_tasks(tasks: Sequence[Task]) -> None:
    """Refuse tasks whose data can't be found or whose folders hold other runs.

    Only folders and records are read, no image.

    Raises:
        InputError: with every such problem, each once.
    """
    problems: dict[str, None] = {}
    seen = set()
    for task in tasks:
        data = task.config.data
        try:
            if (data.root, data.defect) not in seen:
                seen.add((data.root, data.defect))
                discover(require_root(data), data.defect)
            record = read_record(task.folder)
            if record:
                require_same_run(task.folder, task.config, record, record.data.fingerprint)
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise InputError(problems)
