from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from drupe.data.dataset import open_dataset
from drupe.errors import InputError
from drupe.evaluation.predictions_csv import read_predictions
from drupe.runs.record import read_record
from drupe.training.run import train_run
from drupe.training.saved import evaluate_run, load_network
from drupe.training.tensor_file import load_tensors, save_tensors
from run_files import refuse_writing


def forget_digests(folder: Path) -> None:
    """Make a run one of an earlier version, whose record says nothing of its files."""
    record = read_record(folder)
    record.results = None
    record.write(folder)


def test_evaluating_again_gives_the_same_files(tiny, store, tmp_path):
    folder = tmp_path / "run"
    first = train_run(tiny(), folder, store).evaluation
    before = (folder / "predictions" / "test.csv").read_bytes()

    assert evaluate_run(folder, store) == first
    assert (folder / "predictions" / "test.csv").read_bytes() == before


def test_the_saved_network_decides_raw_bytes_as_the_predictions_say(tiny, store, tmp_path, crops):
    import torch

    train_run(tiny(input={"crop": 48}), tmp_path / "run", store)
    test = read_predictions(tmp_path / "run" / "predictions" / "test.csv")
    dataset = open_dataset(crops, store=store, size=64)
    index = [dataset.paths.index(path) for path in test.paths]

    network, _ = load_network(tmp_path / "run")
    with torch.inference_mode():
        logits = network.defect_logit(torch.from_numpy(dataset.images[index])).numpy()

    assert np.allclose(logits, test.logits, atol=1e-4)


def test_moved_data_is_the_same_data(tiny, store, tmp_path, crops):
    train_run(tiny(), tmp_path / "run", store)
    shutil.copytree(crops, tmp_path / "moved")

    evaluate_run(tmp_path / "run", store, data_root=tmp_path / "moved")


def test_other_data_is_refused(tiny, store, tmp_path, crops):
    train_run(tiny(), tmp_path / "run", store)
    other = tmp_path / "other"
    shutil.copytree(crops, other)
    next((other / "val" / "cherry_pit").iterdir()).unlink()

    with pytest.raises(InputError, match="must be the data of the run"):
        evaluate_run(tmp_path / "run", store, data_root=other)


def test_a_folder_without_a_finished_run_is_refused(store, tmp_path):
    with pytest.raises(InputError, match=r"it holds no run\.json"):
        evaluate_run(tmp_path, store)


def test_the_other_class_as_the_defect_is_refused(tiny, store, tmp_path):
    folder = tmp_path / "run"
    train_run(tiny(), folder, store)
    before = (folder / "evaluation.json").read_bytes()

    with pytest.raises(
        InputError, match=r"must be cherry_clean / cherry_pit, .* got cherry_pit / cherry_clean"
    ):
        evaluate_run(folder, store, defect="cherry_clean")
    assert (folder / "evaluation.json").read_bytes() == before
    evaluate_run(folder, store, defect="cherry_pit")


def test_a_damaged_network_file_is_refused(tiny, store, tmp_path):
    train_run(tiny(), tmp_path / "run", store)
    file = tmp_path / "run" / "model.safetensors"
    tensors, document = load_tensors(file)
    forget_digests(tmp_path / "run")

    for damaged in ({}, [], None, {**document, "input": {}}, {**document, "temperature": "x"}):
        save_tensors(file, tensors, damaged)
        with pytest.raises(InputError, match=r"model\.safetensors"):
            load_network(tmp_path / "run")
    file.unlink()
    file.mkdir()
    with pytest.raises(InputError, match=r"model\.safetensors: .*a folder"):
        load_network(tmp_path / "run")


def test_a_run_that_can_only_be_read_is_judged_again(tiny, store, tmp_path, monkeypatch, caplog):
    """Its predictions were lost, say; where all is as it was, nothing would be told apart."""
    folder = tmp_path / "run"
    first = train_run(tiny(), folder, store).evaluation
    (folder / "predictions" / "test.csv").unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    acquire = FileLock.acquire

    def refuse(self, *arguments, **options):
        if Path(self.lock_file).parent == folder:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return acquire(self, *arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", refuse)
    refuse_writing(monkeypatch, folder, errno.EROFS)
    assert evaluate_run(folder, store) == first

    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert caplog.messages == [
        f"{folder}: can only be read (Read-only file system): what was found was not kept"
    ]
