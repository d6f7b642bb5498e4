from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drupe.study.execution.process import CommandProcess
from processes import all_gone, status

pytestmark = pytest.mark.thorough

STUDY = "{study: one, experiments: [{id: A, config: {model: {architecture: test_resnet}}}]}"


def command(folder: Path, *words: str, **environment: str) -> CommandProcess:
    return CommandProcess(words, {**os.environ, **environment}, folder / "log", folder / "out")


def waiting(folder: Path) -> tuple[CommandProcess, int]:
    """Start a command that waits for ever, for a study to come out of a pipe; return its end."""
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    process = command(folder, "study", "status", str(fifo))
    # Opening waits for the command to have come so far.
    return process, os.open(fifo, os.O_WRONLY)


def end(process: CommandProcess, seconds: float = 60.0) -> int:
    until = time.monotonic() + seconds
    while process.exit_code is None and time.monotonic() < until:
        CommandProcess.wait_for_any([process], 1.0)
    assert process.exit_code is not None, "it doesn't end"
    return process.exit_code


def test_it_writes_its_files_and_exits_with_its_code(tmp_path) -> None:
    (tmp_path / "log").write_text("before\n")

    assert end(command(tmp_path, "--version")) == 0
    assert (tmp_path / "out").read_text().startswith("drupe ")

    assert end(command(tmp_path, "no-such-command")) == 2
    log = (tmp_path / "log").read_text()
    assert log.startswith("before\n")
    assert "no-such-command" in log
    assert (tmp_path / "out").read_text() == ""


def test_a_script_that_starts_it_is_not_run_again(tmp_path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from pathlib import Path\n"
        "from drupe.study.execution.process import CommandProcess\n"
        "folder = Path(__file__).parent\n"
        "with (folder / 'began').open('a') as began:\n"
        "    began.write('once\\n')\n"
        "one = CommandProcess(['--version'], os.environ, folder / 'log', folder / 'out')\n"
        "while one.exit_code is None:\n"
        "    CommandProcess.wait_for_any([one], 60.0)\n"
    )
    subprocess.run([sys.executable, script], check=True)
    assert (tmp_path / "began").read_text() == "once\n"
    assert (tmp_path / "out").read_text().startswith("drupe ")


def test_it_has_the_environment_that_it_was_given(tmp_path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)

    code = end(
        command(tmp_path, "study", "status", str(tmp_path / "study.yaml"), DRUPE_STORE="elsewhere")
    )

    assert code == 2
    assert "elsewhere" in (tmp_path / "log").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_it_can_be_interrupted_by_its_starter_alone(tmp_path) -> None:
    process, pipe = waiting(tmp_path)
    assert os.getpgid(process.pid) != os.getpgid(0)  # a terminal interrupts a group
    assert process.exit_code is None

    process.interrupt()

    assert end(process) == 130
    os.close(pipe)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_begins_as_a_copy_of_a_quiet_process_and_ends_with_its_starter(tmp_path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"""
import os, time
from pathlib import Path
from drupe.study.execution.process import CommandProcess
files = Path({str(tmp_path)!r})
words = ["study", "status", {str(fifo)!r}]
process = CommandProcess(words, os.environ, files / "log", files / "out")
print(process.pid, flush=True)
time.sleep(60)
"""
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # its threads do survive
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    pipe = os.open(fifo, os.O_WRONLY)
    server = int(status(pid)["PPid"])
    assert "libtorch" in Path(f"/proc/{server}/maps").read_text()
    # Threads would not survive the fork, and what they held would stay locked.
    assert status(server)["Threads"] == "1"

    starter.kill()
    starter.communicate()

    assert all_gone([pid, server])
    os.close(pipe)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_one_can_be_started_after_the_server_was_killed(tmp_path) -> None:
    process, pipe = waiting(tmp_path)
    os.kill(int(status(process.pid)["PPid"]), signal.SIGKILL)

    assert end(process) == -signal.SIGKILL
    os.close(pipe)
    assert end(command(tmp_path, "--version")) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only there is a server for sure")
def test_a_server_that_cannot_load_is_one_message(tmp_path) -> None:
    code = f"""
import os
from pathlib import Path
import drupe.study.execution.process as process
from drupe.errors import DrupeError
(Path({str(tmp_path)!r}) / "breaks.py").write_text("import os; os._exit(1)")
process.LOADED = ("breaks",)
files = Path({str(tmp_path)!r})
try:
    process.CommandProcess(["--version"], os.environ, files / "log", files / "out")
except DrupeError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )

    assert done.stdout.startswith("a process that loads breaks for all runs ended"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_terminals_ctrl_c_spares_what_has_just_been_started(tmp_path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from drupe.study.execution.process import CommandProcess
signal.signal(signal.SIGINT, lambda *_: None)
print("begun", flush=True)
files = Path({str(tmp_path)!r})
process = CommandProcess(["--version"], os.environ, files / "log", files / "out")
while process.exit_code is None:
    CommandProcess.wait_for_any([process], 1.0)
print(process.exit_code)
"""
    starter = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "begun\n"
    while starter.poll() is None:
        os.killpg(starter.pid, signal.SIGINT)
        time.sleep(0.1)

    assert starter.stdout.read() == "0\n"
    starter.stdout.close()


def test_what_is_loaded_before_a_fork_does_not_look_for_a_gpu() -> None:
    """A copy could not use one that its original has begun to use."""
    code = """
import importlib, sys
from drupe.study.execution.process import LOADED
asked = []
def watch(frame, event, called):
    code = frame.f_code
    name = called.__name__ if event == "c_call" else code.co_name if event == "call" else ""
    if name in ("_cuda_getDeviceCount", "_cuda_init", "_lazy_init", "device_count"):
        asked.append((name, code.co_filename))
sys.setprofile(watch)
for name in LOADED:
    importlib.import_module(name)
import torch
assert not asked
torch.cuda.is_available()  # does, and is seen
sys.setprofile(None)
assert asked
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
