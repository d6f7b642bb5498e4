from __future__ import annotations

import pytest

from drupe.training.config import ExperimentConfig
from drupe.training.folds import configure_fold


def test_a_fold_differs_from_its_run_in_what_it_leaves_out_alone() -> None:
    config = ExperimentConfig.model_validate(
        {"name": "A", "model": {"architecture": "test_resnet"}, "calibration": {"holdout": 0.4}}
    )

    fold = configure_fold(config, 1, 3)

    assert (fold.name, fold.calibration.left_out) == ("A-fold-1", (1, 3))
    assert fold.calibration.share == 0.4
    others = {"name", "calibration"}
    assert fold.model_dump(exclude=others) == config.model_dump(exclude=others)


@pytest.mark.parametrize(
    ("fold", "folds", "message"),
    [
        (3, 3, r"fold must be in \[0, 3\), got 3"),
        (0, 1, "greater than or equal to 2"),
        (-1, 3, "greater than or equal to 0"),
    ],
)
def test_a_fold_that_there_is_not_is_refused(fold, folds, message) -> None:
    config = ExperimentConfig.model_validate({"model": {"architecture": "test_resnet"}})

    with pytest.raises(ValueError, match=message):
        configure_fold(config, fold, folds)
