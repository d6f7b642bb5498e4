from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from drupe.errors import InputError, TrainingDivergedError
from drupe.evaluation.predictions_csv import read_predictions
from drupe.files import read_json
from drupe.runs.record import read_record
from drupe.training import engine
from drupe.training.config import read_config
from drupe.training.engine import Trainer
from drupe.training.run import train_run
from drupe.training.tensor_file import load_tensors


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "model.safetensors")[0]


def same(a: Path, b: Path) -> bool:
    left, right = weights(a), weights(b)
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_a_run_leaves_what_the_design_says(tiny, store, tmp_path):
    folder = tmp_path / "run"

    outcome = train_run(tiny(), folder, store)

    assert {item.name for item in folder.iterdir()} == {
        "run.json",
        "config.yaml",
        "metrics.jsonl",
        "model.safetensors",
        "predictions",
        "evaluation.json",
        "trained-on.txt",
        "items.csv",
    }
    record, config = read_record(folder), read_config(folder)
    assert record is not None
    assert (record.status, record.seed, record.crop) == ("done", 42, None)
    assert config.training.precision in {"fp32", "bf16"}
    assert config.training.threads == torch.get_num_threads()
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics] == [0, 1]
    test = read_predictions(folder / "predictions" / "test.csv")
    assert len(test) == record.data.test == outcome.evaluation.test.images
    assert test.classes == ("cherry_clean", "cherry_pit")
    metadata = load_tensors(folder / "model.safetensors")[1]
    assert metadata["input"] == {
        "size": 64,
        "range": "raw",
        "crop": None,
        "resolution": None,
        "views": 1,
        "channels": "rgb",
        "white_level": 255,
    }
    assert metadata["temperature"] == outcome.evaluation.temperature


def test_copies_of_test_items_are_neither_learnt_nor_calibrated_on(tiny, store, tmp_path, crops):
    train_run(tiny(), tmp_path / "run", store)
    leaked = {pair[0] for pair in read_json(crops / "truth.json")["leaks"]}

    record = read_record(tmp_path / "run")
    calibration = read_predictions(tmp_path / "run" / "predictions" / "calibration.csv")

    assert record is not None
    assert record.data.dropped == len(leaked) == 2
    assert not leaked & set(calibration.paths)


def test_same_seed_same_bits_and_other_seed_other_weights(tiny, store, tmp_path):
    train_run(tiny(), tmp_path / "a", store)
    train_run(tiny(), tmp_path / "b", store)
    train_run(tiny(seed=43), tmp_path / "c", store)

    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "a/predictions/test.csv").read_bytes() == (
        tmp_path / "b/predictions/test.csv"
    ).read_bytes()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_resumed_run_ends_in_the_same_bits(tiny, store, tmp_path, monkeypatch, optimiser):
    config = tiny(training={"epochs": 4, "checkpoint_every": 2, "optimiser": optimiser})
    train_run(config, tmp_path / "whole", store)
    train_epoch = Trainer.train_epoch

    def stop_in_the_last_epoch(self, epoch, tracker):
        if epoch == 3:
            raise MemoryError("stopped by the test")
        return train_epoch(self, epoch, tracker)

    monkeypatch.setattr(Trainer, "train_epoch", stop_in_the_last_epoch)
    with pytest.raises(MemoryError):
        train_run(config, tmp_path / "cut", store)
    record = read_record(tmp_path / "cut")
    assert record is not None
    assert (record.status, record.error) == ("failed", "MemoryError: stopped by the test")
    monkeypatch.undo()

    outcome = train_run(config, tmp_path / "cut", store, resume=True)

    assert not outcome.already_done
    assert same(tmp_path / "whole", tmp_path / "cut")
    assert not (tmp_path / "cut" / "checkpoint").exists()
    metrics = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in metrics] == [0, 1, 2, 3]


def test_resume_of_a_finished_run_does_nothing(tiny, store, tmp_path):
    first = train_run(tiny(), tmp_path / "run", store)
    before = (tmp_path / "run" / "run.json").read_bytes()

    again = train_run(tiny(), tmp_path / "run", store, resume=True)

    assert again.already_done
    assert again.evaluation == first.evaluation
    assert (tmp_path / "run" / "run.json").read_bytes() == before


def test_a_folder_with_this_run_asks_for_resume(tiny, store, tmp_path):
    train_run(tiny(), tmp_path / "run", store)
    with pytest.raises(InputError, match="already holds this run, finished; add --resume"):
        train_run(tiny(), tmp_path / "run", store)


def test_a_folder_with_another_run_names_what_differs(tiny, store, tmp_path):
    train_run(tiny(), tmp_path / "run", store)
    config = tiny(training={"epochs": 3}, seed=1)
    with pytest.raises(
        InputError,
        match=r"another run \(seed: run has 42, now 1; training.epochs: run has 2, now 3\)",
    ):
        train_run(config, tmp_path / "run", store, resume=True)


def test_a_folder_with_other_files_is_left_alone(tiny, store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    with pytest.raises(InputError, match=r"must be new or empty, .*thesis\.txt"):
        train_run(tiny(), tmp_path / "run", store)
    assert (tmp_path / "run" / "thesis.txt").read_text() == "precious"


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    tiny, store, tmp_path, monkeypatch
):
    train_step = Trainer.train_step

    def poisoned(self, epoch, step, items, random):
        loss, hits = train_step(self, epoch, step, items, random)
        return (loss * float("nan") if (epoch, step) == (1, 2) else loss), hits

    monkeypatch.setattr(Trainer, "train_step", poisoned)
    with pytest.raises(TrainingDivergedError, match="the loss became nan at epoch 2, step 3"):
        train_run(tiny(), tmp_path / "run", store)
    record = read_record(tmp_path / "run")
    assert record is not None
    assert record.status == "failed"


def test_training_learns(tiny, store, tmp_path):
    config = tiny(
        training={"epochs": 12, "learning_rate": 3e-3, "checkpoint_every": 100}, input={"crop": 48}
    )

    train_run(config, tmp_path / "run", store)

    metrics = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert metrics[-1]["loss"] < 0.9 * metrics[0]["loss"]


def test_batches_cover_an_epoch_once_over_all_ranks():
    import numpy as np

    from drupe.training.distributed import World

    order = engine.epoch_order(np.arange(50), seed=1, epoch=0)
    parts = [list(engine.batches(order, 16, World(rank=rank, size=2))) for rank in (0, 1)]

    seen = np.concatenate([items for part in parts for _, items in part])

    assert len(seen) == 48
    assert len(set(seen.tolist())) == 48
    assert {len(items) for part in parts for _, items in part} == {8}


def test_a_damaged_evaluation_is_refused_with_the_remedy(tiny, store, tmp_path):
    train_run(tiny(), tmp_path / "run", store)
    for damaged in ("[]", "{}", '"x"', "null", '{"test": {}}', "not JSON"):
        (tmp_path / "run" / "evaluation.json").write_text(damaged)
        with pytest.raises(InputError, match=r"evaluation\.json[\s\S]*drupe evaluate .* writes it"):
            train_run(tiny(), tmp_path / "run", store, resume=True)


def test_what_is_skipped_is_part_of_the_outcome(tiny, store, tmp_path, crops):
    root = tmp_path / "crops"
    shutil.copytree(crops, root)
    odd = sorted((root / "train" / "cherry_clean").iterdir())[0]
    odd.write_bytes(b"not an image")
    config = tiny(data={"root": str(root), "unreadable": "skip"}, training={"epochs": 1})

    first = train_run(config, tmp_path / "run", store)
    again = train_run(config, tmp_path / "run", store, resume=True)

    ((path, _),) = first.skipped
    assert path == f"train/cherry_clean/{odd.name}"
    assert again.skipped == first.skipped
