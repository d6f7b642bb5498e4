"""The gate on real crops: each function of an export against the network that was tested.

python benchmarks/gate.py --run STORE/runs/train/lite0/seed-42 --store STORE
python benchmarks/gate.py --data CROPS --store STORE --architecture resnet50 --per-class 200

With ``--run`` a trained run is exported as ``drupe export --precision auto`` does. With
``--architecture`` a network is first trained for a few epochs from random weights on a subset: its
scores are poor, but its graph, its size and the error of int8 on it are measured alike.
Prints one row (JSON) per network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from drupe.deployment.export import export_run
from drupe.evaluation.operating_point import Request
from drupe.progress import silent
from drupe.training.config import validate_experiment
from drupe.training.run import train_run
from provenance import circumstances, peak_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--architecture", nargs="*", default=[])
    parser.add_argument("--per-class", type=int, default=200, help="training crops of a class")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--min-recall", type=float, default=0.99)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drupe-gate-") as name:
        scratch = Path(name)
        if arguments.run:
            measure(arguments.run, scratch / "bundle", "trained run", arguments)
        if arguments.architecture:
            subset(arguments.data, scratch / "crops", arguments.per_class)
        for architecture in arguments.architecture:
            run = scratch / architecture
            train(architecture, scratch / "crops", run, arguments)
            crops = 2 * arguments.per_class
            trained = f"{arguments.epochs} epochs from random weights on {crops} crops"
            measure(run, scratch / f"{architecture}.bundle", trained, arguments)


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
                "epochs": arguments.epochs,
                "batch_size": 32,
                "learning_rate": 1e-3,
                "precision": "fp32",
                "threads": arguments.threads,
            },
        },
        "benchmarks/gate.py",
    )
    train_run(config, run, arguments.store, progress=silent)


def measure(run: Path, bundle: Path, trained: str, arguments: argparse.Namespace) -> None:
    head = circumstances("gate.py", "drupe", "numpy", "onnx", "onnxruntime", "torch", "timm")
    begun = time.perf_counter()
    done = export_run(
        run,
        bundle,
        arguments.store,
        precision="auto",
        request=Request(arguments.min_recall, arguments.confidence),
        threads=arguments.threads,
    )
    document: dict[str, Any] = done.to_json()
    del document["bundle"]
    row = {
        "benchmark": "gate",
        **head,
        "threads": arguments.threads,
        "architecture": done.manifest.provenance["architecture"],
        "trained": trained,
        "min_recall": arguments.min_recall,
        "confidence": arguments.confidence,
        "export_seconds": round(time.perf_counter() - begun),
        "peak_mb": round(peak_mb()),
        **document,
    }
    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
