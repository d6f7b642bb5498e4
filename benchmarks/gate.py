"""The gate on real crops: each function of an export against the network that was tested.

python benchmarks/gate.py --run STORE/runs/train/lite0/seed-42 --store STORE
python benchmarks/gate.py --data CROPS --store STORE --architecture resnet50 --per-class 200

With ``--run`` a trained run is exported as ``drupe export --precision auto`` does. With
``--architecture`` a network is first trained for one epoch from random weights on a small
subset: its scores are poor, but its graph, its size and the error of int8 on it are measured alike.
Prints one row (JSON) per network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from drupe.deployment.bench import circumstances
from drupe.deployment.export import Exported, export_run
from drupe.evaluation.operating_point import Request
from drupe.progress import silent
from drupe.training.config import validate_experiment
from drupe.training.run import train_run
from provenance import commit, peak_mb, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--architecture", nargs="*", default=[])
    parser.add_argument("--per-class", type=int, default=200, help="training crops of a class")
    parser.add_argument("--min-recall", type=float, default=0.99)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    request = Request(arguments.min_recall, arguments.confidence)
    common = {"request": request, "threads": arguments.threads, "precision": "auto"}
    with tempfile.TemporaryDirectory(prefix="drupe-gate-") as name:
        scratch = Path(name)
        if arguments.run:
            begun, load = time.perf_counter(), os.getloadavg()[0]
            done = export_run(arguments.run, scratch / "bundle", arguments.store, **common)
            show(done, "trained run", arguments, begun, load)
        if arguments.architecture:
            subset(arguments.data, scratch / "crops", arguments.per_class)
        for architecture in arguments.architecture:
            begun, load = time.perf_counter(), os.getloadavg()[0]
            run = scratch / architecture
            train(architecture, scratch / "crops", run, arguments)
            done = export_run(run, scratch / f"{architecture}.bundle", arguments.store, **common)
            trained = f"1 epoch from random weights on {2 * arguments.per_class} crops"
            show(done, trained, arguments, begun, load)


def subset(data: Path, folder: Path, per_class: int) -> None:
    """Copy the first ``per_class`` crops of each class of train/, and a third as many of val/."""
    for split, count in (("train", per_class), ("val", per_class // 3)):
        for source in sorted((data / split).iterdir()):
            target = folder / split / source.name
            target.mkdir(parents=True)
            for crop in sorted(source.iterdir())[:count]:
                shutil.copy(crop, target)


def train(architecture: str, crops: Path, run: Path, arguments: argparse.Namespace) -> None:
    config = validate_experiment(
        {
            "model": {"architecture": architecture, "pretrained": False},
            "input": {"size": 128, "crop": 96},
            "data": {"root": str(crops)},
            "training": {
                "epochs": 1,
                "learning_rate": 1e-3,
                "precision": "fp32",
                "threads": arguments.threads,
            },
        },
        "benchmarks/gate.py",
    )
    train_run(config, run, arguments.store, progress=silent)


def show(
    done: Exported, trained: str, arguments: argparse.Namespace, begun: float, load: float
) -> None:
    document: dict[str, Any] = done.to_json()
    functions = document.pop("functions")
    document.pop("bundle")
    print(
        json.dumps(
            {
                "benchmark": "gate",
                "architecture": done.manifest.provenance["architecture"],
                "trained": trained,
                "min_recall": arguments.min_recall,
                "confidence": arguments.confidence,
                **document,
                "functions": functions,
                "command": " ".join(["python", "benchmarks/gate.py", *sys.argv[1:]]),
                "commit": commit(),
                "processor": processor(),
                "versions": circumstances(),
                "threads": arguments.threads,
                "seconds": round(time.perf_counter() - begun),
                "load_at_start": load,
                "peak_mb": round(peak_mb()),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    main()
