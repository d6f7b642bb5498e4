from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from drupe.data.synthetic import synthesise
from drupe.errors import InputError
from drupe.evaluation.source import read_run_predictions
from drupe.training.fresh import certify_on_fresh
from drupe.training.run import train_run


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
    certified = certify_on_fresh(model, run, fresh, store)
    assert certified.calibration is not None
    assert len(certified.calibration.table) == 40
    assert len(certified.calibration.distinct) == 39
    assert certified.data_fingerprint != model.data_fingerprint
    assert certified.approximate is None
    assert certified.test is model.test


def test_the_same_network_gives_the_same_scores(run, store, crops, tmp_path) -> None:
    """The run's own test crops, as pixels that its folder doesn't hold: one byte is changed."""
    model = read_run_predictions(run)
    expected = dict(zip(model.test.table.paths, model.test.table.logits.tolist(), strict=True))
    for path in expected:
        target = tmp_path / "moved" / path.removeprefix("val/")
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(Image.open(crops / path)).copy()
        pixels[0, 0, 1] ^= 1
        Image.fromarray(pixels).save(target)
    table = certify_on_fresh(model, run, tmp_path / "moved", store).calibration.table
    found = dict(zip((f"val/{path}" for path in table.paths), table.logits.tolist(), strict=True))
    assert found.keys() == expected.keys()
    assert max(abs(found[path] - expected[path]) for path in found) < 0.02


def test_crops_that_the_run_has_seen_are_refused(run, store, crops, tmp_path) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=40, size=64, seed=98)
    folder = next(path for path in (fresh / "train").iterdir() if path.name.endswith("pit"))
    old = next((crops / "train" / folder.name).iterdir())
    Image.open(old).transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png")
    with pytest.raises(InputError, match=r"must hold new crops, got 1 that .*/turned.png"):
        certify_on_fresh(read_run_predictions(run), run, fresh, store)


def test_other_classes_are_refused(run, store, tmp_path) -> None:
    fresh = tmp_path / "fresh"
    synthesise(fresh, images=40, size=64, seed=97)
    for split in ("train", "val"):
        clean = next(path for path in (fresh / split).iterdir() if path.name.endswith("clean"))
        shutil.move(clean, clean.with_name("ok"))
    with pytest.raises(InputError, match="classes"):
        certify_on_fresh(read_run_predictions(run), run, fresh, store)
