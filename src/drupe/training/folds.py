"""Runs that leave a fold out: of all training items, or of the fit split alone."""

from __future__ import annotations

from drupe.training.config import CalibrationConfig, ExperimentConfig, InnerFold


def configure_fold(config: ExperimentConfig, fold: int, folds: int) -> ExperimentConfig:
    """Return the configuration of the run that leaves ``fold`` (from 0) of ``folds`` out."""
    calibration = CalibrationConfig(holdout=config.calibration.holdout, crossfit=folds, fold=fold)
    return config.model_copy(
        update={"calibration": calibration, "name": f"{config.name}-fold-{fold}"}
    )


def configure_inner_fold(config: ExperimentConfig, fold: int, folds: int) -> ExperimentConfig:
    """Return the configuration of the run that is judged on ``fold`` (from 0) of ``folds`` of fit.

    Where ``config`` is itself such a run, on a fold of what it learns from.
    """
    inner = (*config.data.inner, InnerFold(fold=fold, folds=folds))
    return config.model_copy(update={"data": config.data.model_copy(update={"inner": inner})})
