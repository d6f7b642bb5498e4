"""Run directories for tests, written without training anything."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drupe.evaluation.document import evaluation_document
from drupe.evaluation.grouping import write_duplicates
from drupe.evaluation.predictions import Predictions, scores_from_logits
from drupe.evaluation.predictions_csv import write_predictions
from drupe.runs.results import digest_results
from drupe.runs.training_overlap import Seen


def predictions(
    count: int, seed: int, quality: float = 2.0, prefix: str = "val", temperature: float = 1.3
) -> Predictions:
    """Return ``count`` items of which about 46 % are defects, scored by a classifier."""
    random = np.random.default_rng(seed)
    is_defect = np.arange(count) % 13 < 6
    logits = random.normal(np.where(is_defect, quality, -quality), 1.5).astype(np.float32)
    return Predictions(
        paths=tuple(f"{prefix}/{i:05}.png" for i in range(count)),
        is_defect=is_defect,
        logits=logits,
        scores=scores_from_logits(logits, temperature),
        classes=("cherry_clean", "cherry_pit"),
    )


def decided(
    count: int, wrong: Iterable[int] = (), defects: int | None = None, prefix: str = "val"
) -> Predictions:
    """Return ``count`` distinct items, the first ``defects`` (half) of them defects.

    All are decided right with a clear score, save those at the places ``wrong``.
    """
    is_defect = np.arange(count) < (count // 2 if defects is None else defects)
    logits = np.where(is_defect, 2.0, -2.0).astype(np.float32)
    logits[list(wrong)] *= -1
    return Predictions(
        paths=tuple(f"{prefix}/{i:05}.png" for i in range(count)),
        is_defect=is_defect,
        logits=logits,
        scores=scores_from_logits(logits, 1.0),
        classes=("cherry_clean", "cherry_pit"),
    )


def without_types(run: Path) -> Path:
    """Make of a run one that tells no types, as runs of earlier versions do."""
    (run / "types.safetensors").unlink()
    record = json.loads((run / "run.json").read_text())
    del record["results"]["types.safetensors"]
    (run / "run.json").write_text(json.dumps(record))
    return run


def write_run(
    folder: Path,
    *,
    calibration: Predictions | None = None,
    test: Predictions | None = None,
    status: str = "done",
    experiment: str = "lite0",
    seed: int = 42,
    copies: int = 0,
    identity: str = "0" * 64,
    fingerprint: str = "f" * 64,
    calibrated: bool = True,
    approximate: str | None = None,
    seen: Seen | None = None,
    members: Iterable[str] = (),
    suspects: dict[str, int] | None = None,
) -> Path:
    """Write a finished run's files, as far as they are read without a network.

    The first ``copies`` + 1 items of each split are copies of one another. ``seen``: of a network
    that was trained elsewhere. ``members``: the names of the runs that it is an ensemble of.
    ``suspects``: by split, labels that were changed because a model disagreed.
    """
    tables = {"test": test or predictions(800, 2)}
    if calibrated:
        tables["calibration"] = calibration or predictions(1000, 1, prefix="train")
    groups = {}
    for split, table in tables.items():
        write_predictions(folder / "predictions" / f"{split}.csv", table)
        groups[split] = (table.paths, np.maximum(np.arange(len(table)), copies))
    write_duplicates(folder / "predictions" / "duplicates.json", groups)
    counts = dict.fromkeys(("fit", "calibration", "test", "dropped"), 0)
    data = {
        "fingerprint": fingerprint,
        "classes": ["cherry_clean", "cherry_pit"],
        **counts,
        **{name: len(table) for name, table in tables.items()},
        "skipped": [],
        "approximate": approximate,
        "fixes": {"suspects": suspects} if suspects else None,
    }
    record = {"status": status, "experiment": experiment, "seed": seed, "identity": identity}
    record |= {"data": data, "crop": None, "weights": None, "device": "cpu", "processes": 1}
    record |= {"versions": {}, "host": {}, "started": "2026-01-01T00:00:00+00:00"}
    if seen:
        record["imported"] = {
            "checkpoint": "model_best.pt",
            "sha256": "c" * 64,
            "key": None,
            "names": "timm",
            "outputs": 2,
            "dtype": "float32",
            "class_order": ["cherry_clean", "cherry_pit"],
            "flushed_weights": 0,
            "seen": seen.model_dump(),
        }
    member = dict.fromkeys(("folder", "architecture", "identity", "weights"), "")
    record["members"] = [{**member, "run": name, "temperature": 1.0} for name in members]
    (folder / "model.safetensors").write_bytes(b"weights")
    record["results"] = digest_results(folder)
    (folder / "run.json").write_text(json.dumps(record))
    evaluation = evaluation_document(
        calibration=tables.get("calibration"),
        test=tables["test"],
        temperature=1.3,
        test_groups=groups["test"][1],
    )
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


def adopt_results(folder: Path) -> None:
    """Let a run's record say that its files, as they are now, belong together."""
    record = json.loads((folder / "run.json").read_text())
    record["results"] = digest_results(folder)
    (folder / "run.json").write_text(json.dumps(record))


def refuse_writing(monkeypatch: pytest.MonkeyPatch, folder: Path, number: int) -> None:
    """Let the system answer with error ``number`` to whatever would be written in ``folder``."""
    for name in ("mkstemp", "TemporaryFile"):
        monkeypatch.setattr(tempfile, name, _refusing(getattr(tempfile, name), folder, number))


def _refusing(make: Callable[..., Any], folder: Path, number: int) -> Callable[..., Any]:
    def refuse(*arguments: Any, **options: Any) -> Any:
        if Path(options.get("dir") or "/").is_relative_to(folder):
            raise OSError(number, os.strerror(number))
        return make(*arguments, **options)

    return refuse


def seal(run: Path) -> None:
    """Let ``run.json`` hold the digests of the files as they are now, altered by a test."""
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "results": digest_results(run)}))
