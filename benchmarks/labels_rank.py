"""How many wrong labels ``drupe labels rank`` puts first, on synthetic crops where they are known.

python benchmarks/labels_rank.py --store STORE --cleanlab VENV/bin/python

Each kind and share of noise and each seed draws its own set, trains one small network on it and
ranks all labels. Prints one row (JSON) per set. What a random order would find is the share that is
looked at.

cleanlab ranks the same scores beside it, in an interpreter of its own: it is under the AGPL, so
Drupe neither needs nor installs it. ``python -m venv VENV && VENV/bin/pip install cleanlab`` does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drupe.data.synthetic.generation import synthesise
from drupe.data.synthetic.rendering import SPOT_STRENGTHS, draw_spot_strengths
from drupe.data.synthetic.truth import DEFECT_SHARE
from drupe.labels.ranking import RankedLabel
from drupe.labels.run_ranking import Folds, rank_run
from drupe.training.config import validate_experiment
from drupe.training.run import train_run
from provenance import circumstances

SIMULATED = 200
"""Sets from which the best possible is found."""
SCRIPT = Path(__file__).with_name("labels_cleanlab.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="*", default=["random", "lookalike"])
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[0.01, 0.03, 0.06], help="shares of wrong labels"
    )
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--size", type=int, default=64, help="pixels")
    parser.add_argument("--crop", type=int, default=48, help="pixels, which hold the fruits whole")
    parser.add_argument("--look-at", type=float, default=0.05, help="share of the ranking")
    parser.add_argument("--architecture", default="test_resnet", help="from random weights")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=1, help="of each fold")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--cleanlab", type=Path, default=Path(sys.executable), help="a Python that has cleanlab"
    )
    arguments = parser.parse_args()
    if subprocess.run(
        [arguments.cleanlab, "-c", "import cleanlab"], capture_output=True
    ).returncode:
        print(f"{arguments.cleanlab} has no cleanlab: see the head of this file", file=sys.stderr)
    for kind in arguments.kinds:
        for noise in arguments.noise:
            for seed in arguments.seeds:
                row = measure(kind, noise, seed, arguments)
                print(json.dumps(row, ensure_ascii=False), flush=True)


def measure(kind: str, noise: float, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of one set; ``seed`` is the set's as the network's."""
    head = circumstances("labels_rank.py", "torch", "timm")
    folder = arguments.store / f"{kind}-{noise:g}-{seed}"
    truth = synthesise(
        folder / "crops",
        images=arguments.images,
        size=arguments.size,
        seed=seed,
        label_noise=noise,
        label_noise_kind=kind,
    )
    config = validate_experiment(experiment(folder / "crops", seed, arguments), "labels_rank.py")
    train_run(config, folder / "run", arguments.store, resume=True)
    folds = Folds(arguments.folds, arguments.networks)
    ranked = rank_run(folder / "run", folds, arguments.store)
    wrong = set(truth.label_noise)
    looked_at = round(arguments.look_at * len(ranked.ranking))
    paths = [one.path for one in ranked.ranking]
    orders = by_cleanlab(ranked.ranking, folder / "scores.npz", arguments.cleanlab)
    return head | {
        "noise": kind,
        "rate": noise,
        "seed": seed,
        "items": len(paths),
        "wrong": len(wrong),
        "looked_at": looked_at,
        "found": found(paths, wrong, looked_at),
        "best_possible": round(best_possible(kind, noise, arguments), 1),
        "found_in_as_many_as_wrong": found(paths, wrong, len(wrong)),
        "found_by_cleanlab": {
            name: found([paths[index] for index in order], wrong, looked_at)
            for name, order in orders.items()
        },
        "auroc": round(ranked.auroc, 4),
        "estimates": [one.to_json() for one in ranked.wrong],
    }


def experiment(crops: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": "labels",
        "seed": seed,
        "model": {"architecture": arguments.architecture, "pretrained": False},
        "input": {"size": arguments.size, "crop": arguments.crop, "range": "imagenet"},
        "data": {"root": str(crops)},
        "training": {
            "epochs": arguments.epochs,
            "batch_size": 32,
            "learning_rate": 3e-3,
            "threads": arguments.threads,
            "precision": "fp32",  # not by timing: the same everywhere
        },
    }


def found(paths: Sequence[str], wrong: set[str], looked_at: int) -> int:
    return sum(path in wrong for path in paths[:looked_at])


def best_possible(kind: str, noise: float, arguments: argparse.Namespace) -> float:
    """Return how many wrong labels the looked-at part holds on average, ranked by Bayes' rule.

    That is by the strength of the spot alone, on which the classes overlap (the dimple tells very
    little): no network can do better on average.
    """
    random, counts = np.random.default_rng(16), []
    images = arguments.images
    for _ in range(SIMULATED):
        is_pit = random.random(images) < DEFECT_SHARE
        wrong = np.zeros(images, np.bool_)
        wrong[random.choice(images, round(noise * images), replace=False)] = True
        shows = is_pit ^ wrong
        alike = wrong if kind == "lookalike" else np.zeros(images, np.bool_)
        drawn = draw_spot_strengths(shows, alike, random)
        pit, clean = (
            share * density(label, drawn)
            for label, share in ((True, DEFECT_SHARE), (False, 1 - DEFECT_SHARE))
        )
        of_pit = pit / (pit + clean)
        labelled = (1 - noise) * of_pit + noise * (1 - of_pit)
        own = np.where(is_pit, labelled, 1 - labelled)
        order = np.lexsort((random.random(images), own))
        counts.append(np.count_nonzero(wrong[order[: round(arguments.look_at * images)]]))
    return float(np.mean(counts))


def density(is_pit: bool, strength: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the density of spot strengths of a class; a part without width is a point at 0."""
    found = np.full(len(strength), 1e-12)
    for share, low, high in SPOT_STRENGTHS[is_pit]:
        if high > low:
            found += share / (high - low) * ((strength > low) & (strength <= high))
        else:
            found += share * 1e9 * (strength == low)
    return found


def by_cleanlab(
    ranking: Sequence[RankedLabel], scores: Path, python: Path
) -> Mapping[str, Sequence[int]]:
    """Return each of cleanlab's orders, as places in ``ranking``; none where it isn't installed."""
    own = np.array([one.self_confidence for one in ranking])
    other = own - np.array([one.margin for one in ranking])
    # Which class is which doesn't matter: that of the first item is called 0.
    labels = np.array([int(one.label != ranking[0].label) for one in ranking])
    probabilities = np.where(labels[:, None] == [[0, 1]], own[:, None], other[:, None])
    np.savez(scores, labels=labels, probabilities=probabilities)
    done = subprocess.run([python, SCRIPT, scores], capture_output=True, text=True)
    orders: dict[str, list[int]] = json.loads(done.stdout) if done.returncode == 0 else {}
    return orders


if __name__ == "__main__":
    main()
