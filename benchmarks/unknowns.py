"""What of strange pictures a bundle notices, how often it is wrong, and what noticing costs.

    python benchmarks/unknowns.py                                # trains a tiny network: 5 minutes
    python benchmarks/unknowns.py --run RUN --store STORE        # a run of yours, and its data
    python benchmarks/unknowns.py --bundle BUNDLE --data DIR     # a bundle, on any folder of crops

Prints a JSON row for the good test crops and for each kind of strange pictures made of them
(``unknown_kinds.py``): of ``images``, those that the check of frames calls a ``fault``, those that
are ``unknown`` by distance, and those that either ``flagged``. With a run also a row per way to
measure distances, each limited by the same calibration, and one of milliseconds with and without
the distance, in turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from drupe.data.synthetic.generation import synthesise
from drupe.deployment.export import export_run
from drupe.deployment.familiarity import UnknownRequest
from drupe.deployment.predict import find_images
from drupe.deployment.runtime import Classifier, load
from drupe.deployment.unknown import UNKNOWN, CalibrationDistances
from drupe.evaluation.operating_point import Request
from drupe.models.early_features import DistanceLayer, early_features
from drupe.models.network import Network
from drupe.models.type_head import FeatureTap
from drupe.training.config import validate_experiment
from drupe.training.preparation import PreparedData, prepare_data, recorded_config
from drupe.training.run import train_run
from drupe.training.saved import load_network
from provenance import circumstances
from unknown_kinds import Crops, unknown_kinds

MOST_STRANGE, PART, ROUNDS = 300, 64, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bundle", "data", "run", "store"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--images", type=int, default=4000, help="synthetic crops")
    parser.add_argument("--side", type=int, default=64, help="pixels of a synthetic crop")
    parser.add_argument("--network", default="test_efficientnet")
    parser.add_argument("--pretrained", action="store_true")
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for row in measure(given, Path(scratch)):
            head = circumstances("unknowns.py", "onnxruntime", "openvino", "torch", "timm")
            print(json.dumps({"benchmark": "unknowns", **row, **head}), flush=True)


def measure(given: argparse.Namespace, scratch: Path) -> Iterator[dict[str, Any]]:
    if given.bundle:
        classifier = load(given.bundle, uncertified=True)
        files = find_images([str(given.data)])
        yield from rows_of(
            classifier, np.stack([classifier.manifest.input.contract.of_file(one) for one in files])
        )
        return
    run, store = given.run or train(given, scratch), given.store or scratch / "store"
    data = prepare_data(recorded_config(run, given.data), store)
    request = Request(min_recall=0.9, confidence=0.9)
    for name, wanted in (("with", True), ("without", False)):
        asked = UnknownRequest(is_wanted=wanted)
        export_run(run, scratch / name, store, run_data=given.data, request=request, unknown=asked)
    test = data.dataset.images[data.split.test]
    yield from rows_of(load(scratch / "with", uncertified=True), test)
    network, _ = load_network(run)
    assert isinstance(network, Network)
    yield from rows_of_methods(network, data)
    yield from rows_of_speed(scratch, test)


def train(given: argparse.Namespace, scratch: Path) -> Path:
    synthesise(scratch / "crops", images=given.images, size=given.side, seed=5)
    config = validate_experiment(
        {
            "model": {"architecture": given.network, "pretrained": given.pretrained},
            "input": {"size": given.side, "range": "imagenet"},
            "data": {"root": str(scratch / "crops")},
            "training": {"epochs": given.epochs, "batch_size": 32, "learning_rate": 1e-3},
        },
        "unknowns.yaml",
    )
    train_run(config, scratch / "run", scratch / "store")
    return scratch / "run"


def rows_of(classifier: Classifier, test: Crops) -> Iterator[dict[str, Any]]:
    """Yield what the bundle flags of good crops and of each kind of strange ones."""
    kinds = unknown_kinds(test[:MOST_STRANGE], np.random.default_rng(0))
    for kind, images in {"good": test, **kinds}.items():
        parts = (images[start : start + PART] for start in range(0, len(images), PART))
        found = [
            fault
            for part in parts
            for fault in classifier.examine_ready(np.ascontiguousarray(part)).faults
        ]
        unknown = sum(fault == UNKNOWN for fault in found)
        flagged = sum(fault is not None for fault in found)
        shown = {"images": len(images), "fault": flagged - unknown, "unknown": unknown}
        yield {"kind": kind, **shown, "flagged": flagged, "function": classifier.function.name}


def rows_of_methods(network: Network, data: PreparedData) -> Iterator[dict[str, Any]]:
    """Yield the share of each kind that is unknown, by features and distance."""
    images, split = data.dataset.images, data.split
    test = images[split.test]
    shown = {"good": test, **unknown_kinds(test[:MOST_STRANGE], np.random.default_rng(0))}
    is_defect = data.dataset.is_defect[split.calibration]
    for features in (early_features, last_features):
        fit = features(network, images[split.fit])
        layer = DistanceLayer.of(fit)
        calibration = features(network, images[split.calibration])
        found = {kind: features(network, shots) for kind, shots in shown.items()}
        for distance in (mahalanobis, nearest):
            own = CalibrationDistances.of(distance(layer, fit, calibration), is_defect)
            limit = np.float32(own.limit(UnknownRequest().alpha))
            shares = {
                kind: round(float((distance(layer, fit, one) > limit).mean()), 4)
                for kind, one in found.items()
            }
            yield {"features": features.__name__, "distance": distance.__name__, "unknown": shares}


@torch.inference_mode()
def last_features(network: Network, images: Crops) -> NDArray[np.float32]:
    """Return what goes into the last layer, [N, F]."""
    with FeatureTap(network, [nn.Identity()]) as tap:
        for start in range(0, len(images), PART):
            network.defect_logit(torch.from_numpy(images[start : start + PART]))
    found: NDArray[np.float32] = tap.take(len(images))[0].numpy()
    return found


@torch.inference_mode()
def mahalanobis(
    layer: DistanceLayer, fit: NDArray[np.float32], found: NDArray[np.float32]
) -> NDArray[np.float32]:
    distances: NDArray[np.float32] = layer(torch.from_numpy(found)).numpy()
    return distances


@torch.inference_mode()
def nearest(
    layer: DistanceLayer, fit: NDArray[np.float32], found: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the distance to the nearest fit item, where features are uncorrelated."""
    ours, theirs = (layer.linear(torch.from_numpy(one) - layer.centre) for one in (fit, found))
    distances: NDArray[np.float32] = torch.cdist(theirs, ours).min(1).values.numpy()
    return distances


def rows_of_speed(scratch: Path, test: Crops) -> Iterator[dict[str, Any]]:
    """Yield the median milliseconds of ``decide`` on one crop, with the distance and without."""
    for backend in ("onnxruntime", "openvino"):
        both = {
            name: load(scratch / name, order="rgb", backend=backend, threads=1, uncertified=True)
            for name in ("with", "without")
        }
        times: dict[str, list[float]] = {name: [] for name in both}
        for place in range(ROUNDS):
            for name, classifier in both.items():
                started = perf_counter()
                classifier.decide(test[place % len(test)])
                times[name].append(1000 * (perf_counter() - started))
        medians = {name: round(float(np.median(one)), 4) for name, one in times.items()}
        ratio = round(medians["with"] / medians["without"], 4)
        yield {"backend": backend, "decide_ms": medians, "ratio": ratio, "rounds": ROUNDS}


if __name__ == "__main__":
    main()
