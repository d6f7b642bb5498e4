from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from drupe import __version__
from drupe.cli import app as app_module
from drupe.cli.app import EXTRA_OF, command_name, main
from drupe.errors import InputError

GROUPS = ["data", "labels", "study"]
COMMANDS = [
    "",
    "train",
    "evaluate",
    "doctor",
    "data",
    "data synth",
    "data fetch",
    "data audit",
    "labels",
    "labels rank",
    "labels effect",
    "study",
    "study run",
]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], int]:
    """Run ``main`` with a command line that ends in an exception; return the exit code."""

    def run(error: BaseException) -> int:
        def app() -> NoReturn:
            raise error

        app.registered_groups = app_module.app.registered_groups  # type: ignore[attr-defined]
        monkeypatch.setattr(app_module, "app", app)
        monkeypatch.setattr(sys, "argv", ["drupe", "data", "audit", "crops", "--json"])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code

    return run


def test_version(drupe) -> None:
    assert drupe("--version").stdout == f"drupe {__version__}\n"


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(drupe, command: str, columns: int) -> None:
    result = drupe(*command.split(), "--help", columns=columns)
    assert result.code == 0
    text, heading, examples = result.stdout.partition("  Examples:\n")
    assert [line for line in text.splitlines() if len(line) > columns] == []
    # An example is one line however narrow the terminal: it gets copied.
    assert [line for line in examples.splitlines() if len(line) > 100] == []
    assert heading or command in GROUPS


def test_help_is_instant_because_nothing_heavy_is_imported() -> None:
    program = (
        "import sys\nfrom drupe.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(printed.stdout.rpartition("LOADED")[2].split())
    assert "typer" in loaded
    assert not loaded & {"torch", "torchvision", "timm", "scipy", "numpy", "PIL", "onnxruntime"}


def test_help_takes_little_more_than_the_libraries_that_print_it() -> None:
    """Processor time against importing typer and rich, in turns: a busy machine slows both."""

    def seconds(program: str) -> float:
        printed = subprocess.run(
            [sys.executable, "-c", f"import time\n{program}\nprint('SPENT', time.process_time())"],
            capture_output=True,
            text=True,
            check=True,
        )
        return float(printed.stdout.rpartition("SPENT")[2])

    ours = "from drupe.cli.app import app\ntry:\n    app(['--help'])\nexcept SystemExit:\n    pass"
    theirs = "import typer, rich.console, rich.table, rich.markdown, rich.panel"
    turns = [(seconds(ours), seconds(theirs)) for _ in range(4)]
    assert min(one for one, _ in turns) < 2.5 * min(other for _, other in turns)


def test_a_wrong_option_is_wrong_input(drupe) -> None:
    result = drupe("doctor", "--nonsense")
    assert result.code == 2
    assert "--nonsense" in result.stderr
    assert result.stdout == ""


def test_every_mistake_is_shown_on_stderr(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(InputError(["a: must be [b], got c", "d: must be e, got f"])) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "error: a: must be [b], got c\nerror: d: must be e, got f\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x/y.bin"), "x/y.bin: No space left"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "x: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), "x: Permission denied"),
        (OSError(errno.EXDEV, "Cross-device link", "x", None, "y"), "x -> y: Cross-device link"),
        (OSError(errno.ENOSPC, "No space left on device"), "failed: No space left on device"),
        (
            RuntimeError("I/O error: No space left on device (os error 28)"),
            "failed: No space left on device",
        ),
    ],
)
def test_what_the_system_refuses_is_one_clear_line(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    message: str,
) -> None:
    assert failing(error) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours\non two lines"),
        OSError("no number"),
        ModuleNotFoundError("x", name="drupe.x"),
        RecursionError("x" * 5000),
        MemoryError(),
    ],
)
def test_a_mistake_of_ours_is_never_an_answer(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
) -> None:
    """Exit code 3, one line, and a report that holds what it takes to mend it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert failing(error) == 3
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"a mistake in Drupe, not in what you gave it: {type(error).__name__}" in printed
    (report,) = tmp_path.iterdir()
    assert str(report) in printed
    text = report.read_text(encoding="utf-8")
    for words in ("Traceback", "Python 3.", "numpy ", "command: ", type(error).__name__):
        assert words in text
    assert report.stat().st_mode & 0o077 == 0


def test_a_mistake_where_no_report_can_be_written(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert failing(ValueError("ours")) == 3
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "a mistake in Drupe, not in what you gave it: ValueError: ours\n" in printed


def test_a_missing_package_names_the_extra(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(ModuleNotFoundError("No module named 'timm'", name="timm.models")) == 2
    assert "drupe data audit needs the package 'timm'" in capsys.readouterr().err


def test_the_extras_are_those_of_the_project() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    for module, extra in EXTRA_OF.items():
        package = {"cv2": "opencv_python_headless"}.get(module, module)
        assert any(line.replace("-", "_").startswith(package) for line in extras[extra]), (
            f"{module} is not brought by drupe[{extra}]"
        )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["data", "audit", "crops"], "drupe data audit"),
        (["doctor", "--json"], "drupe doctor"),
        ([], "drupe"),
    ],
)
def test_the_command_is_named_as_it_was_typed(arguments: list[str], name: str) -> None:
    assert command_name(arguments) == name


def test_ctrl_c_is_one_line_and_130(tmp_path: Path) -> None:
    import signal

    # A background job starts with Ctrl-C ignored, and so would its children.
    program = (
        "import drupe.cli.doctor as d, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def examine(*_):\n    print('working', flush=True)\n    time.sleep(60)\n"
        "d.examine = examine\n"
        "from drupe.cli.app import main\nmain()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "doctor"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=30)
    assert process.returncode == 130
    assert printed == "Interrupted.\n"
