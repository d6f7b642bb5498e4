"""Real trainings: one of three learning rates can learn; killed three times, and on Ray."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="needs drupe[tune]")

from drupe.data.synthetic.generation import synthesise
from drupe.runs.record import read_record
from processes import all_gone, children_of

pytestmark = pytest.mark.slow

EXPERIMENT = """
model: {architecture: test_resnet, pretrained: false}
input: {size: 64}
training: {epochs: 4, batch_size: 16, learning_rate: 1.0e-9, threads: 1, precision: fp32,
  layout: contiguous, checkpoint_every: 1}
"""
SPACE = "training.learning_rate: [1.0e-9, 1.0e-8, 3.0e-3]\n"
TRIALS, FOLDS = 6, 2
BEST = 3e-3


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "crops"
    synthesise(folder, images=160, size=64, seed=1)
    return folder


class Tune:
    """``drupe tune`` in a folder of its own."""

    def __init__(self, folder: Path, crops: Path, *more: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "tiny.yaml").write_text(EXPERIMENT)
        (folder / "space.yaml").write_text(SPACE)
        self.words = ["tune", "tiny.yaml", "--space", "space.yaml", "--data", str(crops), "--json"]
        self.words += ["--trials", str(TRIALS), "--folds", str(FOLDS), "--min-recall", "0", *more]
        self.store = folder / "drupe-store" / "tune" / "tiny"

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "drupe", *self.words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Whoever runs the tests in the background ignores Ctrl-C, and would pass that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def ends(self) -> dict[str, Any]:
        process = self.start()
        printed, said = process.communicate(timeout=1800)
        assert process.returncode == 0, said.decode()
        found: dict[str, Any] = json.loads(printed)
        return found

    def finished(self) -> dict[Path, str]:
        """Return when each finished fold was begun."""
        records = {file.parent: read_record(file.parent) for file in self.store.rglob("run.json")}
        return {run: one.started for run, one in records.items() if one and one.status == "done"}

    def killed_after(self, runs: int) -> dict[Path, str]:
        """Start it, kill it once so many more folds are finished; return those finished."""
        before, process = len(self.finished()), self.start()
        while len(self.finished()) < before + runs or not children_of(process.pid):
            assert process.poll() is None, process.communicate()[1].decode()
            time.sleep(0.05)
        children = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert all_gone(children)
        return self.finished()


def settings(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    keys = ("number", "settings", "outcome", "scores")
    return [tuple(str(one[key]) for key in keys) for one in found["trials"]]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_known_best_is_found_also_when_killed_three_times(tmp_path, crops) -> None:
    whole = Tune(tmp_path / "whole", crops).ends()
    assert whole["best"]["settings"] == {"training.learning_rate": BEST}
    assert whole["best"]["scores"]["mean"] > whole["given"]["scores"]["mean"] + 0.05

    killed = Tune(tmp_path / "killed", crops)
    kept: dict[Path, str] = {}
    for runs in (1, 2, 3):
        now = killed.killed_after(runs)
        assert kept.items() <= now.items(), "what was finished was not done again"
        kept = now
    found = killed.ends()
    assert kept.items() <= killed.finished().items()
    assert settings(found) == settings(whole)
    assert len(found["trials"]) == TRIALS


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(tmp_path, crops) -> None:
    tune = Tune(tmp_path / "stopped", crops)
    process = tune.start()
    while not tune.finished():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1].decode()
    assert process.returncode == 130, said
    assert "nothing is lost, and the same command continues: drupe tune tiny.yaml" in said
    assert "Traceback" not in said
    kept = tune.finished()
    assert tune.ends()["best"]["settings"] == {"training.learning_rate": BEST}
    assert kept.items() <= tune.finished().items()


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("ray", reason="needs drupe[ray]")
    from ray_nodes import start_two_nodes

    for nodes in start_two_nodes(monkeypatch, tmp_path):
        yield nodes.address


def test_two_workers_of_a_cluster_find_it_too(tmp_path, crops, address) -> None:
    tune = Tune(tmp_path / "cluster", crops, "--executor", "ray", "--address", address)
    found = tune.ends()
    assert found["best"]["settings"] == {"training.learning_rate": BEST}
    assert len([one for one in found["trials"] if one["scores"]]) == TRIALS
    for name in ("one", "two"):
        packs = list((tmp_path / name).rglob("images.npy"))
        assert len(packs) == 1, "each node has had work"
    assert str(crops) in next(tune.store.rglob("config.yaml")).read_text()
    assert (tune.store / "tune.html").exists()
