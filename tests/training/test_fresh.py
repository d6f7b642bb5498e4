from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from drupe.data.decode import decode
from drupe.data.synthetic.generation import synthesise
from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.training.fresh import calibrate_on_fresh
from drupe.training.run import train_run
from drupe.training.saved import load_network


@pytest.fixture(scope="module")
def run(tmp_path_factory, crops, store):
    from drupe.training.config import validate_experiment

    folder = tmp_path_factory.mktemp("fresh") / "run"
    config = validate_experiment(
        {
            "model": {"architecture": "test_efficientnet", "pretrained": False},
            "input": {"size": 64},
            "data": {"root": str(crops)},
            "training": {"epochs": 1, "batch_size": 16, "threads": 1},
        },
        "tiny.yaml",
    )
    train_run(config, folder, store)
    return folder


def test_new_crops_become_the_calibration(run, store, tmp_path) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=40, size=64, seed=99, duplicates=1)
    model = read_run_predictions(run)
    certified = calibrate_on_fresh(model, run, fresh, store)
    assert certified.calibration is not None
    assert len(certified.calibration.table) == 40
    assert len(certified.calibration.distinct) == 39
    assert certified.data_fingerprint != model.data_fingerprint
    assert certified.approximate is None
    assert certified.test is model.test


def test_scores_are_those_of_the_run_s_network(run, store, tmp_path) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=40, size=64, seed=96)
    table = calibrate_on_fresh(read_run_predictions(run), run, fresh, store).calibration.table
    network, metadata = load_network(run)
    images = np.stack([decode(fresh / path) for path in table.paths])
    with torch.inference_mode():
        logits = network.defect_logit(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(table.logits, logits, atol=1e-4)
    np.testing.assert_allclose(
        table.scores, 1 / (1 + np.exp(-logits / metadata.temperature)), atol=1e-5
    )


def altered(path, change: str) -> Image.Image:
    """A crop as someone might hand it in again."""
    image = Image.open(path)
    if change == "turned":
        return image.transpose(Image.Transpose.ROTATE_90)
    pixels = np.asarray(image).copy()
    pixels[0, 0, 1] ^= 1
    return Image.fromarray(pixels)


@pytest.mark.parametrize("change", ["turned", "one bit"])
def test_crops_that_the_run_has_seen_are_refused(run, store, crops, tmp_path, change) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=40, size=64, seed=98)
    folder = next(path for path in (fresh / "train").iterdir() if path.name.endswith("pit"))
    old = sorted((crops / "train" / folder.name).iterdir())[3]
    altered(old, change).save(folder / "again.png")
    with pytest.raises(InputError, match=r"must hold new crops, got 1 that .*/again\.png"):
        calibrate_on_fresh(read_run_predictions(run), run, fresh, store)


def test_without_the_run_s_data_nothing_is_called_new(run, store, crops, tmp_path) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=40, size=64, seed=95)
    other = replace(read_run_predictions(run), data_fingerprint="0" * 64)
    with pytest.raises(InputError, match="it can't be told whether the crops are new"):
        calibrate_on_fresh(other, run, fresh, store)


def test_other_classes_are_refused(run, store, tmp_path) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=40, size=64, seed=97)
    for split in ("train", "val"):
        clean = next(path for path in (fresh / split).iterdir() if path.name.endswith("clean"))
        shutil.move(clean, clean.with_name("ok"))
    with pytest.raises(InputError, match="classes"):
        calibrate_on_fresh(read_run_predictions(run), run, fresh, store)
