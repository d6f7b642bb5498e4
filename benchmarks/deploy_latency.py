"""Latency of exported graphs at batch 1: against PyTorch eager, and against a plain export.

    python benchmarks/deploy_latency.py BUNDLE...             # about 10 minutes on 2 cores
    python benchmarks/deploy_latency.py BUNDLE --samples 100 --network resnet50

Prints a JSON row per part. All parts time one image in memory at a time, in turns of 25 calls
(``drupe.deployment.timing``), with ``--threads`` threads; a ratio is the median over the turns of
the ratio of a turn's medians, with the range from the smallest to the largest turn:

- ``eager``: every function of each BUNDLE (raw bytes to decision) against ResNet50 at 128 × 128
  pixels run by PyTorch (raw bytes to decision, random weights).
- ``plain``: each network of the zoo (random weights, 128 × 128): Drupe's graph from raw bytes to
  decision, in every backend and floating-point precision that this machine computes, against what
  ``torch.onnx.export`` makes of the bare timm network, run by ONNX Runtime on a float tensor that
  is scaled already: Drupe's part has more to do.
- ``overhead``: ``Classifier.decide`` against the bare ONNX Runtime session on the same image, on a
  tiny network, whose own noise is small: the difference of medians in microseconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
import torch

from drupe.data.image_contract import ImageContract
from drupe.deployment.eager import network_subject
from drupe.deployment.runtime import load
from drupe.deployment.subjects import open_subjects
from drupe.deployment.timing import ROUND, Subject, Timing, pinned, time_in_turns
from drupe.models.zoo import resolve, user_facing
from provenance import circumstances
from untrained import untrained_bundle, untrained_network

SIZE = 128
TINY = "test_resnet", 32
LIBRARIES = ("numpy", "onnxruntime", "openvino", "torch", "timm", "onnxscript")


def main() -> None:
    options = parse()
    head = {**circumstances("deploy_latency.py", *LIBRARIES), "threads": options.threads}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with pinned(options.threads), tempfile.TemporaryDirectory(prefix="drupe-latency-") as scratch:
        if options.bundles:
            show(head, "eager", eager(options.bundles, options.threads, options.samples))
        for name in options.networks or user_facing():
            show(head, "plain", plain(Path(scratch), name, options.threads, options.samples))
        show(head, "overhead", overhead(Path(scratch), options.samples))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="*")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--network", dest="networks", action="append", default=None)
    return parser.parse_args()


def show(head: dict[str, Any], part: str, found: dict[str, Any]) -> None:
    print(json.dumps({"benchmark": "deploy_latency", "part": part, **head, **found}), flush=True)


def eager(bundles: Sequence[Path], threads: int, samples: int) -> dict[str, Any]:
    rival = network_subject(
        "eager resnet50", untrained_network("resnet50", SIZE, None, "raw"), 1, threads
    )
    ours = [one for path in bundles for one in open_subjects(path, threads, every_function=True)]
    return against(rival, ours, samples)


def plain(scratch: Path, name: str, threads: int, samples: int) -> dict[str, Any]:
    folder = untrained_bundle(scratch / name, name, SIZE)
    session = open_plain(plain_graph(name), threads)
    image = np.random.default_rng(0).normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
    inputs = {session.get_inputs()[0].name: image}
    rival = Subject(
        "plain",
        "onnxruntime",
        "fp32",
        threads,
        ImageContract(SIZE),
        lambda _: session.run(None, inputs),
    )
    ours = [
        replace(one, name=f"{one.backend} {one.precision}")
        for one in open_subjects(folder, threads, every_function=True)
    ]
    return {"network": name, **against(rival, ours, samples)}


def against(rival: Subject, ours: Sequence[Subject], samples: int) -> dict[str, Any]:
    slow, *fast = time_in_turns([rival, *ours], samples=samples)
    return {
        "samples": samples,
        "rival": figures(slow),
        "functions": [{**figures(one), "times_faster": ratio(slow, one)} for one in fast],
    }


def plain_graph(name: str) -> bytes:
    """Return what torch.onnx.export makes of the bare two-class timm network."""
    torch.manual_seed(0)
    network = timm.create_model(resolve(name), num_classes=2).eval()
    with torch.inference_mode():
        program = torch.onnx.export(
            network, (torch.zeros(1, 3, SIZE, SIZE),), dynamo=True, verbose=False
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def open_plain(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, settings, providers=["CPUExecutionProvider"])


def overhead(scratch: Path, samples: int) -> dict[str, Any]:
    network, size = TINY
    folder = untrained_bundle(scratch / "tiny", network, size)
    classifier = load(folder, backend="onnxruntime", threads=1, uncertified=True)
    session = classifier._session._session  # the very one: another may lie better in memory
    name = session.get_inputs()[0].name
    images = ImageContract(size)
    bare = Subject(
        "bare session", "onnxruntime", "fp32", 1, images, lambda one: session.run(None, {name: one})
    )
    one_image = Subject(
        "decide",
        "onnxruntime",
        "fp32",
        1,
        ImageContract(size),
        lambda one: classifier.decide(one[0]),
    )
    without, with_checks = time_in_turns([bare, one_image], samples=20 * samples)
    return {
        "network": network,
        "pixels": size,
        "samples": 20 * samples,
        "bare": figures(without),
        "decide": figures(with_checks),
        "overhead_us": round(1000 * float(np.median(turns(with_checks) - turns(without))), 1),
    }


def figures(timing: Timing) -> dict[str, Any]:
    """Return name, function and quantiles of a timing, without its samples."""
    found = timing.to_json()
    del found["samples_ms"]
    return {name: rounded(value) for name, value in found.items()}


def rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


def turns(timing: Timing) -> np.ndarray:
    """Return the median milliseconds of each whole turn."""
    whole = len(timing.milliseconds) // ROUND * ROUND
    return np.median(timing.milliseconds[:whole].reshape(-1, ROUND), axis=1)


def ratio(slow: Timing, fast: Timing) -> dict[str, float]:
    found = turns(slow) / turns(fast)
    return {
        "median": round(float(np.median(found)), 2),
        "lowest": round(float(found.min()), 2),
        "highest": round(float(found.max()), 2),
        "of_p50s": round(slow.quantile(0.5).value / fast.quantile(0.5).value, 2),
    }


if __name__ == "__main__":
    main()
