from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from drupe.errors import TrainingDivergedError
from drupe.evaluation.predictions_csv import read_predictions
from drupe.evaluation.temperature import fit_temperature
from drupe.models.geometry import Geometry
from drupe.models.network import build_network
from drupe.progress import silent
from drupe.training import judgement
from drupe.training.image_batches import ImageSource
from drupe.training.judgement import defect_logits, judge
from drupe.training.preparation import prepare_data


@pytest.fixture
def data(tiny, store):
    return prepare_data(tiny(), store)


@pytest.fixture
def source(data) -> ImageSource:
    return ImageSource(data.dataset.images, data.dataset.is_defect, torch.device("cpu"))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network(
        "test_efficientnet",
        input_range="imagenet",
        geometry=Geometry(64),
        pretrained=False,
        frozen=False,
    ).network


def expected_logits(network, data, items):
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(data.dataset.images[items]))
    return (logits[:, 1] - logits[:, 0]).numpy()


def test_logits_are_defect_minus_clean_in_the_order_of_the_items(
    network, data, source, monkeypatch
) -> None:
    monkeypatch.setattr(judgement, "PREDICTION_BATCH", 4)
    items = data.split.test[:10][::-1].copy()
    network.train()

    found = defect_logits(network, source, items, silent, "predict")

    assert (found.dtype, found.shape) == (np.float32, (10,))
    assert found == pytest.approx(expected_logits(network, data, items), abs=1e-5)
    assert not network.training


def test_a_judged_run_holds_predictions_duplicates_and_their_counts(
    network, data, source, tmp_path
) -> None:
    evaluation = judge(network, data, source, tmp_path)

    assert json.loads((tmp_path / "evaluation.json").read_text()) == evaluation.to_json()
    paths = np.array(data.dataset.paths)
    splits = {"calibration": data.split.calibration, "test": data.split.test}
    groups = json.loads((tmp_path / "predictions" / "duplicates.json").read_text())
    assert set(groups) >= set(splits)
    for name, items in splits.items():
        table = read_predictions(tmp_path / "predictions" / f"{name}.csv")
        assert list(table.paths) == paths[items].tolist()
        assert table.is_defect.tolist() == data.dataset.is_defect[items].tolist()
        assert table.logits == pytest.approx(expected_logits(network, data, items), abs=1e-4)
        scores = 1 / (1 + np.exp(-table.logits.astype(float) / evaluation.temperature))
        assert table.scores == pytest.approx(scores, abs=1e-6)
    calibration = data.split.calibration
    logits = expected_logits(network, data, calibration)
    temperature = fit_temperature(logits, data.dataset.is_defect[calibration])
    assert evaluation.temperature == pytest.approx(temperature, rel=1e-3)
    assert evaluation.test.images == len(data.split.test)
    assert evaluation.test.defects == data.dataset.is_defect[data.split.test].sum()


def test_a_given_temperature_is_taken_as_it_is(network, data, source, tmp_path) -> None:
    assert judge(network, data, source, tmp_path, temperature=2.5).temperature == 2.5

    table = read_predictions(tmp_path / "predictions" / "test.csv")
    assert table.scores == pytest.approx(1 / (1 + np.exp(-table.logits / 2.5)), abs=1e-6)


def test_without_calibration_the_temperature_is_one_and_old_predictions_go(
    network, data, source, tmp_path
) -> None:
    nothing = dataclasses.replace(data.split, calibration=np.array([], np.intp))
    stale = tmp_path / "predictions" / "calibration.csv"
    stale.parent.mkdir()
    stale.write_text("what cross-fitting wrote about other weights")

    evaluation = judge(network, dataclasses.replace(data, split=nothing), source, tmp_path)

    assert evaluation.temperature == 1.0
    assert not stale.exists()
    assert (tmp_path / "predictions" / "test.csv").exists()


def test_a_network_that_answers_with_nan_is_not_judged(network, data, source, tmp_path) -> None:
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingDivergedError, match="answers with NaN or infinity: lower"):
        judge(network, data, source, tmp_path)

    assert list(tmp_path.iterdir()) == []
