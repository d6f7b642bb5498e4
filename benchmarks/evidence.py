"""Time the statistics: a bootstrap of many models, and a threshold from a huge CSV.

    python benchmarks/evidence.py                  # about four minutes on 2 cores
    python benchmarks/evidence.py --rows 500000    # under one

Prints one JSON row. Each part runs beside what one would otherwise write, in turns, in one run:

- ``bootstrap``: AUROC of 15 models on 10,000 paired resamples of 1,226 images, against
  scikit-learn's ``roc_auc_score`` with resampled weights (on fewer resamples, scaled up).
- ``threshold``: the whole command ``drupe threshold FILE.csv``, against a script with the standard
  library's ``csv`` and scikit-learn's ``precision_recall_curve``, which guarantees nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from drupe.evaluation.resampling import resampled_auroc
from drupe.host import cpu_name
from provenance import commit, peak_mb

MODELS, IMAGES, RESAMPLES = 15, 1226, 10_000
RIVAL_RESAMPLES = 20

RIVAL_SCRIPT = """
import csv, sys
import numpy as np
from sklearn.metrics import precision_recall_curve
scores, labels = [], []
with open(sys.argv[1], newline="") as stream:
    for row in csv.DictReader(stream):
        scores.append(float(row["score"]))
        labels.append(row["label"] == "pit")
_, recall, thresholds = precision_recall_curve(np.array(labels), np.array(scores))
print(thresholds[recall[:-1] >= 0.99].max())
"""


def main() -> None:
    options = parse()
    row = {
        "benchmark": "evidence",
        "command": " ".join(["python", "benchmarks/evidence.py", *sys.argv[1:]]),
        "commit": commit(),
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "load_at_start": round(os.getloadavg()[0], 2),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "scipy", "polars", "scikit-learn")},
        },
        "rounds": options.rounds,
        "bootstrap": bootstrap(options.rounds),
        "threshold": threshold(options.rows, options.rounds),
    }
    print(json.dumps(row, indent=2))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000, help="of the CSV")
    parser.add_argument("--rounds", type=int, default=3, help="each is a run of both in turn")
    return parser.parse_args()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bootstrap(rounds: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    is_defect = random.random(IMAGES) < 0.46
    rankings = [
        random.normal(np.where(is_defect, 2, -2), 1.5).astype(np.float32) for _ in range(MODELS)
    ]
    draws = [
        np.bincount(random.integers(IMAGES, size=IMAGES), minlength=IMAGES)
        for _ in range(RIVAL_RESAMPLES)
    ]

    def ours() -> None:
        resampled_auroc(rankings, is_defect, np.arange(IMAGES), resamples=RESAMPLES)

    def usual() -> None:
        for weights in draws:
            for ranking in rankings:
                roc_auc_score(is_defect, ranking, sample_weight=weights)

    timed = [(seconds(ours), seconds(usual) * RESAMPLES / RIVAL_RESAMPLES) for _ in range(rounds)]
    return {
        "models": MODELS,
        "images": IMAGES,
        "resamples": RESAMPLES,
        "rival": f"roc_auc_score per resample, timed on {RIVAL_RESAMPLES} and scaled",
        **summary(timed),
        "peak_mb": round(peak_mb()),
    }


def threshold(rows: int, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="drupe-evidence-") as folder:
        path = Path(folder) / "scores.csv"
        write_csv(path, rows)
        ours = [sys.executable, "-m", "drupe", "threshold", str(path), "--json"]
        usual = [sys.executable, "-c", RIVAL_SCRIPT, str(path)]
        timed, peak = [], 0.0
        for _ in range(rounds):
            first = seconds(lambda: subprocess.run(ours, check=True, capture_output=True))
            peak = peak or peak_mb(resource.RUSAGE_CHILDREN)
            second = seconds(lambda: subprocess.run(usual, check=True, capture_output=True))
            timed.append((first, second))
        size = path.stat().st_size
    return {
        "rows": rows,
        "csv_mb": round(size / 1e6),
        "rival": "csv.DictReader and precision_recall_curve",
        **summary(timed),
        "peak_mb": round(peak),
    }


def write_csv(path: Path, rows: int) -> None:
    random = np.random.default_rng(1)
    with path.open("w") as stream:
        stream.write("path,label,score\n")
        for start in range(0, rows, 100_000):
            count = min(100_000, rows - start)
            is_defect = random.random(count) < 0.46
            logits = random.normal(np.where(is_defect, 2, -2), 1.5)
            scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
            names = ["pit" if defect else "clean" for defect in is_defect]
            stream.writelines(
                f"val/{name}/img_{start + index:07}.png,{name},{score}\n"
                for index, (name, score) in enumerate(zip(names, scores, strict=True))
            )


def summary(timed: list[tuple[float, float]]) -> dict[str, Any]:
    return {
        "seconds": {
            "drupe": [round(ours, 2) for ours, _ in timed],
            "rival": [round(usual, 2) for _, usual in timed],
        },
        "ratio": round(statistics.median(usual / ours for ours, usual in timed), 1),
    }


if __name__ == "__main__":
    main()
