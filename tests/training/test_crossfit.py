from __future__ import annotations

import numpy as np
import pytest

from drupe.errors import InputError
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.operating_point import Request, operating_point
from drupe.evaluation.predictions_csv import read_predictions
from drupe.runs.record import read_record
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.preparation import prepare_data
from drupe.training.run import train_run
from drupe.training.saved import evaluate_run, load_network


@pytest.fixture(scope="module")
def module_store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


def test_every_training_item_gets_a_score_from_a_network_that_never_saw_it(
    tiny, module_store, tmp_path
) -> None:
    config, run = tiny(training={"epochs": 1}), tmp_path / "run"
    train_run(config, run, module_store)
    model = read_run_predictions(run)

    fitted = calibrate_on_folds(model, run, 3, module_store)

    data = prepare_data(config, module_store)
    training = np.sort(np.concatenate([data.split.fit, data.split.calibration]))
    assert fitted.calibration is not None
    assert fitted.calibration.table.paths == tuple(data.dataset.paths[i] for i in training)
    np.testing.assert_array_equal(
        fitted.calibration.table.is_defect, data.dataset.is_defect[training]
    )
    np.testing.assert_array_equal(fitted.calibration.groups, data.groups[training])
    # Each fold's own file has the same logits; the scores have the temperature of the run.
    temperature = load_network(run)[1].temperature
    logit_of = dict(
        zip(fitted.calibration.table.paths, fitted.calibration.table.logits, strict=True)
    )
    for fold in range(3):
        folder = tmp_path / "run-cross-fit-3" / f"fold-{fold}"
        table = read_predictions(folder / "predictions" / "calibration.csv")
        assert [logit_of[path] for path in table.paths] == table.logits.tolist()
        record = read_record(folder)
        assert record.data.fit + record.data.calibration == len(training)
    np.testing.assert_allclose(
        fitted.calibration.table.scores,
        1 / (1 + np.exp(-fitted.calibration.table.logits / temperature)),
        rtol=1e-5,
    )
    assert fitted.test is model.test

    point = operating_point(fitted, Request(min_recall=0.8, confidence=0.9))
    assert point.certificate is not None
    assert "3 networks" in point.certificate.approximate
    assert point.to_json()["approximate"] is True

    before = read_record(tmp_path / "run-cross-fit-3" / "fold-1")
    calibrate_on_folds(model, run, 3, module_store)  # nothing is trained twice
    assert read_record(tmp_path / "run-cross-fit-3" / "fold-1") == before


def test_a_fold_is_not_cross_fitted_again(tiny, module_store, tmp_path) -> None:
    config = tiny(training={"epochs": 1}, calibration={"crossfit": 2, "fold": 1})
    train_run(config, tmp_path / "fold", module_store)
    with pytest.raises(InputError, match="is itself a fold"):
        calibrate_on_folds(
            read_run_predictions(tmp_path / "fold"), tmp_path / "fold", 2, module_store
        )


def test_a_run_on_all_training_items_keeps_the_pooled_predictions(
    tiny, module_store, tmp_path
) -> None:
    config, run = tiny(training={"epochs": 1}, calibration={"crossfit": 2}), tmp_path / "run"
    train_run(config, run, module_store)
    model = read_run_predictions(run)
    data = prepare_data(config, module_store)
    assert model.calibration is None
    assert model.approximate is None
    assert data.split.calibration.size == 0
    with pytest.raises(InputError, match="give --cross-fit K"):
        operating_point(model, Request())

    fitted = calibrate_on_folds(model, run, 2, module_store)

    again = read_run_predictions(run)
    assert again.calibration.table.paths == fitted.calibration.table.paths
    assert len(again.calibration.table) == len(data.split.fit)
    np.testing.assert_array_equal(again.calibration.table.scores, fitted.calibration.table.scores)
    np.testing.assert_array_equal(again.test.groups, model.test.groups)
    assert "2 networks" in again.approximate
    certificate = operating_point(again, Request(min_recall=0.8, confidence=0.9)).certificate
    assert not certificate.is_exact

    evaluate_run(run, module_store)  # whose predictions are those of this network alone
    assert read_run_predictions(run).calibration is None
    assert read_run_predictions(run).approximate is None
