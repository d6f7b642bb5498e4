from __future__ import annotations

import numpy as np

from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.predictions_csv import read_predictions
from drupe.labels.ranking import class_probabilities
from drupe.labels.run_ranking import rank_run
from drupe.training.config import validate_experiment
from drupe.training.crossfit import calibrate_on_folds
from drupe.training.run import train_run
from drupe.training.saved import load_network


def test_a_run_that_learnt_from_all_training_items_is_ranked_and_stays_as_it_is(
    tmp_path, small_synthetic
) -> None:
    """And is ranked alike once a cross-fit has given it the folds' scores as calibration."""
    document = {
        "name": "tiny",
        "seed": 42,
        "model": {"architecture": "test_resnet", "pretrained": False},
        "input": {"size": 64},
        "data": {"root": str(small_synthetic)},
        "training": {"epochs": 1, "batch_size": 16, "threads": 1},
        "calibration": {"crossfit": 2},
    }
    run, store = tmp_path / "run", tmp_path / "store"
    train_run(validate_experiment(document, "tiny.yaml"), run, store)

    found = rank_run(run, 2, store)

    assert {one.split for one in found.ranking} == {"fit", "test"}
    assert len(found.ranking) == 200
    assert found.no_holders is not None
    assert "at least 299 distinct defects" in found.no_holders
    model = read_run_predictions(run)
    assert model.calibration is None
    # A training item's score is that of the fold that left it out, at the run's temperature.
    temperature = load_network(run)[1].temperature
    score_of = {one.path: one.score for one in found.ranking}
    for fold in range(2):
        folder = tmp_path / "run-cross-fit-2" / f"fold-{fold}"
        table = read_predictions(folder / "predictions" / "calibration.csv")
        assert table.logits is not None
        np.testing.assert_allclose(
            [score_of.pop(path) for path in table.paths],
            class_probabilities(table.logits, temperature)[:, 1],
        )
    assert model.test is not None
    assert set(score_of) == set(model.test.table.paths)

    calibrate_on_folds(model, run, 2, store)
    assert read_run_predictions(run).calibration is not None
    assert rank_run(run, 2, store).ranking == found.ranking
