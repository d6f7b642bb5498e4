"""A study and its workers killed with SIGKILL at random moments."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drupe.runs.record import read_record
from processes import all_gone, children_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

STUDY = """
study: killed
seeds: [1, 2]
retries: 10
criteria: {accuracy: 0.999, recall: 0.8}
baseline: {experiment: BASE}
defaults:
  model: {architecture: test_resnet, pretrained: false}
  input: {size: 64}
  training: {epochs: 3, batch_size: 16, learning_rate: 1.0e-3, threads: 1, checkpoint_every: 1,
    precision: fp32, layout: contiguous}
experiments:
  - {id: BASE}
  - {id: EXP-001, kind: threshold, of: BASE}
  - {id: NEW, config: {training: {label_smoothing: 0.1}, calibration: {crossfit: 2}}}
comparisons: [{a: NEW, b: BASE}]
"""
KILLS = 10
SEED = 20240607


class Study:
    """A ``drupe study run`` in a store of its own, and what it had finished at each kill."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder, self.data = folder, data
        folder.mkdir()
        (folder / "killed.yaml").write_text(STUDY)
        self.runs = folder / "drupe-store" / "runs" / "killed"
        self.process: subprocess.Popen[bytes] | None = None
        self.finished: dict[Path, tuple[str, int]] = {}

    def start(self) -> subprocess.Popen[bytes]:
        words = ("study", "run", "killed.yaml", "--data", str(self.data), "--parallel", "2")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "drupe", *words],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return self.process

    def ends(self) -> None:
        """Run it to its end."""
        process = self.process if self.process and self.process.poll() is None else self.start()
        said = process.communicate(timeout=1200)[1].decode()
        assert process.returncode == 0, said

    def look(self) -> None:
        """Note which runs have finished; none that had may have been touched."""
        for file in self.runs.rglob("run.json"):
            with contextlib.suppress(FileNotFoundError):
                record = read_record(file.parent)
                if record is None or record.status != "done":
                    continue
                seen = (record.started, (file.parent / "model.safetensors").stat().st_mtime_ns)
                assert self.finished.setdefault(file.parent, seen) == seen

    def verdict(self) -> dict:
        return json.loads((self.runs / "verdict.json").read_text())


def workers_of(study: int) -> list[int]:
    """Return the processes that do the work: children of those that keep them ready."""
    return [worker for child in children_of(study) for worker in children_of(child)]


def test_killed_at_random_moments_it_ends_with_the_same_verdict(tmp_path, small_synthetic) -> None:
    chance = random.Random(SEED)
    calm = Study(tmp_path / "calm", small_synthetic)
    begun = time.monotonic()
    calm.ends()
    seconds = time.monotonic() - begun

    victims = ["study"] * (KILLS // 2) + ["worker"] * (KILLS // 2)
    chance.shuffle(victims)
    study = Study(tmp_path / "killed", small_synthetic)
    others = 0
    orphans_seen = 0
    while victims:
        process = study.process
        if process is None or process.poll() is not None:
            process = study.start()
        time.sleep(chance.uniform(0.05, 0.4) * seconds)
        if process.poll() is not None:  # it was faster: another one takes the rest of the kills
            study.ends()
            study.look()
            assert study.verdict() == calm.verdict()
            others += 1
            study = Study(tmp_path / f"killed-{others}", small_synthetic)
            continue
        workers = workers_of(process.pid)
        if not workers and (victims[-1] == "worker" or not orphans_seen):
            continue  # on a quick machine few moments have workers
        study.look()
        if victims.pop() == "worker":
            os.kill(chance.choice(workers), signal.SIGKILL)
            print(f"killed one of {len(workers)} workers, {len(study.finished)} runs finished")
            continue
        process.kill()
        process.communicate()
        orphans_seen += len(workers)
        print(f"killed the study with {len(workers)} workers, {len(study.finished)} runs finished")
        assert all_gone(workers)
        study.look()
    study.ends()
    study.look()

    assert study.verdict() == calm.verdict()
    assert len(study.finished) == len(list(study.runs.rglob("run.json"))) == 6
    assert orphans_seen > 0
    print(f"{KILLS} kills over {others + 1} studies; undisturbed: {seconds:.0f} s")
