"""Finished runs as files, and stores that trackers write them to."""

from __future__ import annotations

from pathlib import Path

from drupe.evaluation.document import evaluation_document
from drupe.runs.epoch_log import EpochResult, append_epoch
from drupe.runs.evaluation_file import Evaluation
from drupe.runs.record import DataRecord, RunRecord
from drupe.study.definition.plan import Task
from drupe.training.config import ExperimentConfig, write_config
from run_files import decided


def write_finished(folder: Path, experiment: str, seed: int) -> Task:
    """Write a finished run and return its task."""
    run = folder / experiment / f"seed-{seed}"
    run.mkdir(parents=True)
    config = ExperimentConfig.model_validate(
        {"name": experiment, "seed": seed, "model": {"architecture": "test_resnet"}}
    )
    write_config(run, config)
    RunRecord(
        status="done",
        experiment=experiment,
        seed=seed,
        identity=config.identity("f" * 64),
        data=DataRecord(
            fingerprint="f" * 64,
            classes=("clean", "pit"),
            fit=1,
            calibration=1,
            test=1,
            dropped=0,
            skipped=[],
        ),
        crop=None,
        weights=None,
        device="cpu",
        processes=1,
        versions={},
        host={},
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T00:01:00+00:00",
        train_seconds=50.0,
    ).write(run)
    for epoch, loss in enumerate((0.7, 0.6)):
        append_epoch(run, EpochResult(epoch, loss, 0.5, 1e-3, images=64, seconds=25.0))
    document = evaluation_document(
        calibration=None, test=decided(10, wrong=[0]), temperature=1.0, test_groups=range(10)
    )
    Evaluation.model_validate(document).write(run)
    return Task(f"{experiment} seed {seed}", "train", experiment, "gpu", run, seed, config)


def refuse_to_warn(message: str) -> None:
    raise AssertionError(message)
