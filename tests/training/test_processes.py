"""Runs as processes of their own: killed without warning, or several under torchrun."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from drupe.runs.record import read_record
from drupe.training.tensor_file import load_tensors

pytestmark = pytest.mark.thorough

EPOCHS = 12


def command(file: Path, out: Path, store: Path) -> list[str]:
    words = ["train", str(file), "--resume", "--out", str(out), "--store", str(store)]
    return [sys.executable, "-m", "drupe", *words]


@pytest.fixture
def experiment(tiny, tmp_path) -> Path:
    training = {"epochs": EPOCHS, "checkpoint_every": 1, "precision": "fp32", "threads": None}
    config = tiny(training=training)
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return file


def assert_same_weights(a: Path, b: Path) -> None:
    left, right = (load_tensors(folder / "model.safetensors")[0] for folder in (a, b))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    for name in ("predictions/test.csv", "evaluation.json"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def wait_for_epochs(metrics: Path, count: int, child: subprocess.Popen[bytes]) -> None:
    while not metrics.exists() or len(metrics.read_text().splitlines()) < count:
        assert child.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)


def test_a_run_killed_in_the_middle_ends_in_the_same_weights(experiment, store, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(experiment, whole, store), check=True)

    child = subprocess.Popen(command(experiment, cut, store))
    wait_for_epochs(cut / "metrics.jsonl", 3, child)
    child.kill()
    child.wait()
    record = read_record(cut)
    assert record is not None
    assert record.status == "running"
    subprocess.run(command(experiment, cut, store), check=True)

    assert_same_weights(whole, cut)


def test_ten_random_kills(experiment, store, tmp_path):
    whole = tmp_path / "whole"
    started = time.monotonic()
    subprocess.run(command(experiment, whole, store), check=True)
    seconds = time.monotonic() - started
    moments = random.Random(0)
    for number in range(10):
        cut = tmp_path / f"cut-{number}"
        child = subprocess.Popen(command(experiment, cut, store))
        time.sleep(moments.uniform(0, seconds))
        child.kill()
        child.wait()
        subprocess.run(command(experiment, cut, store), check=True)
        assert_same_weights(whole, cut)


def test_two_processes_under_torchrun(experiment, store, tmp_path):
    out = tmp_path / "run"
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "drupe"]
    words = command(experiment, out, store)[3:]

    for _ in range(2):  # the second time finds the run done on both ranks
        subprocess.run([sys.executable, "-m", *launcher, *words], check=True)

    record = read_record(out)
    assert record is not None
    assert (record.status, record.processes) == ("done", 2)
    assert len((out / "metrics.jsonl").read_text().splitlines()) == EPOCHS
    weights = load_tensors(out / "model.safetensors")[0]
    assert all(torch.isfinite(tensor.float()).all() for tensor in weights.values())


def test_two_processes_train_their_teachers_too(tiny, store, tmp_path):
    file, out = tmp_path / "student.yaml", tmp_path / "run"
    config = tiny(training={"epochs": 1, "teacher": {"recipes": ["self"], "folds": 2}})
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "drupe"]
    words = command(file, out, store)[3:]
    subprocess.run([sys.executable, "-m", *launcher, *words], check=True)
    record = read_record(out)
    assert record is not None
    assert record.teacher is not None
    assert (record.processes, len(record.teacher.runs)) == (2, 2)
