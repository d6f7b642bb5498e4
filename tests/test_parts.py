"""A skipped test fails where parts must be there, and what is left out is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SUITE = {
    "conftest.py": "from parts import *\n",
    "pytest.ini": "[pytest]\nmarkers =\n    slow:\n    thorough:\n",
    "test_parts_of_it.py": """
import pytest

def test_it_runs(): pass

@pytest.mark.skipif(True, reason="Chromium not found: apt install chromium")
def test_a_browser(): pass

def test_a_package(): pytest.importorskip("no_such_package", reason="needs drupe[ray]")

@pytest.mark.skipif(True, reason="needs a CUDA device")
def test_a_gpu(): pass

@pytest.mark.xfail(reason="known")
def test_a_known_fault(): assert False

@pytest.mark.thorough
def test_thorough(): pass

@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number): pass
""",
    "test_whole_file.py": """
import pytest

pytest.importorskip("no_such_package", reason="needs drupe[mlflow]")
""",
}


@pytest.fixture
def suite(tmp_path: Path):
    for name, text in SUITE.items():
        (tmp_path / name).write_text(text)

    def run(*options: str, **environment: str) -> str:
        inherited = {key: value for key, value in os.environ.items() if key != "DRUPE_CI"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-rfEs", "-p", "no:cacheprovider", *options],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(TESTS), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    return run


def test_elsewhere_a_missing_part_is_a_skip(suite) -> None:
    printed = suite("-m", "not slow and not thorough")
    assert "1 passed, 4 skipped, 4 deselected, 1 xfailed" in printed
    assert "Not tried: 1 thorough (browsers" in printed
    assert "Not tried: 3 slow (minutes each): make test-slow" in printed


def test_where_parts_must_be_there_a_missing_one_is_a_failure(suite) -> None:
    printed = suite("--continue-on-collection-errors", "-m", "not slow", DRUPE_CI="1")
    assert "1 failed, 2 passed, 1 skipped, 3 deselected, 1 xfailed, 2 errors" in printed
    assert "DRUPE_CI is set: Skipped: Chromium not found: apt install chromium" in printed
    assert "needs drupe[mlflow]" in printed
    assert "thorough (" not in printed


def test_processes_that_share_the_suite_say_it_once(suite) -> None:
    printed = suite("-n", "2", "-m", "not slow and not thorough")
    assert printed.count("Not tried: 3 slow") == 1
