from __future__ import annotations

from pathlib import Path

import pytest

from drupe.study.definition.plan import Task
from drupe.study.execution.executor import Ended

TASK = Task("A seed 1", "train", "A", "gpu", Path("run"), 1)


@pytest.mark.parametrize(
    ("ended", "was_killed", "reason"),
    [
        (Ended(TASK, 0), False, "exit code 0"),
        (Ended(TASK, 2), False, "exit code 2"),
        (Ended(TASK, -9), True, "killed by signal 9"),
        (Ended(TASK, 143), True, "killed by signal 15"),  # asked to end, and did so in order
        (Ended(TASK, 130), True, "killed by signal 2"),
        (Ended(TASK, 137), False, "exit code 137"),
        (Ended(TASK, -9, lost=True), True, "its machine was lost"),
        (Ended(TASK, 1, lost=True), False, "its machine was lost"),
    ],
)
def test_an_end_says_what_befell_the_job(ended, was_killed, reason) -> None:
    assert (ended.was_killed, ended.reason) == (was_killed, reason)
