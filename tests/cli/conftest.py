from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str


Drupe = Callable[..., Result]

WITHOUT = """
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""
"""Makes modules unimportable, as if they were not installed."""


@pytest.fixture
def drupe(tmp_path: Path) -> Drupe:
    """Run ``drupe ARGUMENTS…`` in a process of its own, in an empty folder."""

    def run(*arguments: str | Path, columns: int = 80, blocked: tuple[str, ...] = ()) -> Result:
        program = WITHOUT.format(blocked=blocked) + "from drupe.cli.app import main; main()"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRUPE_")}
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=tmp_path,
            env=inherited | {"COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Drupe:
    """Run ``drupe ARGUMENTS…`` in this process, in an empty folder: seconds faster."""
    from drupe.cli.app import main

    def run(*arguments: str | Path, columns: int = 80) -> Result:
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.chdir(tmp_path)
            patched.setenv("COLUMNS", str(columns))
            patched.setenv("NO_COLOR", "1")
            patched.setenv("TERM", "dumb")
            patched.setattr(sys, "argv", ["drupe", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main()
        printed = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, printed.out, printed.err)

    return run
