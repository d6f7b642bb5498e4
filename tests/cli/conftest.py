from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from drupe.study.execution.process import CommandProcess


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
def drupe(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Drupe:
    """Run ``drupe ARGUMENTS…`` in a process of its own, in an empty folder.

    Where nothing is ``blocked`` it begins as runs of a study do, with PyTorch loaded: seconds
    faster. A study starts such processes itself, and can't be one.
    """

    def run(*arguments: str | Path, columns: int = 80, blocked: tuple[str, ...] = ()) -> Result:
        words = [str(argument) for argument in arguments]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRUPE_")}
        environment = inherited | {"COLUMNS": str(columns), "TERM": "dumb", "NO_COLOR": "1"}
        if blocked or words[:2] == ["study", "run"]:
            program = WITHOUT.format(blocked=blocked) + "from drupe.cli.app import main; main()"
            done = subprocess.run(
                [sys.executable, "-c", program, *words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            result = Result(done.returncode, done.stdout, done.stderr)
        else:
            said = tmp_path_factory.mktemp("said")
            with monkeypatch.context() as patched:
                patched.chdir(tmp_path)
                process = CommandProcess(words, environment, said / "stderr", said / "stdout")
            while process.exit_code is None:
                CommandProcess.wait_for_any([process], 60.0)
            printed, warned = ((said / name).read_text() for name in ("stdout", "stderr"))
            result = Result(process.exit_code, printed, warned)
        assert "Traceback" not in result.stderr, result.stderr
        return result

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
