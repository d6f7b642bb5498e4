"""What a run of the suite doesn't try: tests left out, and tests skipped for a missing part.

With DRUPE_CI=1 a test that is skipped fails, unless it is for what a machine can't be given.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import pytest

STRICT = "DRUPE_CI"
UNAVOIDABLE = re.compile(
    r"needs a CUDA device|no GPU"
    r"|this processor doesn't compute bf16"
    r"|root may read anything"
    r"|real crops not found"
    r"|bytes end at 255|one kind will do"  # of a parameter that the test isn't about
)
"""Reasons to skip that no package takes away."""

LEFT_OUT = {
    "thorough": "thorough (browsers, pages of the documentation, exports, kills): make test-all",
    "slow": "slow (minutes each): make test-slow",
}
"""Markers of tests that a run may leave out, and what is said of them at its end."""

UNTRIED = pytest.StashKey[Counter[str]]()
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def strict(report: Report) -> Report:
    """Return ``report``, as a failure where it was skipped for a part that could be there."""
    if not (os.environ.get(STRICT) and report.skipped) or hasattr(report, "wasxfail"):
        return report
    found = report.longrepr
    reason = str(found[2] if isinstance(found, tuple) else found)
    if not UNAVOIDABLE.search(reason):
        report.outcome = "failed"
        report.longrepr = f"a part is missing, and {STRICT} is set: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test's report."""
    return strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge the report of a file, which may be skipped as a whole."""
    return strict((yield))


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count what is left out, by marker."""
    for item in items:
        counts = item.config.stash.setdefault(UNTRIED, Counter())
        counts.update(name for name in LEFT_OUT if item.get_closest_marker(name))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts of a worker of pytest-xdist to the process that speaks."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["untried"] = dict(session.config.stash.get(UNTRIED, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take a worker's counts: all workers leave out the same."""
    counts = node.config.stash.setdefault(UNTRIED, Counter())
    counts |= Counter(getattr(node, "workeroutput", {}).get("untried", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what wasn't tried, and how to try it."""
    counts = config.stash.get(UNTRIED, Counter())
    for name, said in LEFT_OUT.items():
        if counts[name]:
            terminalreporter.write_line(f"Not tried: {counts[name]:,} {said}")
