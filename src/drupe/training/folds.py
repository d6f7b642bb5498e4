"""Cross-fitting's runs: where they lie and how they are configured."""

from __future__ import annotations

from pathlib import Path

from drupe.training.config import CalibrationConfig, ExperimentConfig


def fold_folder(run: Path, fold: int, folds: int) -> Path:
    """Return where the run lies that leaves one fold out for ``run``."""
    return run.parent / f"{run.name}-cross-fit-{folds}" / f"fold-{fold}"


def configure_fold(config: ExperimentConfig, fold: int, folds: int) -> ExperimentConfig:
    """Return the configuration of the run that leaves ``fold`` (from 0) of ``folds`` out."""
    calibration = CalibrationConfig(holdout=config.calibration.holdout, crossfit=folds, fold=fold)
    return config.model_copy(
        update={"calibration": calibration, "name": f"{config.name}-fold-{fold}"}
    )
