"""A study folder for tests: fake runs, and a verdict as ``drupe study run`` writes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from drupe.evaluation.certificate import Certificate, certify_threshold
from drupe.evaluation.lanes import LaneCounts, Thresholds
from drupe.evaluation.model_predictions import read_run_predictions
from drupe.evaluation.paired import SeedSpread, clustered_mean_interval, correct_decisions
from drupe.evaluation.predictions import Predictions
from drupe.runs.epoch_log import EpochResult, append_epoch
from drupe.runs.record import DataRecord, RunRecord
from drupe.training.config import validate_experiment, write_config
from run_files import predictions, write_run

FINGERPRINT = "f" * 64
ACCURACY = {"mean": 0.909, "low": 0.89, "high": 0.926}


def renamed(table: Predictions, paths: Sequence[str], classes: tuple[str, str]) -> Predictions:
    return replace(table, paths=tuple(paths), classes=classes)


def write_study_run(
    study: Path,
    experiment: str,
    seed: int,
    *,
    test: Predictions | None = None,
    root: Path | None = None,
    epochs: int = 3,
    copies: int = 0,
) -> Path:
    """Write a whole run directory; ``test`` None: 800 items, scored better or worse by the seed."""
    test = test or predictions(800, 2, quality=2.0 + seed / 1000)
    calibration = replace(predictions(1000, seed, prefix="train"), classes=test.classes)
    folder = study / experiment / f"seed-{seed}"
    write_run(
        folder,
        calibration=calibration,
        test=test,
        experiment=experiment,
        seed=seed,
        copies=copies,
    )
    record = RunRecord(
        status="done",
        experiment=experiment,
        seed=seed,
        identity="e" * 64,
        data=DataRecord(
            fingerprint=FINGERPRINT,
            classes=test.classes,
            fit=2000,
            calibration=len(calibration),
            test=len(test),
            dropped=9,
            skipped=[("train/broken.png", "truncated file")],
        ),
        crop=None,
        weights=None,
        device="cpu",
        processes=1,
        versions={"python": "3.11.7", "drupe": "0.1.0"},
        host={"name": "line-pc", "system": "Linux", "machine": "x86_64"},
        started="2026-01-01T00:00:00+00:00",
        finished="2026-01-01T01:00:00+00:00",
        train_seconds=3500.0,
        judge_seconds=100.0,
    )
    record.write(folder)
    config: dict[str, Any] = {"model": {"architecture": "test_resnet", "pretrained": False}}
    config |= {"data": {"root": str(root)}} if root else {}
    write_config(folder, validate_experiment(config, "test"))
    for epoch in range(epochs):
        loss, accuracy = 1 / (epoch + 1), 1 - 0.5 / (epoch + 1)
        append_epoch(folder, EpochResult(epoch, loss, accuracy, 1e-3, images=64, seconds=1.0))
    return folder


def write_verdict(study: Path, experiments: dict[str, Sequence[int]], **changes: Any) -> Path:
    """Write the verdict on experiments (id → seeds) whose runs lie in ``study``."""
    judged = [_experiment(study, name, seeds) for name, seeds in experiments.items()]
    first = next(iter(experiments))
    run = f"{first}/seed-{experiments[first][0]}"
    counted = read_run_predictions(study / run).test
    assert counted is not None
    document = {
        "study": study.name,
        "question": "Which one goes on the line?",
        "test": {
            "images": len(counted.distinct),
            "defects": int(counted.distinct.is_defect.sum()),
        },
        "confidence": 0.95,
        "calibration": "hold-out of 25 %",
        "candidates": len(experiments),
        "experiments": judged,
        "comparisons": [
            {
                "a": name,
                "b": first,
                "question": "",
                "metric": "accuracy",
                "seeds": list(seeds),
                "difference": -0.012,
                "low": -0.031,
                "high": 0.008,
                "standard_error": 0.01,
                "p_value": 0.2,
                "confidence": 0.95,
                "sides": 2,
                "images": 800,
                "groups": 800,
                "discordant_groups": 90,
                "p_adjusted": 0.4,
                "detectable": 0.02,
            }
            for name, seeds in list(experiments.items())[1:]
        ],
        "not_compared": [],
        "decisions": {},
        "recommendation": {
            "experiment": first,
            "run": run,
            "text": f"{first} fails nothing.",
            "changes_with": "1,204 more clean crops",
        },
        "passes": False,
        "deviations": [{"seen": "2026-01-02", "what": "seeds: 4 planned, 3 run"}],
        "failed": [{"run": "B seed 7", "reason": "killed by signal 9"}],
        **changes,
    }
    path = study / "verdict.json"
    path.write_text(json.dumps(document))
    return path


def deployed_certificate(run: Path) -> Certificate:
    model = read_run_predictions(run)
    assert model.calibration is not None
    table = model.calibration.distinct
    return certify_threshold(table.scores, table.is_defect)


def _experiment(study: Path, name: str, seeds: Sequence[int]) -> dict[str, Any]:
    runs = [f"{name}/seed-{seed}" for seed in seeds]
    splits = [read_run_predictions(study / run).test for run in runs]
    tables = [split.distinct for split in splits if split]
    right = correct_decisions(tables)
    is_defect = tables[0].is_defect
    certificate = deployed_certificate(study / runs[0])
    low = certificate.threshold
    counts = LaneCounts.of(tables[0].scores, is_defect, Thresholds(low, low))

    def rate(items: Any) -> dict[str, Any]:
        return clustered_mean_interval(right[:, items], np.arange(items.sum())).to_json()

    def spread(*values: float) -> dict[str, Any]:
        return SeedSpread(values).to_json()

    return {
        "id": name,
        "hypothesis": f"{name} is good enough.",
        "kind": "training",
        "state": "done",
        "reason": None,
        "seeds": list(seeds),
        "runs": runs,
        "deployed": runs[0],
        "collapsed": [],
        "accuracy": rate(np.ones_like(is_defect)),
        "accuracy_by_seed": spread(*right.mean(axis=1)),
        "recall": rate(is_defect),
        "clean_yield": rate(~is_defect),
        "auroc": spread(*[0.97] * len(seeds)),
        "ece": spread(*[0.02] * len(seeds)),
        "misses": spread(*(~right[:, is_defect]).sum(axis=1)),
        "certificate": certificate.to_json(),
        "certified_test": {
            "misses": counts.defects_accepted,
            "recall": counts.recall().to_json(),
            "clean_yield": counts.clean_yield().to_json(),
        },
        "criteria": [
            {
                "criterion": "accuracy",
                "required": "≥ 94.05 %",
                "verdict": "undecided",
                "reason": "it lies between the bounds",
                "evidence": {**rate(np.ones_like(is_defect)), **ACCURACY, "sides": 1},
                "settles_with": {"further": 1412, "what": "images"},
            },
            {
                "criterion": "size",
                "required": "< 150 MB",
                "verdict": "pass",
                "reason": "it has 13.5 MB",
                "evidence": {"size_bytes": 13_500_000},
                "settles_with": None,
            },
        ],
        "export": None,
        "bench": {
            "results": [
                {
                    "name": name,
                    "backend": "onnxruntime",
                    "precision": "fp32",
                    "threads": 1,
                    "batch": 1,
                    "p50_ms": 3.0,
                    "p95_ms": 4.0,
                    "p99_ms": 5.0,
                    "samples": 500,
                }
            ]
        },
    }
