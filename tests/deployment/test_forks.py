"""Each case in an interpreter of its own: a wait for ever would be the suite's otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drupe.deployment.backends import runs_here

pytestmark = [pytest.mark.thorough, pytest.mark.skipif(sys.platform != "linux", reason="forks")]

PROGRAM = """
import atexit, os, signal, sys
import numpy as np
import drupe

def load():
    return drupe.load(sys.argv[1], order="rgb", backend=sys.argv[2], threads=2, uncertified=True)

images = np.zeros((2, 64, 64, 3), np.uint8)
classifier = load()
before = classifier.decide(images).tolist()
child = os.fork()
if child == 0:
    signal.alarm(60)
    atexit.register(lambda: print("at exit", flush=True))
    try:
        {body}
    except drupe.DrupeError as error:
        print(type(error).__name__, error, flush=True)
    print("unflushed", end=" ")
    sys.exit(7)
_, status = os.waitpid(child, 0)
assert classifier.decide(images).tolist() == before
print("child", os.waitstatus_to_exitcode(status))
"""

BACKENDS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not runs_here(name, "fp32"), reason="not installed")
    )
    for name in ("onnxruntime", "openvino")
]


def forked(bundle: Path, backend: str, body: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body), str(bundle), backend],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("call", ["decide", "scores", "examine"])
def test_a_copy_is_told_to_load_for_itself(bundle, backend: str, call: str) -> None:
    lines = forked(bundle, backend, f"classifier.{call}(images)")
    assert lines[0].startswith("ForkedProcessError this classifier was loaded in the process that")
    assert "call drupe.load in each process" in lines[0]
    assert lines[1:] == ["unflushed at exit", "child 7"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("body", ["pass", "del classifier"])
def test_a_copy_that_decides_nothing_ends_as_it_wants_to(bundle, backend: str, body: str) -> None:
    assert forked(bundle, backend, body) == ["unflushed at exit", "child 7"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_copy_that_loads_anew_decides_or_says_that_it_cannot(bundle, backend: str) -> None:
    lines = forked(bundle, backend, "print(load().decide(images).tolist() == before, flush=True)")
    if backend == "openvino":  # it would end the process without a word
        assert lines[0].startswith("ForkedProcessError OpenVINO was used in the process that")
    else:
        assert lines[0] == "True"
    assert lines[1:] == ["unflushed at exit", "child 7"]
