"""Certifying a run on newly collected crops, whether PyTorch runs its network or ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drupe.data.dataset import Dataset
from drupe.deployment.gate import run_all
from drupe.deployment.graph_run import open_graph
from drupe.evaluation.model_predictions import ModelPredictions
from drupe.progress import Progress, silent
from drupe.runs.record import read_record
from drupe.training.fresh import PREDICT, Scorer, calibrate_on_fresh


def calibrate_on_new(
    model: ModelPredictions,
    run: Path,
    root: Path,
    store: Path,
    progress: Progress = silent,
    *,
    run_data: Path | None = None,
    labels: str | None = None,
) -> ModelPredictions:
    """Return what :func:`calibrate_on_fresh` does, of any run."""
    record = read_record(run)
    scorer = _graph_scorer(run) if record and record.is_graph else None
    return calibrate_on_fresh(
        model, run, root, store, progress, run_data=run_data, labels=labels, scorer=scorer
    )


def _graph_scorer(run: Path) -> Scorer:
    session, _ = open_graph(run)

    def score(fresh: Dataset, progress: Progress) -> tuple[NDArray[np.float32], None]:
        return np.clip(run_all(session, fresh.images, progress, PREDICT), 0, 1), None

    return score
