"""How many wrong labels ``drupe labels rank`` puts first, on synthetic crops where they are known.

python benchmarks/labels_rank.py --store STORE --seeds 0 1 2

Each seed draws its own set, trains one quick network on it and ranks all labels. Prints one row
(JSON) per seed. What a random order would find is the share that is looked at.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from drupe.data.synthetic.generation import synthesise
from drupe.labels.run_ranking import rank_run
from drupe.training.config import validate_experiment
from drupe.training.run import train_run
from provenance import circumstances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--noise", type=float, default=0.03, help="share of wrong labels")
    parser.add_argument("--look-at", type=float, default=0.05, help="share of the ranking")
    parser.add_argument("--architecture", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        print(json.dumps(measure(seed, arguments), ensure_ascii=False), flush=True)


def measure(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one seed, of the set as of the network."""
    head = circumstances("labels_rank.py", "torch", "timm")
    folder = arguments.store / f"labels-{seed}"
    truth = synthesise(
        folder / "crops",
        images=arguments.images,
        size=arguments.size,
        seed=seed,
        label_noise=arguments.noise,
    )
    document = {
        "name": "labels",
        "seed": seed,
        "model": {"architecture": arguments.architecture, "pretrained": True},
        "input": {"size": arguments.size, "range": "imagenet"},
        "data": {"root": str(folder / "crops")},
        "training": {
            "epochs": arguments.epochs,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "threads": arguments.threads,
            "precision": "fp32",  # not by timing: the same everywhere
        },
    }
    start = time.perf_counter()
    config = validate_experiment(document, "labels_rank.py")
    train_run(config, folder / "run", arguments.store, resume=True)
    found = rank_run(folder / "run", arguments.folds, arguments.store)
    wrong = set(truth.label_noise)
    looked_at = round(arguments.look_at * len(found.ranking))
    return head | {
        "seed": seed,
        "items": len(found.ranking),
        "wrong": len(wrong),
        "looked_at": looked_at,
        "found": sum(one.path in wrong for one in found.ranking[:looked_at]),
        "found_in_as_many_as_wrong": sum(one.path in wrong for one in found.ranking[: len(wrong)]),
        "auroc": round(found.auroc, 4),
        "estimates": [one.to_json() for one in found.wrong],
        "seconds": round(time.perf_counter() - start, 1),
    }


if __name__ == "__main__":
    main()
