from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and a POSIX shell"),
]

AUDIT = "data audit crops"


@pytest.fixture
def shell(tmp_path: Path, small_synthetic: Path):
    """Run a shell's line in which ``drupe`` stands for the command; return code and output."""
    (tmp_path / "crops").symlink_to(small_synthetic)

    def run(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", **variables}
        return subprocess.run(
            ["bash", "-c", f'drupe() {{ "{sys.executable}" -m drupe "$@"; }}; {line}'],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_closed_streams_change_no_answer(shell) -> None:
    whole = shell(f"drupe {AUDIT} --json")
    without_stderr = shell(f"drupe {AUDIT} --json 2>&-")
    assert (without_stderr.returncode, without_stderr.stdout) == (0, whole.stdout)
    assert shell(f"drupe {AUDIT} --json >&-").returncode == 0
    assert shell(f"drupe {AUDIT} --json <&- >&- 2>&-").returncode == 0


def test_what_is_written_next_never_gets_what_is_said(shell, tmp_path: Path) -> None:
    """A closed stream's number is free: a file that got it would get all messages too."""
    done = shell(f"drupe {AUDIT} --fix-list fixes.csv <&- >&- 2>&-")
    assert done.returncode == 0
    assert (tmp_path / "fixes.csv").read_text() == "path,action,value,reason,sha256\n"


def test_an_error_needs_no_stderr(shell) -> None:
    for where in ("2>&-", "2>/dev/full", "2>/dev/full >/dev/full"):
        assert shell(f"drupe data audit nowhere {where}").returncode == 2


def test_a_full_disk_behind_stdout_is_said(shell) -> None:
    done = shell("drupe doctor --json > /dev/full")
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1
    assert "No space left on device" in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("command", ["doctor --json", "--help"])
def test_a_reader_that_leaves_is_no_answer(shell, command: str) -> None:
    """Not 1, which would say that the work ran and its answer is no."""
    done = shell(f"drupe {command} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) in [(141, ""), (0, "")]


def test_a_terminal_of_no_width_gets_the_whole_answer(shell) -> None:
    usual = shell(f"drupe {AUDIT}", COLUMNS="80").stdout
    assert "cherry_clean" in usual
    assert shell(f"drupe {AUDIT}", COLUMNS="0").stdout == usual
    for command in (AUDIT, "data --help"):
        narrow = shell(f"drupe {command}", COLUMNS="1")
        assert narrow.returncode == 0, narrow.stderr
        assert len(narrow.stdout.splitlines()) > 10
