"""Cross-fitting's runs: how they are configured."""

from __future__ import annotations

from drupe.training.config import CalibrationConfig, ExperimentConfig


def configure_fold(config: ExperimentConfig, fold: int, folds: int) -> ExperimentConfig:
    """Return the configuration of the run that leaves ``fold`` (from 0) of ``folds`` out."""
    calibration = CalibrationConfig(holdout=config.calibration.holdout, crossfit=folds, fold=fold)
    return config.model_copy(
        update={"calibration": calibration, "name": f"{config.name}-fold-{fold}"}
    )
